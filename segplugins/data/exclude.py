"""Keeps the images that a model is evaluated on out of what it is trained on.

RefCOCO, LVIS, COCO-Stuff and half of Visual Genome share the images of COCO under different file
names; what they have in common is COCO's number.
"""

import logging
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, DefaultDict, List, Mapping, Optional, Sequence, Set, Tuple, Union

from segplugins.data.catalog import load_dataset

logger = logging.getLogger(__name__)

# COCO_train2014_000000581857.jpg, 000000581857.jpg and their label maps
_COCO_NAME = re.compile(r"(?:^|_)(\d{12})$")

ImageKey = Union[Tuple[str, int], Tuple[str, str]]


def coco_id(record: Mapping[str, Any]) -> Optional[int]:
    """Returns COCO's number of an image, or None where it has none.

    Args:
        record: with "coco_id" (Visual Genome knows it), or a file named as COCO names them.
    """
    if record.get("coco_id") is not None:
        return int(record["coco_id"])
    stem = os.path.splitext(os.path.basename(record["file_name"]))[0]
    match = _COCO_NAME.search(stem)
    return None if match is None else int(match[1])


def image_key(record: Mapping[str, Any]) -> ImageKey:
    """Returns what two records of one image have in common: COCO's number, else the file."""
    number = coco_id(record)
    if number is not None:
        return ("coco", number)
    return ("file", os.path.realpath(record["file_name"]))


def image_keys(records: Sequence[Mapping[str, Any]]) -> Set[ImageKey]:
    """Returns the images that records show."""
    return {image_key(record) for record in records}


def exclude(records: Sequence[dict], keys: Set[ImageKey], *, name: str) -> List[dict]:
    """Returns the records of other images, and tells in the log how many were left out.

    Args:
        records: of a training set.
        keys: images to leave out.
        name: of the training set.

    Raises:
        ValueError: no image is left.
    """
    kept = [record for record in records if image_key(record) not in keys]
    logger.info(
        "%s: %d of %d records left out, because their images are evaluated on",
        name,
        len(records) - len(kept),
        len(records),
    )
    if records and not kept:
        raise ValueError(
            f"data set '{name}': all {len(records)} records show images of DATASETS.EXCLUDE; is it "
            "an evaluation set?"
        )
    return kept


class ExcludedImages:
    """Tells samples of image-text pairs that show an excluded image.

    A sample shows one if its JSON gives COCO's number ("coco_id", or a "file_name" as COCO names
    its files), if its image is the same file, or if its image has the same bytes, as those of COCO
    have in any shard. An image that was encoded again under another name is not recognised.

    Args:
        records: of the excluded sets.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self._keys = image_keys(records)
        self._files: DefaultDict[int, Set[str]] = defaultdict(set)  # by their size in bytes
        for path in {record["file_name"] for record in records}:
            if os.path.isfile(path):
                self._files[os.path.getsize(path)].add(path)

    @classmethod
    def of_sets(cls, names: Sequence[str]) -> Optional["ExcludedImages"]:
        """Returns the images of data sets; None where no set is named.

        Raises:
            KeyError, FileNotFoundError: a set is not registered, or not there.
        """
        records = [record for name in names for record in load_dataset(name)]
        return cls(records) if names else None

    def shows(self, image: Union[bytes, Path], data: Mapping[str, Any]) -> bool:
        """Returns whether a sample shows an excluded image.

        Args:
            image: content or path of its image file.
            data: its JSON.
        """
        named = {"file_name": str(data.get("file_name", "")), "coco_id": _number(data)}
        number = coco_id(named)
        if number is not None and ("coco", number) in self._keys:
            return True
        if isinstance(image, bytes):
            return any(Path(path).read_bytes() == image for path in self._files.get(len(image), ()))
        if image_key({"file_name": str(image)}) in self._keys:
            return True
        same_size = self._files.get(os.path.getsize(image), ())
        return any(Path(path).read_bytes() == image.read_bytes() for path in same_size)


def _number(data: Mapping[str, Any]) -> Optional[int]:
    """Returns the "coco_id" of a sample; what is no whole number is none."""
    try:
        return int(data["coco_id"])
    except (KeyError, TypeError, ValueError):
        return None
