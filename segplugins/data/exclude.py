"""Keeps the images that a model is evaluated on out of what it is trained on.

RefCOCO, LVIS, COCO-Stuff and half of Visual Genome share the images of COCO under different file
names; what they have in common is COCO's number.
"""

import logging
import os
import re
from typing import Any, List, Mapping, Optional, Sequence, Set, Tuple, Union

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
