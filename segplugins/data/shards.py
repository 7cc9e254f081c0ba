"""Shards of image-text samples: where each sample lies in a file, and its bytes.

A shard is a plain tar whose members of one sample stand together and share a name up to the first
dot (000017.jpg, 000017.txt, 000017.json: the WebDataset layout), or a file of JSON lines. Nothing
is extracted to disk, links are not followed, and no size in a header is believed beyond a limit.
"""

import codecs
import io
import json
import os
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from segplugins.files.plain_files import check_plain_file

IMAGES = ("jpg", "jpeg", "png", "webp")
_LINES = (".jsonl", ".ndjson")
_IMAGE_BYTES = 256 * 2**20
_TEXT_BYTES = 16 * 2**20
_SAMPLE_BYTES = 2 * _IMAGE_BYTES


class FaultySample(ValueError):
    """A sample, or a whole shard, that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Entry:
    """Where one sample lies.

    Args:
        shard: file.
        offset: of its first byte in the shard; in a tar that of its first header.
        size: bytes up to the end of its last member, or of its line.
        key: the sample's name in the shard; "" = not read yet.
    """

    shard: str
    offset: int
    size: int
    key: str = ""

    def __str__(self) -> str:
        name = f"sample '{self.key}'" if self.key else f"the sample at byte {self.offset}"
        return f"{name} of {self.shard}"


@dataclass(frozen=True)
class Sample:
    """One sample as it stands in its shard.

    Args:
        key: its name.
        image: bytes of the image file, or the path of one.
        text: content of its .txt, "" where there is none.
        data: content of its .json or its line, {} where there is none.
    """

    key: str
    image: Union[bytes, Path]
    text: str
    data: Mapping[str, Any]


def is_lines(shard: str) -> bool:
    """Returns whether the shard is a file of JSON lines; else it is a tar."""
    return shard.lower().endswith(_LINES)


def index_shard(shard: str) -> Tuple[List[Entry], Optional[str]]:
    """Finds the samples of a shard by reading headers, or line ends, alone.

    Returns:
        The samples in their order, and what is wrong with the file as a whole, or None.
    """
    try:
        check_plain_file(shard)
        return (_index_lines(shard), None) if is_lines(shard) else _index_tar(shard)
    except OSError as error:
        return [], f"{shard} cannot be read: {error.strerror or error}"


def read_sample(entry: Entry, image_root: Optional[Path] = None) -> Sample:
    """Reads the bytes of a sample, in one piece.

    Args:
        entry: from `index_shard`; its key may be empty.
        image_root: folder that the "file_name" of JSON lines starts from; None = that of the file.

    Raises:
        FaultySample: a part is missing, too large, cut off or no JSON; a file name that leaves the
            folder; the shard has changed since it was indexed.
    """
    if is_lines(entry.shard):
        return _sample_of_line(entry, image_root)
    return _sample_of_tar(entry)


def _sample_of_line(entry: Entry, image_root: Optional[Path]) -> Sample:
    data = _json(_span(entry, _TEXT_BYTES), entry)
    root = Path(entry.shard).parent if image_root is None else image_root
    key = entry.key or f"byte {entry.offset}"
    return Sample(key, image=_image_path(data, root, entry), text="", data=data)


def _sample_of_tar(entry: Entry) -> Sample:
    content = _span(entry, _SAMPLE_BYTES)
    # Two blocks of zeros end a tar; the first of them may have to fill the last block of content.
    ended = content + bytes(-len(content) % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
    members: Dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(ended), mode="r:") as archive:
            for member in archive:
                name = _sample_name(member)
                if name is None:
                    continue
                entry = replace(entry, key=name[0])
                limit = _IMAGE_BYTES if name[1] in IMAGES else _TEXT_BYTES
                if member.size > limit and name[1] in (*IMAGES, "txt", "json"):
                    raise FaultySample(
                        f"{entry}: its {name[1]} has {member.size} bytes, more than the {limit} "
                        "allowed"
                    )
                part = content[member.offset_data : member.offset_data + member.size]
                if len(part) < member.size:
                    raise FaultySample(
                        f"{entry}: its {name[1]} is cut off after {len(part)} of {member.size} "
                        "bytes"
                    )
                if members.setdefault(name[1], part) is not part:
                    raise FaultySample(f"{entry} has two .{name[1]}: are two samples called alike?")
    except tarfile.TarError as error:
        raise FaultySample(f"{entry} is not where the index has it ({error})") from error
    kind = next((kind for kind in IMAGES if kind in members), None)
    if kind is None:
        raise FaultySample(f"{entry} has no image, only {sorted(members)}")
    return Sample(
        key=entry.key,
        image=members[kind],
        text=_text(members.get("txt", b"")),
        data=_json(members["json"], entry) if members.get("json") else {},
    )


def _text(content: bytes) -> str:
    """Returns a caption; what is no UTF-8 in it is shown as such, as texts of the web have it."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _sample_name(member: tarfile.TarInfo) -> Optional[Tuple[str, str]]:
    """Returns the key and the kind of a member; None where it is part of no sample."""
    folder, _, name = member.name.rpartition("/")
    if not member.isreg() or name.startswith("."):
        return None
    stem, _, kind = name.partition(".")
    return (f"{folder}/{stem}" if folder else stem), kind.lower()


