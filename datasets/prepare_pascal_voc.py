"""PASCAL VOC 2012, validation images: 20 classes, and 20 with background.

Reads VOCdevkit/VOC2012/SegmentationClassAug/*.png and ImageSets/Segmentation/val.txt, writes
VOCdevkit/VOC2012/{annotations_detectron2,annotations_detectron2_bg}/val/*.png.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none
from prepare_options import parse_arguments

from pathlib import Path
from typing import Tuple

import numpy as np
from PIL import Image

from segplugins.data.label_maps import IGNORE_8_BIT, remap_voc
from segplugins.data.prepare import (
    convert_and_check,
    require,
    run,
    save_labels,
)

EXPECTED = 1_449


def convert(source: Tuple[Path, bool], target: Path) -> None:
    """Converts one file; one without any labelled pixel is left out."""
    path, background = source
    raw = np.asarray(Image.open(path))
    if ((raw > 20) & (raw != 255)).any():
        raise ValueError("it holds a value other than 0 to 20 and 255")
    labels = remap_voc(raw, background=background)
    if (labels != IGNORE_8_BIT).any():
        save_labels(labels, target)


def main() -> None:
    """Converts the validation images both ways."""
    arguments = parse_arguments(__doc__, "VOCdevkit/VOC2012")
    root = arguments.root
    folder = require(root / "SegmentationClassAug", "the extended annotations")
    listing = require(root / "ImageSets" / "Segmentation" / "val.txt", "the validation images")
    names = listing.read_text().split()
    if arguments.partial:
        names = [name for name in names if (folder / f"{name}.png").is_file()]
    for made, background in (
        ("annotations_detectron2", False),
        ("annotations_detectron2_bg", True),
    ):
        jobs = [
            ((folder / f"{name}.png", background), root / made / "val" / f"{name}.png")
            for name in names
        ]
        convert_and_check(
            jobs,
            convert,
            arguments,
            num_classes=21 if background else 20,
            ignore=IGNORE_8_BIT,
            expected=[EXPECTED],
            title=made,
        )


if __name__ == "__main__":
    run(main)
