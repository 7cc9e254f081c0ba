"""COCO-Stuff: "stuffthingmaps" PNGs to label maps of 171 classes.

Reads coco-stuff/annotations/{train2017,val2017}/*.png, writes
coco-stuff/annotations_detectron2/{train2017,val2017}/*.png.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none
from prepare_options import parse_arguments

from pathlib import Path

import numpy as np
from PIL import Image

from segplugins.data.catalog import check_order
from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import IGNORE_8_BIT, remap_coco_stuff, source_ids
from segplugins.data.prepare import convert_splits, run, save_labels

EXPECTED = {"train2017": 118_287, "val2017": 5_000}


def convert(source: Path, target: Path) -> None:
    """Converts one file."""
    save_labels(remap_coco_stuff(np.asarray(Image.open(source))), target)


def names_of_source(path: Path) -> list:
    """Reads "labels.txt" of the release: "<COCO id>: <name>" a line, 0 = unlabeled."""
    named = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    # The PNG value is the id minus 1.
    return [named.get(str(value + 1), "").strip() for value in source_ids("coco_stuff_171")]


def main() -> None:
    """Converts both splits."""
    arguments = parse_arguments(__doc__, "coco-stuff")
    listing = arguments.root / "labels.txt"
    if listing.is_file():
        check_order(shipped_vocabulary("coco_stuff_171").classes, names_of_source(listing), listing)
    convert_splits(
        EXPECTED,
        convert,
        arguments,
        num_classes=171,
        ignore=IGNORE_8_BIT,
        what="PNGs of stuffthingmaps_trainval2017.zip",
    )


if __name__ == "__main__":
    run(main)