def _index_tar(shard: str) -> Tuple[List[Entry], Optional[str]]:
    entries: List[Entry] = []
    fault = None
    try:
        with tarfile.open(shard, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # or tarfile keeps every header of the shard
                name = _sample_name(member)
                if name is None:
                    continue
                end = member.offset_data + member.size
                if entries and entries[-1].key == name[0]:
                    last = entries[-1]
                    entries[-1] = replace(last, size=end - last.offset)
                else:
                    entries.append(Entry(shard, member.offset, end - member.offset, name[0]))
            # tarfile takes a damaged header for the end; the end is a block of zeros or of nothing
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
                fault = f"{shard} is damaged after byte {archive.offset}"
    except (tarfile.TarError, ValueError, ArithmeticError, MemoryError) as error:
        # Sizes in damaged headers are beyond what a file can be asked for.
        reason = str(error) or type(error).__name__
        fault = f"{shard} is not a plain tar, or is cut off ({reason})"
    return entries, fault


def _index_lines(shard: str) -> List[Entry]:
    entries = []
    with open(shard, "rb") as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                entries.append(Entry(shard, offset, len(line), f"line {number}"))
            offset += len(line)
    return entries


def _span(entry: Entry, limit: int) -> bytes:
    if entry.size > limit:
        raise FaultySample(f"{entry} has {entry.size} bytes, more than the {limit} allowed")
    try:
        with open(entry.shard, "rb", buffering=0) as file:
            content = bytearray()
            file.seek(entry.offset)
            # One system call reads at most 2 GB, and a network may give less.
            while len(content) < entry.size:
                part = file.read(entry.size - len(content))
                if not part:
                    break
                content += part
            return bytes(content)
    except OSError as error:
        raise FaultySample(f"{entry} cannot be read: {error.strerror or error}") from error


def _json(content: bytes, entry: Entry) -> Mapping[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FaultySample(f"{entry}: its JSON cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise FaultySample(f"{entry}: its JSON is {type(data).__name__}, expected an object")
    return data


def _image_path(data: Mapping[str, Any], root: Path, entry: Entry) -> Path:
    name = data.get("file_name")
    if not isinstance(name, str) or not name:
        raise FaultySample(f"{entry}: 'file_name' is {name!r}, expected the path of its image")
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(os.path.normpath(root)):
        raise FaultySample(f"{entry}: file_name '{name}' leaves the folder {root}")
    if not path.is_file():
        raise FaultySample(f"{entry}: no image {path}")
    return path
