"""What a value of a description may be. Each function returns the value in its final form.

Raises everywhere: ValueError with what was expected, such as "expected a text".
"""

import re
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

from segplugins.files.raster import ENDINGS, LOSSY_ENDINGS
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

Check = Callable[[Any], Any]
Colour = Tuple[int, int, int]

_HEX = re.compile(r"#?([0-9a-fA-F]{6})")
_LARGEST_LABEL = 2**32 - 1


def checked(check: Check, value: Any, *, where: str, key: str) -> Any:
    """Returns the value in its final form.

    Raises:
        ValueError: another value; the message names where, the key, the value and what is expected.
    """
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{where}, {key}: got {value!r:.80}, {error}") from error


def text(value: Any) -> str:
    """Returns a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a text")
    return value


def set_name(value: Any) -> str:
    """Returns the name of a data set, which is part of the names of files that a run writes."""
    name = text(value)
    if name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
        raise ValueError("expected a name without slashes and line breaks")
    return name


def path(value: Any) -> str:
    """Returns the path of a file or folder; "" is the folder that paths are relative to."""
    value = str(value) if hasattr(value, "__fspath__") else value
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("expected a path")
    return value


def paths(value: Any) -> Union[str, Tuple[str, ...]]:
    """Returns a path, or several of which the first that exists is taken."""
    if isinstance(value, (list, tuple)) and value:
        return tuple(path(each) for each in value)
    return path(value)


def patterns(value: Any) -> Tuple[str, ...]:
    """Returns paths or glob patterns, of which all files are taken."""
    given = value if isinstance(value, (list, tuple)) and value else [value]
    return tuple(text(path(each)) for each in given)


def boolean(value: Any) -> bool:
    """Returns true or false."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def whole(low: int, high: int) -> Check:
    """Returns a check for whole numbers from low to high."""

    def check(value: Any) -> int:
        if not _is_whole(value) or not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(value)

    return check


def share(value: Any) -> float:
    """Returns a number from 0 to 1."""
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return float(value)


def choice(*options: str) -> Check:
    """Returns a check for one of some texts."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            raise ValueError(f"expected one of {', '.join(options)}")
        return value

    return check


def tasks(*allowed: Task) -> Check:
    """Returns a check for one of some tasks."""
    names = [str(task.value) for task in allowed]

    def check(value: Any) -> Task:
        try:
            task = Task(value)
        except ValueError:
            task = None
        if task not in allowed:
            raise ValueError(f"expected one of {', '.join(names)}")
        return task

    return check


def count(value: Any) -> Union[int, Tuple[int, ...]]:
    """Returns a number of records, or several that are right."""
    values = value if isinstance(value, (list, tuple)) and value else [value]
    if not all(_is_whole(each) and each > 0 for each in values):
        raise ValueError("expected a whole number above 0, or a list of them")
    return tuple(map(int, values)) if isinstance(value, (list, tuple)) else int(value)


def endings(value: Any) -> Tuple[str, ...]:
    """Returns endings of picture files, in lower case without a dot."""
    given = [value] if isinstance(value, str) else value
    known_endings = [ending.lstrip(".") for ending in ENDINGS]
    if isinstance(given, (list, tuple)) and given:
        plain = [str(each).lstrip(".").lower() for each in given]
        if all(each in known_endings for each in plain):
            return tuple(plain)
    raise ValueError(f"expected one or a list of {', '.join(known_endings)}")


def label_endings(value: Any) -> Tuple[str, ...]:
    """Returns endings of label files: as `endings`, without formats that alter values."""
    named = endings(value)
    for ending in named:
        if "." + ending in LOSSY_ENDINGS:
            raise ValueError(f"expected a format that keeps values, as png does; {ending} does not")
    return named


def affix(value: Any) -> str:
    """Returns what stands in front of or behind the stem of file names."""
    if not isinstance(value, str) or "/" in value or "\\" in value:
        raise ValueError("expected a text that is part of a file name")
    if value.lower().endswith(ENDINGS):
        raise ValueError("expected what stands between stem and ending, without the ending")
    return value


def labels(value: Any) -> Tuple[int, ...]:
    """Returns the values of label files that carry no class."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if not all(_is_whole(each) and -(2**31) <= each <= _LARGEST_LABEL for each in given):
        raise ValueError("expected a whole number or a list of them")
    return tuple(dict.fromkeys(map(int, given)))


def label_values(value: Any) -> Tuple[Tuple[int, Optional[Union[int, str]]], ...]:
    """Returns pairs of a value of label files and its class (index, name or None for no class)."""
    expected = "expected a mapping from label values to classes (name, index or null)"
    if isinstance(value, (list, tuple)) and all(
        isinstance(each, (list, tuple)) and len(each) == 2 for each in value
    ):
        value = dict(value)
    if not isinstance(value, Mapping) or not value:
        raise ValueError(expected)
    for label, meaning in value.items():
        is_class = meaning is None or isinstance(meaning, str) or _is_whole(meaning)
        if not _is_whole(label) or not is_class:
            raise ValueError(f"{expected}, got {label!r:.40}: {meaning!r:.40}")
    return tuple((int(label), meaning) for label, meaning in value.items())


def colour(value: Any) -> Colour:
    """Returns (R, G, B) of a list of three numbers, or of "#rrggbb"."""
    if isinstance(value, str) and (match := _HEX.fullmatch(value)):
        return tuple(bytes.fromhex(match[1]))
    is_triple = isinstance(value, (list, tuple)) and len(value) == 3
    if is_triple and all(_is_whole(part) and 0 <= part <= 255 for part in value):
        return tuple(map(int, value))
    raise ValueError(f'expected [R, G, B] of 0 to 255 or "#rrggbb", got {value!r:.40}')


def colours(value: Any) -> Tuple[Colour, ...]:
    """Returns one colour or several."""
    if isinstance(value, (list, tuple)) and value and not _is_whole(value[0]):
        return tuple(colour(each) for each in value)
    return (colour(value),)


def colour_table(value: Any) -> Tuple[Tuple[str, Tuple[Colour, ...]], ...]:
    """Returns pairs of a class name and its colours."""
    if isinstance(value, (list, tuple)) and all(
        isinstance(each, (list, tuple)) and len(each) == 2 for each in value
    ):
        value = dict(value)
    if not isinstance(value, Mapping) or not value:
        raise ValueError("expected a mapping from class names to colours")
    return tuple((text(name), colours(listed)) for name, listed in value.items())


def classes(value: Any) -> Tuple[Union[int, str], ...]:
    """Returns classes, each by its name or its index."""
    if not isinstance(value, (list, tuple, range)):
        raise ValueError("expected a list of class names or indices")
    listed = tuple(value)
    if not all(isinstance(each, str) or _is_whole(each) for each in listed):
        raise ValueError("expected a list of class names or indices")
    return tuple(each if isinstance(each, str) else int(each) for each in listed)


def words(value: Any) -> Union[str, Vocabulary, Tuple[str, ...]]:
    """Returns the name of a vocabulary, a vocabulary, or class names."""
    if isinstance(value, (str, Vocabulary)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise ValueError("expected a vocabulary, its name, or a list of class names")


def class_index(given: Union[int, str], names: Sequence[str], key: str) -> int:
    """Returns the index of a class that is given by index or name.

    Raises:
        ValueError: no such class.
    """
    if isinstance(given, str):
        if given not in names:
            raise ValueError(f"{key} holds '{given}', which is no class of {list(names[:8])}")
        return list(names).index(given)
    if not 0 <= given < len(names):
        raise ValueError(f"{key} holds {given}, expected 0 to {len(names) - 1}")
    return given


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)
