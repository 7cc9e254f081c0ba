"""One image-text sample from its bytes: the picture, its captions, tags and regions."""

from dataclasses import replace
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Union

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
from segplugins.files.values import as_number, is_unicode
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
        regions: of the image; "captions" of their `extra` are different texts of a region.
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
    try:
        captions = _captions(sample.data, sample.text.splitlines())
        tags = [text for text in map(_text, _list(sample.data, "tags", where)) if text]
    except TypeError as error:
        raise FaultySample(f"{where}: {error}") from error
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


def _captions(data: Mapping[str, Any], first: Sequence[str] = ()) -> List[str]:
    """Returns each different text once: those that stand first, then what the JSON says."""
    texts: List[Any] = list(first)
    for key in _CAPTION_KEYS:
        value = data.get(key, [])
        texts.extend(value if isinstance(value, list) else [value])
    return list(dict.fromkeys(text for text in map(_text, texts) if text))


def _text(value: Any) -> str:
    """Returns the words of a text, or of an object that holds them as "text" or "name".

    Nothing is left of an object that a filter of annotations has marked "kept": false.

    Raises:
        TypeError: it is neither text nor number.
    """
    if isinstance(value, Mapping):
        value = value.get("text", value.get("name", "")) if value.get("kept", True) else ""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"{value!r:.40} stands where a text is expected")
    text = str(value)
    if not is_unicode(text):  # JSON can name half a character
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text.split())


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


def _region(item: Any) -> Region:
    if not isinstance(item, Mapping):
        raise TypeError(f"it is {type(item).__name__}, expected an object")
    box, extra = item.get("box", item.get("bbox")), item.get("extra", {})
    if not isinstance(extra, Mapping):
        raise TypeError(f"'extra' is {type(extra).__name__}, expected an object")
    if box is not None:
        check_box(box)
    extra = {**extra, **{key: value for key, value in item.items() if key not in _REGION_KEYS}}
    captions = _captions(extra)
    extra = {key: value for key, value in extra.items() if key not in _CAPTION_KEYS}
    return Region(
        text=_text(item.get("text", item.get("label"))),
        box=None if box is None else tuple(map(float, box)),
        mask=item.get("mask"),
        class_index=int(item.get("class_index", -1)),
        is_thing=bool(item.get("is_thing", True)),
        score=as_number(item.get("score", 1.0)),
        extra={**extra, "captions": captions} if captions else extra,
    )
