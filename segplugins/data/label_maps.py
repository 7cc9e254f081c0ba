"""How the label files of each source become class indices: pure functions of arrays.

Every function takes the pixels of one source file and returns the pixels of the file that is
trained and evaluated on; `datasets/prepare_*.py` apply them to folders. H, W are the image size.
"""

import json
from functools import cache
from pathlib import Path
from typing import Dict, Sequence, Tuple

import numpy as np

IGNORE_8_BIT = 255
IGNORE_ADE20K_847 = 65535
IGNORE_PASCAL_CONTEXT_459 = 459
_SOURCE_IDS = Path(__file__).parent / "datasets" / "source_ids.json"


@cache
def source_ids(name: str) -> Tuple[int, ...]:
    """Returns, class by class, the number that the source's own files use.

    Args:
        name: "coco_stuff_171", "ade20k_847" or "pascal_context_59".
    """
    ids_by_name: Dict[str, Sequence[int]] = json.loads(_SOURCE_IDS.read_text())
    if name not in ids_by_name:
        raise KeyError(f"no source ids for '{name}'. Known: {sorted(ids_by_name)}")
    return tuple(ids_by_name[name])


def remap(raw: np.ndarray, ids: Sequence[int], *, ignore: int, dtype: type) -> np.ndarray:
    """Replaces the number ids[k] by k and every other number by `ignore`.

    Args:
        raw: any shape, whole numbers.
        ids: the K numbers of the source, in class order.
        ignore: label of pixels that carry no class.
        dtype: of the result; must hold K - 1 and `ignore`.

    Returns:
        An array of raw's shape.
    """
    table = np.full(max(ids) + 2, ignore, dtype=dtype)
    table[np.asarray(ids)] = np.arange(len(ids))
    # As unsigned numbers, negative ones are large; all that the table does not know fall on its
    # last entry, which is `ignore`.
    return table[np.minimum(raw.astype(np.uint32), len(table) - 1)]


def remap_coco_stuff(raw: np.ndarray) -> np.ndarray:
    """COCO-Stuff "stuffthingmaps" (COCO id minus 1, 255 = none) to 0..170, else 255, uint8."""
    return remap(raw, source_ids("coco_stuff_171"), ignore=IGNORE_8_BIT, dtype=np.uint8)


def remap_ade150(raw: np.ndarray) -> np.ndarray:
    """ADEChallengeData2016 (1..150, 0 = other) to 0..149, else 255, uint8."""
    return remap(raw, range(1, 151), ignore=IGNORE_8_BIT, dtype=np.uint8)


def ade_class_ids(rgb: np.ndarray) -> np.ndarray:
    """Class numbers in a "_seg.png" of ADE20K 2021_17_01: floor(R / 10) * 256 + G.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) int32; 0 = no class, otherwise 1 + the row in the release's index.
    """
    rgb = rgb.astype(np.int32)
    return rgb[..., 0] // 10 * 256 + rgb[..., 1]


def remap_ade847(class_ids: np.ndarray) -> np.ndarray:
    """ADE20K class numbers to 0..846, else 65535, uint16."""
    return remap(class_ids, source_ids("ade20k_847"), ignore=IGNORE_ADE20K_847, dtype=np.uint16)


def ade847_from_seg_rgb(rgb: np.ndarray) -> np.ndarray:
    """A "_seg.png" of ADE20K 2021_17_01, (H, W, 3) uint8, to 0..846, else 65535, uint16."""
    return remap_ade847(ade_class_ids(rgb))


def remap_pc59(raw: np.ndarray) -> np.ndarray:
    """PASCAL-Context numbers (1..459) to the 59 frequent classes 0..58, else 255, uint8."""
    return remap(raw, source_ids("pascal_context_59"), ignore=IGNORE_8_BIT, dtype=np.uint8)


def remap_pc459(raw: np.ndarray) -> np.ndarray:
    """PASCAL-Context numbers 1..459 to 0..458, else 459, uint16."""
    return remap(raw, range(1, 460), ignore=IGNORE_PASCAL_CONTEXT_459, dtype=np.uint16)


def remap_voc(raw: np.ndarray, *, background: bool) -> np.ndarray:
    """VOC 2012 (1..20, 0 = background, 255 = border) to 0..19, else 255, uint8.

    Args:
        raw: any shape.
        background: make the background class 20 instead of ignoring it.
    """
    ids = [*range(1, 21), 0] if background else range(1, 21)
    return remap(raw, ids, ignore=IGNORE_8_BIT, dtype=np.uint8)
