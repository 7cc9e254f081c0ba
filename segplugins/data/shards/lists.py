"""CSV and TSV lists of pictures and captions, with a line of column names or without.

filepath,title                                  caption<TAB>file, as Conceptual Captions ships
a.jpg,"a dog, and a cat"                        a dog and a cat<TAB>a.jpg
"""

import csv
import os
from functools import lru_cache
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from segplugins.data.shards.sample import (
    IMAGES,
    TEXT_BYTES,
    Entry,
    FaultySample,
    Sample,
    image_path,
    read_span,
)

_PICTURES = (
    "file_name",
    "filename",
    "filepath",
    "file_path",
    "file",
    "image",
    "image_path",
    "image_name",
    "img_path",
    "path",
)
_CAPTIONS = ("caption", "captions", "title", "text", "sentence", "description")
_SHOWN = 60
_MARK = b"\xef\xbb\xbf"  # byte order mark of UTF-8


class _Columns(NamedTuple):
    """How the rows of a list are read.

    Args:
        separator: between the cells.
        picture: column of the file name.
        caption: column of the caption.
        start: place of the first row of data, in bytes.
    """

    separator: str
    picture: int
    caption: int
    start: int


def index_list(shard: str) -> Tuple[List[Entry], Optional[str]]:
    """Returns the rows of a list, and what is wrong with it or None."""
    try:
        columns = _columns(shard, os.stat(shard).st_mtime_ns)
        entries = []
        for number, (offset, line) in enumerate(_records(shard, columns), start=1):
            if not entries:
                _check_first(shard, _cells(line, columns.separator), columns)
            if line.strip():
                entries.append(Entry(shard, offset, len(line), f"row {number}"))
    except ValueError as error:
        return [], str(error)
    return entries, None


def read_row(entry: Entry, image_root: Optional[Path]) -> Sample:
    """Returns a sample of a list."""
    try:
        columns = _columns(entry.shard, os.stat(entry.shard).st_mtime_ns)
    except (OSError, ValueError) as error:
        raise FaultySample(f"{entry}: {error}") from error
    cells = _cells(read_span(entry, TEXT_BYTES), columns.separator)
    needed = max(columns.picture, columns.caption) + 1
    if len(cells) < needed:
        raise FaultySample(f"{entry} has {len(cells)} columns, expected {needed}")
    root = Path(entry.shard).parent if image_root is None else image_root
    name = cells[columns.picture].strip().replace("\\", "/")
    path = image_path(name, root, entry)
    caption = " ".join(cells[columns.caption].split())
    return Sample(entry.key or f"byte {entry.offset}", path, caption, {})


@lru_cache(maxsize=256)
def _columns(shard: str, version: int) -> _Columns:
    """Returns how a list is read, by its first line.

    Raises:
        ValueError: the line does not tell which column is which.
    """
    with open(shard, "rb") as file:
        first = file.readline(TEXT_BYTES)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{shard} is text in UTF-16; save it in UTF-8")
    start = len(_MARK) if first.startswith(_MARK) else 0
    text = first[start:].decode("utf-8", errors="replace")
    separator = next((each for each in "\t,;" if each in text), ",")
    cells = [cell.strip() for cell in _cells(first[start:], separator)]
    named = [cell.lower() for cell in cells]
    picture = next((named.index(name) for name in _PICTURES if name in named), None)
    caption = next((named.index(name) for name in _CAPTIONS if name in named), None)
    if picture is not None and caption is not None:
        return _Columns(separator, picture, caption, len(first))
    pictures = [number for number, cell in enumerate(cells) if _names_picture(cell)]
    if len(cells) == 2 and len(pictures) == 1:
        return _Columns(separator, pictures[0], 1 - pictures[0], start)
    raise ValueError(
        f"{shard}: the first line, '{' '.join(text.split())[:_SHOWN]}', tells neither columns "
        f"({', '.join(_PICTURES[:3])}, ... and {', '.join(_CAPTIONS[:3])}, ...) nor a caption "
        "beside the name of a picture; put such a line on top"
    )


def _check_first(shard: str, cells: Sequence[str], columns: _Columns) -> None:
    """Raises ValueError where the first row shows that no row can be read."""
    name = cells[columns.picture] if columns.picture < len(cells) else ""
    if "://" in name:
        raise ValueError(
            f"{shard} lists addresses of the web, first '{name[:_SHOWN]}'; fetch the pictures "
            "first: img2dataset writes tars, which are read as they are"
        )


def _records(shard: str, columns: _Columns) -> Iterator[Tuple[int, bytes]]:
    """Yields (offset, bytes) of every row; a quoted cell of a CSV may hold line breaks."""
    offset = columns.start
    rows: List[bytes] = []
    size, is_open = 0, False
    with open(shard, "rb") as file:
        file.seek(offset)
        for line in file:
            rows.append(line)
            size += len(line)
            is_open ^= columns.separator != "\t" and bool(line.count(b'"') % 2)
            if is_open and size < TEXT_BYTES:
                continue
            if is_open:
                break
            yield offset, b"".join(rows)
            offset, size = offset + size, 0
            rows.clear()
    if rows:
        raise ValueError(f"{shard}: a quotation mark of the row at byte {offset} is never closed")


def _cells(line: bytes, separator: str) -> List[str]:
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    if separator != "\t":
        return next(csv.reader([text], delimiter=separator), [])
    # Captions with a quotation mark in front stand in such files as they are.
    return [_unquoted(cell) for cell in text.split("\t")]


def _unquoted(cell: str) -> str:
    is_quoted = len(cell) > 1 and cell.startswith('"') and cell.endswith('"')
    return cell[1:-1].replace('""', '"') if is_quoted else cell


def _names_picture(cell: str) -> bool:
    return "://" in cell or cell.lower().endswith(tuple(f".{kind}" for kind in IMAGES))
