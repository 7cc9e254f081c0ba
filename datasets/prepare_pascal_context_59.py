"""PASCAL-Context: the 59 frequent classes of the validation images.

Reads VOCdevkit/VOC2010/trainval_merged.json (the annotations of the Detail API, phase "val"),
writes VOCdevkit/VOC2010/annotations_detectron2/pc59_val/*.png.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none
from prepare_options import parse_arguments

import json
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from segplugins.data.catalog import check_order
from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import IGNORE_8_BIT, remap_pc59, source_ids
from segplugins.data.prepare import (
    convert_and_check,
    require,
    run,
    save_labels,
)
from segplugins.structures.regions import decode_mask

EXPECTED = (5_104, 5_105)

Source = Tuple[int, int, List[Tuple[int, dict]]]  # height, width, (class number, RLE) in order


def convert(source: Source, target: Path) -> None:
    """Draws the annotations of one image, later ones over earlier ones."""
    height, width, annotations = source
    raw = np.zeros((height, width), dtype=np.int32)
    for number, rle in annotations:
        raw[decode_mask(rle, height, width)] = number
    save_labels(remap_pc59(raw), target)


def jobs_of(data: dict, made: Path) -> List[Tuple[Source, Path]]:
    """Returns a job for every image of the validation phase."""
    drawn: Dict[int, List[Tuple[int, dict]]] = defaultdict(list)
    for annotation in data["annos_segmentation"]:
        drawn[annotation["image_id"]].append(
            (annotation["category_id"], annotation["segmentation"])
        )
    return [
        (
            (image["height"], image["width"], drawn[image["image_id"]]),
            made / f"{Path(image['file_name']).stem}.png",
        )
        for image in data["images"]
        if image["phase"] == "val"
    ]


def main() -> None:
    """Converts the validation images."""
    arguments = parse_arguments(__doc__, "VOCdevkit/VOC2010")
    listing = require(arguments.root / "trainval_merged.json", "annotations of the Detail API")
    data = json.loads(listing.read_text())
    named = {category["category_id"]: category["name"] for category in data["categories"]}
    check_order(
        shipped_vocabulary("pascal_context_59").classes,
        [named.get(number, "") for number in source_ids("pascal_context_59")],
        listing,
    )
    jobs = jobs_of(data, arguments.root / "annotations_detectron2" / "pc59_val")
    convert_and_check(
        jobs,
        convert,
        arguments,
        num_classes=59,
        ignore=IGNORE_8_BIT,
        expected=EXPECTED,
        title="pc59_val",
    )


if __name__ == "__main__":
    run(main)
