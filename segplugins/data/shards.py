"""Shards of image-text samples: where each sample lies in a file, and its bytes.

A shard is a plain tar whose members of one sample stand together and share a name up to the first
dot (000017.jpg, 000017.txt, 000017.json: the WebDataset layout), or a file of JSON lines. Nothing
is extracted to disk, links are not followed, and no size in a header is believed beyond a limit.
"""

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Mapping, Optional, Tuple, Union

IMAGES = ("jpg", "jpeg", "png", "webp")
_LINES = (".jsonl", ".ndjson")
_IMAGE_BYTES = 256 * 2**20
_TEXT_BYTES = 16 * 2**20


class FaultySample(ValueError):
    """A sample, or a whole shard, that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Entry:
    """Where one sample lies.

    Args:
        shard: file.
        key: the sample's name in it.
        members: file extension to (offset, size) in bytes; of JSON lines only "line".
    """

    shard: str
    key: str
    members: Mapping[str, Tuple[int, int]]

    def __str__(self) -> str:
        return f"sample '{self.key}' of {self.shard}"


@dataclass(frozen=True)
class Sample:
    """One sample as it was found.

    Args:
        image: bytes of the image file, or the path of one.
        text: content of its .txt, "" where there is none.
        data: content of its .json or its line, {} where there is none.
    """

    image: Union[bytes, Path]
    text: str
    data: Mapping[str, Any]


def is_lines(shard: str) -> bool:
    """Returns: whether the shard is a file of JSON lines; else it is a tar."""
    return shard.lower().endswith(_LINES)


def index_shard(shard: str) -> Tuple[List[Entry], Optional[str]]:
    """Finds the samples of a shard by reading headers, or line ends, alone.

    Returns:
        The samples in their order, and what is wrong with the file as a whole, or None.
    """
    try:
        return (_index_lines(shard), None) if is_lines(shard) else _index_tar(shard)
    except OSError as error:
        return [], f"{shard} cannot be read: {error.strerror or error}"


def read_sample(entry: Entry, image_root: Optional[Path] = None) -> Sample:
    """Reads the bytes of a sample.

    Args:
        entry: from `index_shard`.
        image_root: folder that the "file_name" of JSON lines starts from; None = that of the file.

    Raises:
        FaultySample: a part is missing, too large, cut off or no JSON; a file name that leaves the
            folder.
    """
    with open(entry.shard, "rb") as file:
        if "line" in entry.members:
            data = _json(_bytes(file, entry, "line", _TEXT_BYTES), entry)
            root = Path(entry.shard).parent if image_root is None else image_root
            return Sample(image=_image_path(data, root, entry), text="", data=data)
        kind = next((kind for kind in IMAGES if kind in entry.members), None)
        if kind is None:
            raise FaultySample(f"{entry} has no image, only {sorted(entry.members)}")
        text = data = b""
        if "txt" in entry.members:
            text = _bytes(file, entry, "txt", _TEXT_BYTES)
        if "json" in entry.members:
            data = _bytes(file, entry, "json", _TEXT_BYTES)
        return Sample(
            image=_bytes(file, entry, kind, _IMAGE_BYTES),
            text=text.decode("utf-8", errors="replace"),
            data=_json(data, entry) if data else {},
        )


def _index_tar(shard: str) -> Tuple[List[Entry], Optional[str]]:
    samples: Dict[str, Dict[str, Tuple[int, int]]] = {}
    entries: List[Entry] = []

    def close() -> None:
        entries.extend(Entry(shard, key, members) for key, members in samples.items())
        samples.clear()

    fault = None
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                if not member.isreg() or name.startswith("."):
                    continue
                stem, _, kind = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if key not in samples:
                    close()
                samples.setdefault(key, {})[kind.lower()] = (member.offset_data, member.size)
            # tarfile takes a damaged header for the end; the end is a block of zeros or of nothing
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
                fault = f"{shard} is damaged after byte {archive.offset}"
    except tarfile.TarError as error:
        fault = f"{shard} is not a plain tar, or is cut off ({error})"
    close()
    return entries, fault


def _index_lines(shard: str) -> List[Entry]:
    entries = []
    with open(shard, "rb") as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                entries.append(Entry(shard, f"line {number}", {"line": (offset, len(line))}))
            offset += len(line)
    return entries


def _bytes(file: BinaryIO, entry: Entry, kind: str, limit: int) -> bytes:
    offset, size = entry.members[kind]
    if size > limit:
        raise FaultySample(f"{entry}: its {kind} has {size} bytes, more than the {limit} allowed")
    file.seek(offset)
    content = file.read(size)
    if len(content) < size:
        raise FaultySample(f"{entry}: its {kind} is cut off after {len(content)} of {size} bytes")
    return content


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
