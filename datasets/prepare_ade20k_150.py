"""ADE20K, scene-parsing challenge: labels 1-150 (0 = other) to 0-149 (255 = ignored).

Reads ADEChallengeData2016/annotations/{training,validation}/*.png, writes
ADEChallengeData2016/annotations_detectron2/{training,validation}/*.png.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none
from prepare_options import parse_arguments

from pathlib import Path

import numpy as np
from PIL import Image

from segplugins.data.catalog import check_order
from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import IGNORE_8_BIT, remap_ade150
from segplugins.data.prepare import convert_splits, run, save_labels

EXPECTED = {"training": 20_210, "validation": 2_000}


def convert(source: Path, target: Path) -> None:
    """Converts one file."""
    raw = np.asarray(Image.open(source))
    if raw.max() > 150:
        raise ValueError(f"it holds {raw.max()}, expected 0 to 150")
    save_labels(remap_ade150(raw), target)


def names_of_source(path: Path) -> list:
    """Reads "objectInfo150.txt" of the release: a table with the names in its last column."""
    rows = path.read_text().splitlines()[1:]
    return [row.split("\t")[-1].strip() for row in rows if row.strip()]


def main() -> None:
    """Converts both splits."""
    arguments = parse_arguments(__doc__, "ADEChallengeData2016")
    listing = arguments.root / "objectInfo150.txt"
    if listing.is_file():
        check_order(shipped_vocabulary("ade20k_150").classes, names_of_source(listing), listing)
    convert_splits(
        EXPECTED,
        convert,
        arguments,
        num_classes=150,
        ignore=IGNORE_8_BIT,
        what="label PNGs of the release",
    )


if __name__ == "__main__":
    run(main)
