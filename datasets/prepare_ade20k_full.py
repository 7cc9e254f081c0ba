"""ADE20K 2021_17_01: the validation images with labels of 847 classes, 16 bits.

Reads ADE20K_2021_17_01/index_ade20k.pkl and the images and "_seg.png" files that it lists, writes
ADE20K_2021_17_01/{images_detectron2,annotations_detectron2}/validation. Images and labels are
scaled down so that the shorter side has at most 512 pixels.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none
from prepare_options import parse_arguments

from pathlib import Path
from typing import List, Tuple

import cv2
import numpy as np
from PIL import Image

from segplugins.data.catalog import check_order
from segplugins.data.datasets import shipped_vocabulary
from segplugins.data.label_maps import IGNORE_ADE20K_847, ade847_from_seg_rgb, source_ids
from segplugins.data.prepare import (
    convert_all,
    convert_and_check,
    require,
    run,
    save_image,
    save_labels,
)
from segplugins.files.plain_pickle import read_pickle

EXPECTED = 2_000
SHORTER_SIDE = 512


def target_size(height: int, width: int) -> Tuple[int, int]:
    """Returns (width, height) of the files that are written, in pixels."""
    scale = min(1.0, SHORTER_SIDE / min(height, width))
    return round(width * scale), round(height * scale)


def convert_image(source: Path, target: Path) -> None:
    """Scales one image."""
    rgb = np.asarray(Image.open(source).convert("RGB"))
    size = target_size(*rgb.shape[:2])
    save_image(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), target)


def convert_labels(source: Path, target: Path) -> None:
    """Converts and scales one "_seg.png"."""
    labels = ade847_from_seg_rgb(np.asarray(Image.open(source).convert("RGB")))
    size = target_size(*labels.shape)
    save_labels(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), target)


def validation_images(index: dict, root: Path) -> List[Path]:
    """Returns the images whose name says "val" ("ADE_val_00000001.jpg").

    The index gives folders from "ADE20K_2021_17_01/" on; `root` is that folder.
    """
    listed = zip(index["folder"], index["filename"])
    images = [Path(folder, name) for folder, name in listed if name.split("_")[1] == "val"]
    return [root / Path(*image.parts[1:]) for image in images]


def main() -> None:
    """Converts the validation split."""
    arguments = parse_arguments(__doc__, "ADE20K_2021_17_01")
    root = arguments.root
    listing = require(root / "index_ade20k.pkl", "the index of the release")
    index = read_pickle(listing)
    # A class number is 1 + the row in "objectnames".
    names = [index["objectnames"][number - 1] for number in source_ids("ade20k_847")]
    check_order(shipped_vocabulary("ade20k_847").classes, names, listing)
    images = validation_images(index, root)
    if arguments.partial:
        images = [image for image in images if image.is_file()]
    image_jobs, label_jobs = [], []
    for image in images:
        made = root / "images_detectron2" / "validation" / image.name
        image_jobs.append((image, made))
        labels = root / "annotations_detectron2" / "validation" / f"{image.stem}.tif"
        label_jobs.append((image.with_name(f"{image.stem}_seg.png"), labels))
    convert_all(image_jobs, convert_image, workers=arguments.workers, title="images")
    convert_and_check(
        label_jobs,
        convert_labels,
        arguments,
        num_classes=847,
        ignore=IGNORE_ADE20K_847,
        expected=[EXPECTED],
        title="labels",
    )


if __name__ == "__main__":
    run(main)
