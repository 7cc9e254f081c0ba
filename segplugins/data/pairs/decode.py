"""One image-text sample from its bytes: the picture, its captions, tags and regions."""

from dataclasses import replace
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Union

import numpy as np

from segplugins.data.shards import (
    Entry,
    FaultySample,
    Sample,
    has_captions_of_its_own,
    read_sample,
)
from segplugins.files.faults import FaultError
from segplugins.files.pictures import read_picture
from segplugins.structures.regions import Region, check_box

_CAPTION_KEYS = ("caption", "full_caption", "captions")
# Keys of a region that are no extra information about it.
_REGION_KEYS = {
    "text",
    "label",
    "box",
    "bbox",
    "mask",
    "class_index",
    "is_thing",
    "score",
    "extra",
}


class Pair(NamedTuple):
    """A sample before augmentation.

    Args:
        key: its name.
        image: (H, W, 3) uint8 RGB.
        captions: different texts of the whole image.
        tags: names of what it shows.
        regions: of the image.
        pseudo: whether a machine has drawn the regions.
    """

    key: str
    image: np.ndarray
    captions: List[str]
    tags: List[str]
    regions: List[Region]
    pseudo: bool = False


def read_pair(
    entry: Entry, image_root: Optional[Path] = None, *, captions_only: bool = False
) -> Pair:
    """Reads and decodes one sample of a shard.

    Args:
        entry: from `index_shard`.
        image_root: folder of the images of JSON lines; None = that of the file.
        captions_only: see `PairSource`.

    Raises:
        FaultySample: it cannot be used, or says nothing about its image.
    """
    return decode_pair(read_sample(entry, image_root), entry, captions_only=captions_only)


def read_record(record: Mapping[str, Any]) -> Pair:
    """Returns the sample of a record of the checker: "entry", "image_root", "captions_only"."""
    return read_pair(
        record["entry"], record["image_root"], captions_only=record.get("captions_only", False)
    )


def decode_pair(sample: Sample, entry: Entry, *, captions_only: bool = False) -> Pair:
    """Decodes a sample that was read.

    Args:
        sample: from `read_sample`.
        entry: where it lies, for messages.
        captions_only: see `PairSource`.

    Raises:
        FaultySample: see `read_pair`.
    """
    if captions_only:
        kept = {"key"} if has_captions_of_its_own(entry.shard) else {"key", *_CAPTION_KEYS}
        sample = replace(sample, data={k: v for k, v in sample.data.items() if k in kept})
    where = str(Entry(entry.shard, entry.offset, entry.size, sample.key))
    image = _decoded(sample.image, where)
    regions = _regions(sample.data, where)
    captions = _captions(sample)
    tags = [text for text in map(_text, _list(sample.data, "tags", where)) if text]
    if not captions and not tags and not regions:
        raise FaultySample(f"{where} has neither captions nor tags nor regions")
    key = str(sample.data.get("key", sample.key))
    return Pair(key, image, captions, tags, regions, bool(sample.data.get("pseudo", False)))


def _decoded(image: Union[bytes, Path], where: str) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB, turned as its EXIF data say."""
    try:
        return np.array(read_picture(image).pixels)  # tensors need an array that can be written
    except FaultError as error:
        raise FaultySample(f"{where}: its image cannot be read ({error})") from error


def _captions(sample: Sample) -> List[str]:
    """Returns each different text once: the .txt line by line, then what the JSON says."""
    texts: List[Any] = sample.text.splitlines()
    for key in _CAPTION_KEYS:
        value = sample.data.get(key, [])
        texts.extend(value if isinstance(value, list) else [value])
    return list(dict.fromkeys(text for text in map(_text, texts) if text))


def _text(value: Any) -> str:
    """Returns the words of a text, or of an object that holds them as "text" or "name"."""
    if isinstance(value, Mapping):
        value = value.get("text", value.get("name", ""))
    return "" if value is None else " ".join(str(value).split())


def _list(data: Mapping[str, Any], key: str, where: str) -> list:
    value = data.get(key) or []
    if not isinstance(value, list):
        raise FaultySample(f"{where}: '{key}' is {type(value).__name__}, expected a list")
    return value


def _regions(data: Mapping[str, Any], where: str) -> List[Region]:
    regions = []
    for number, item in enumerate(_list(data, "regions", where)):
        try:
            regions.append(_region(item))
        except (AttributeError, TypeError, ValueError) as error:
            raise FaultySample(f"{where}: region {number} cannot be used ({error})") from error
    return regions


def _region(item: Mapping[str, Any]) -> Region:
    box = item.get("box", item.get("bbox"))
    if box is not None:
        check_box(box)
    rest = {key: value for key, value in item.items() if key not in _REGION_KEYS}
    return Region(
        text=str(item.get("text", item.get("label", ""))),
        box=None if box is None else tuple(map(float, box)),
        mask=item.get("mask"),
        class_index=int(item.get("class_index", -1)),
        is_thing=bool(item.get("is_thing", True)),
        score=float(item.get("score", 1.0)),
        extra={**item.get("extra", {}), **rest},
    )
