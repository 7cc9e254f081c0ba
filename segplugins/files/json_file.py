"""JSON files: read fast, whatever editors and exporters have put around the content."""

import codecs
import gc
import json
import logging
import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple, Type, Union

import msgspec

from segplugins.files.plain_files import read_plain_file
from segplugins.files.write import write_text

logger = logging.getLogger(__name__)

_LARGE = 50_000_000  # bytes: reading takes long enough to be announced
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# First bytes of files that are something else, and the next step.
_OTHERS: Tuple[Tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "it is compressed; unpack it with gunzip"),
    (b"PK\x03\x04", "it is a zip archive; unpack it with unzip"),
    (b"version https://git-lfs", "it is a pointer of Git LFS; fetch the file with git lfs pull"),
    (b"<", "it is a web page or XML; was the download refused?"),
)


def read_text(path: Union[str, Path]) -> str:
    """Returns a text file without its byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8 (or UTF-16 with its mark).
    """
    data = _utf8(Path(path))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not readable: {_reason(data, error)}") from error


def _utf8(path: Path) -> bytes:
    data = read_plain_file(path)
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    elif data.startswith(_WIDE):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not readable: {error}") from error
    return data


def read_json(
    path: Union[str, Path],
    *keys: str,
    type: Type = Any,
    inner: Callable[[Any, bytes], slice] = lambda content, data: slice(0, 0),
) -> Any:
    """Returns the content of a JSON file.

    NaN and Infinity are read, as Python writes them: what may not hold them says so.

    Args:
        path: of the file.
        keys: that a mapping at the top must have.
        type: msgspec type to decode to; where the content does not fit, it is decoded as it is.
        inner: returns a part of the data that surely lies below the top of a content of `type`;
            where it is large, looking for repeated keys takes much less time.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or one of the keys is missing; the message names the file.
    """
    path = Path(path)
    if path.stat().st_size > _LARGE:
        logger.info("reading %s, %.0f MB", path, path.stat().st_size / 1e6)
    data = _utf8(path)
    content = parse_json(data, f"annotation file {path}", type=type)
    if keys:
        _check_keys(content, keys, path)
        part = inner(content, data) if isinstance(content, msgspec.Struct) else slice(0, 0)
        for key in keys:
            # Reading takes the last of equal keys, as all JSON readers do; finding them takes long.
            if _occurrences(b'"%s"' % key.encode(), data, part) > 1:
                _check_once(data, key, path)
    return content


def _occurrences(name: bytes, data: bytes, without: slice) -> int:
    return data.count(name, 0, without.start) + data.count(name, without.stop)


def parse_json(data: bytes, place: str, *, type: Type = Any) -> Any:
    """Returns the content of JSON text.

    Args:
        data: UTF-8.
        place: what messages call it.
        type: see `read_json`.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        with without_collection():
            return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError:  # also of a number that float64 cannot hold
        if type is not Any:
            return parse_json(data, place)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # Python's reader also takes NaN, and tells line and column of an error
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not readable: {_reason(data, error)}") from error


@contextmanager
def without_collection() -> Iterator[None]:
    """Keeps the garbage collector from walking again and again through what is being read.

    What was read counts as old afterwards, so that the next collection of young objects does not
    walk through millions of numbers that nothing has let go.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def _reason(data: bytes, error: Exception) -> str:
    start = data.lstrip()[:40]
    if not start:
        return "it is empty"
    for mark, reason in _OTHERS:
        if start.startswith(mark):
            return reason
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 (byte {error.start}); save it as UTF-8"
    if isinstance(error, RecursionError):
        return "lists in it are nested without end"
    return str(error)


def _check_keys(content: Any, keys: Tuple[str, ...], path: Path) -> None:
    if isinstance(content, list):
        what = "a list"
        if content and isinstance(content[0], dict) and "score" in content[0]:
            what = "a list of predictions (COCO's result format)"
        raise ValueError(
            f"annotation file {path} holds {what}, expected a mapping with {list(keys)}; is it "
            "the right file?"
        )
    present = _names(content)
    missing = [key for key in keys if key not in present]
    if missing:
        raise ValueError(f"annotation file {path} has no {missing}; is it the right file?")


def _names(content: Any) -> Any:
    if isinstance(content, msgspec.Struct):
        fields = content.__struct_fields__
        return {name for name in fields if getattr(content, name) is not msgspec.UNSET}
    return content if isinstance(content, dict) else ()


def _check_once(data: bytes, key: str, path: Path) -> None:
    # The mapping that is finished last is the one at the top.
    last: Dict[str, int] = {}

    def count(pairs: Any) -> Dict[str, Any]:
        last.clear()
        for name, _ in pairs:
            last[name] = last.get(name, 0) + 1
        return {}

    json.loads(data, object_pairs_hook=count)
    if last.get(key, 0) > 1:
        raise ValueError(f"annotation file {path} has the key '{key}' {last[key]} times")


def dump_json(content: Any) -> str:
    """Returns content as JSON text; NaN and infinity, which JSON has no word for, become null."""
    try:
        return json.dumps(content, allow_nan=False, ensure_ascii=False)
    except ValueError:
        return json.dumps(_finite(content), allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_new(path: Path, text: str) -> None:
    """Writes a file that does not exist yet, whole or not at all.

    Raises:
        FileExistsError: it exists.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; remove it or name another file")
    write_text(path, text)
