"""What all shards have in common: the place of a sample, its content, and limits of both."""

import codecs
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple, Union

IMAGES = ("jpg", "jpeg", "png", "webp")
IMAGE_BYTES = 256 * 2**20
TEXT_BYTES = 16 * 2**20


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


def read_span(entry: Entry, limit: int) -> bytes:
    """Returns the bytes of a sample, in one piece.

    Raises:
        FaultySample: more than the limit, or they cannot be read.
    """
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


def parse_json(content: bytes, entry: Entry) -> Mapping[str, Any]:
    """Returns the object that a JSON text holds, or raises FaultySample.

    An object that says a key twice is a fault too: readers would take the last, in silence.
    """
    try:
        data = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise FaultySample(f"{entry}: its JSON cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise FaultySample(f"{entry}: its JSON is {type(data).__name__}, expected an object")
    return data


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in data if keys.count(key) > 1)
        raise ValueError(f"it has the key '{twice}' {keys.count(twice)} times")
    return data


def caption_text(content: bytes) -> str:
    """Returns a caption; what is no UTF-8 in it is shown as such, as texts of the web have it."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def image_path(name: Any, root: Path, entry: Entry) -> Path:
    """Returns the path of the image that a sample names, below the folder of the images.

    Raises:
        FaultySample: no name, one that leaves the folder, or no such file.
    """
    if not isinstance(name, str) or not name:
        raise FaultySample(f"{entry}: 'file_name' is {name!r}, expected the path of its image")
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(os.path.normpath(root)):
        raise FaultySample(f"{entry}: file_name '{name}' leaves the folder {root}")
    if not path.is_file():
        raise FaultySample(f"{entry}: no image {path}")
    return path
