"""Text that people write: vocabularies, lists of files, prompts, descriptions of data sets.

Text is UTF-8, with or without a byte order mark, with lines that end as on any system.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Union

import yaml

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.plain_files import read_plain_file

__all__ = ["decode_text", "read_lines", "read_text", "read_yaml", "yaml_fault"]

_MOST_VALUES = 10_000_000  # of a YAML file; some thousand classes have some ten thousand
# Byte order marks of encodings that are not UTF-8; the longer ones come first.
_OTHER_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def read_text(
    path: Union[str, Path], policy: FaultPolicy = STRICT, *, what: str = "text file"
) -> Optional[str]:
    """Returns the text of a file, without a byte order mark and with "\\n" at the end of lines.

    Args:
        path: of the file.
        policy: gets a fault "missing", "unreadable" or "encoding".
        what: for messages.

    Returns:
        The text; None if the policy lets a fault pass.
    """
    try:
        content = read_plain_file(path)
    except FileNotFoundError:
        policy.report(Fault("missing", f"the {what} does not exist", str(path)))
        return None
    except (OSError, ValueError) as error:  # a folder, no permission, a null byte in the path
        policy.report(Fault("unreadable", f"the {what} cannot be read ({error})", str(path)))
        return None
    return decode_text(content, str(path), policy, what=what)


def decode_text(
    content: bytes, path: str, policy: FaultPolicy = STRICT, *, what: str = "text file"
) -> Optional[str]:
    """Returns the text of the content of a file; see `read_text`.

    Args:
        content: of the file.
        path: of the file, for messages.
        policy: gets a fault "encoding".
        what: for messages.
    """
    obstacle = next((name for mark, name in _OTHER_MARKS if content.startswith(mark)), None)
    if obstacle is None and b"\0" in content:
        obstacle = "binary, or UTF-16 without a byte order mark"
    try:
        text = content.decode("utf-8-sig") if obstacle is None else ""
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        obstacle = f"not UTF-8 (byte 0x{content[error.start]:02x} in line {line})"
    if obstacle is not None:
        policy.report(Fault("encoding", f"the {what} is {obstacle}; save it as UTF-8", path))
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(
    path: Union[str, Path], policy: FaultPolicy = STRICT, *, what: str = "list"
) -> List[str]:
    """Returns the lines of a file that are not empty, without blanks around them.

    Args:
        path: of the file.
        policy: gets the faults of `read_text`.
        what: for messages.
    """
    text = read_text(path, policy, what=what)
    lines = [] if text is None else [line.strip() for line in text.split("\n")]
    return [line for line in lines if line]


def read_yaml(
    path: Union[str, Path], policy: FaultPolicy = STRICT, *, what: str = "YAML file"
) -> Any:
    """Returns the content of a YAML file, without running code from it.

    Args:
        path: of the file.
        policy: gets the faults of `read_text`, and "form" if it is no YAML or names a key twice.
        what: for messages.

    Returns:
        Lists, mappings and values; None also if the policy lets a fault pass.
    """
    text = read_text(path, policy, what=what)
    if text is None:
        return None
    try:
        content = yaml.load(text, _UniqueKeys)
        _check_extent(content)
        return content
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        policy.report(Fault("form", f"the {what} is not readable: {yaml_fault(error)}", str(path)))
        return None


def _check_extent(content: Any) -> None:
    """Raises ValueError if a few lines stand for millions of values by repeated anchors.

    Such a file is read at once, because repeated parts share memory; what looks at every value, as
    a message does that shows one, would never end.
    """
    extents: Dict[int, int] = {}  # by identity; while a part is being counted it is in `open_parts`
    open_parts: Set[int] = set()

    def extent(part: Any) -> int:
        if not isinstance(part, (list, tuple, set, dict)):
            return 1
        key = id(part)
        if key in open_parts:
            raise ValueError("an anchor is part of itself")
        if key not in extents:
            open_parts.add(key)
            inside = part.values() if isinstance(part, dict) else part
            extents[key] = 1 + sum(map(extent, inside))
            open_parts.discard(key)
        return extents[key]

    total = extent(content)
    if total > _MOST_VALUES:
        raise ValueError(f"its anchors make {total} values of it, expected at most {_MOST_VALUES}")


def yaml_fault(error: Exception) -> str:
    """Returns what is wrong with YAML text, in one line that begins with the line of the fault.

    Args:
        error: of the parser; the file's name in it may be that of a stream, so it is left out.
    """
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no text in UTF-8; is it another kind of file?"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split()) or type(error).__name__
    place = f"line {mark.line + 1}, column {mark.column + 1}"
    if "'\\t'" in error.problem:
        return f"{place}: a tab; YAML files are indented by blanks alone"
    words = [f"{place}: {error.problem}"]
    start = error.context_mark
    if error.context:
        since = f" that begins in line {start.line + 1}" if start and start.line < mark.line else ""
        words.append(f" ({error.context}{since})")
    return "".join(words)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Returns the mapping."""
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in keys:
                    raise ValueError(
                        f"key '{key.value}' stands twice, again in line {key.start_mark.line + 1}"
                    )
                keys.add(key.value)
        return super().construct_mapping(node, deep)
