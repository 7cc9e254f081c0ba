"""PASCAL-Context: all 459 classes of the validation images, 16 bits.

Reads VOCdevkit/VOC2010/trainval/<id>.mat and the list of images, pascalcontext_val.txt; without
the list, the phase "val" of trainval_merged.json. Writes
VOCdevkit/VOC2010/annotations_detectron2/pc459_val/*.tif.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none
from prepare_options import parse_arguments

import json
from pathlib import Path
from typing import List

from scipy.io import loadmat

from segplugins.data.catalog import check_order
from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import IGNORE_PASCAL_CONTEXT_459, remap_pc459
from segplugins.data.prepare import (
    convert_and_check,
    logger,
    require,
    run,
    save_labels,
)

EXPECTED = 5_104


def convert(source: Path, target: Path) -> None:
    """Converts one file."""
    save_labels(remap_pc459(loadmat(source)["LabelMap"]), target)


def validation_ids(root: Path) -> List[str]:
    """Returns the image ids of the list, or of the annotation file where there is no list."""
    listing = root / "pascalcontext_val.txt"
    if listing.is_file():
        return sorted(
            {line.split()[0] for line in listing.read_text().splitlines() if line.strip()}
        )
    merged = require(
        root / "trainval_merged.json", "neither it nor pascalcontext_val.txt says which images"
    )
    images = json.loads(merged.read_text())["images"]
    return sorted(Path(image["file_name"]).stem for image in images if image["phase"] == "val")


def names_of_source(path: Path) -> list:
    """Reads "labels.txt" of the release: "<number>: <name>" a line."""
    named = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return [named.get(str(number), "").strip() for number in range(1, 460)]


def main() -> None:
    """Converts the validation images."""
    arguments = parse_arguments(__doc__, "VOCdevkit/VOC2010")
    root = arguments.root
    folder = require(root / "trainval", "the .mat files of PASCAL-Context")
    listing = root / "labels.txt"
    if listing.is_file():
        check_order(
            shipped_vocabulary("pascal_context_459").classes, names_of_source(listing), listing
        )
    ids = validation_ids(root)
    present = [name for name in ids if (folder / f"{name}.mat").is_file()]
    if len(present) < len(ids):
        logger.info("%d of %d listed images have no .mat file", len(ids) - len(present), len(ids))
    made = root / "annotations_detectron2" / "pc459_val"
    jobs = [(folder / f"{name}.mat", made / f"{name}.tif") for name in present]
    convert_and_check(
        jobs,
        convert,
        arguments,
        num_classes=459,
        ignore=IGNORE_PASCAL_CONTEXT_459,
        expected=[EXPECTED],
        title="pc459_val",
    )


if __name__ == "__main__":
    run(main)
