"""What the writers of annotation programs' files have in common."""

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import List, NamedTuple, Sequence

import numpy as np

from segplugins.files.write import replacing
from segplugins.structures.regions import Region


class AnnotatedImage(NamedTuple):
    """A picture and what it shows.

    Args:
        path: of the picture.
        file_name: path below the folder of pictures.
        height: in pixels.
        width: in pixels.
        regions: of the picture.
        not_exhaustive: texts of which the picture may show objects that are not annotated.
    """

    path: Path
    file_name: str
    height: int
    width: int
    regions: Sequence[Region]
    not_exhaustive: Sequence[str] = ()


def objects_of(image: AnnotatedImage, done: Counter) -> List[Region]:
    """Returns the regions with a target; phrases without one are counted."""
    shown = [region for region in image.regions if region.has_target]
    done["objects"] += len(shown)
    done["phrases without a target left out"] += len(image.regions) - len(shown)
    return shown


def count_lost(image: AnnotatedImage, done: Counter, keeps: Sequence[str] = ()) -> None:
    """Counts what the regions say and a format cannot hold.

    Args:
        image: that is written.
        done: counts by name.
        keeps: of "score", "iscrowd" and "not_exhaustive" what the format holds.
    """
    shown = [region for region in image.regions if region.has_target]
    crowds = [bool(region.extra.get("iscrowd")) for region in shown]
    if "score" not in keeps:
        done["scores left out"] += sum(region.score != 1.0 for region in shown)
    if "iscrowd" not in keeps:
        done["crowd flags left out"] += sum(crowds)
    if "not_exhaustive" not in keeps:
        done["names with unannotated objects left out"] += len(image.not_exhaustive)


def object_mask(region: Region, image: AnnotatedImage) -> np.ndarray:
    """Returns the mask of a region, (H, W) bool.

    Raises:
        ValueError: it covers no pixel or does not fit the picture; the message names it.
    """
    try:
        mask = region.bitmap(image.height, image.width)
        if not mask.any():
            raise ValueError(f"the mask of '{region.text}' covers no pixel")
    except ValueError as error:
        raise ValueError(f"{image.path}: {error}") from error
    return mask


def copy_picture(image: AnnotatedImage, folder: Path) -> Path:
    """Copies the picture below a folder. Returns the copy.

    Raises:
        FileNotFoundError: there is no such picture.
    """
    copy = folder / image.file_name
    if not image.path.is_file():
        raise FileNotFoundError(f"no picture {image.path}")
    if not os.path.exists(copy):
        with replacing(copy) as temporary:
            shutil.copyfile(image.path, temporary)
    return copy
