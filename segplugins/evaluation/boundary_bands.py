"""Boundary IoU: how well masks agree in a band inside of their boundaries.

"Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (Cheng et al., CVPR 2021):
of masks G and P it is the IoU of G_d and P_d, the pixels of a mask at most d away from its contour,
as the code beside the paper computes them. A pixel belongs to the band if a pixel outside of the
mask, or outside of the image, is at most d rows and d columns away; d is 2 % of the diagonal.
H W pixels, V words a row, K classes.
"""

import math
from typing import Tuple

import numpy as np

from segplugins.evaluation.packed_masks import all_in_window, pack, unpack

BAND_RATIO = 0.02


def band_width(size: Tuple[int, int], ratio: float = BAND_RATIO) -> int:
    """Returns d, the width of the band in pixels, at least 1.

    Args:
        size: (H, W).
        ratio: share of the diagonal.
    """
    return max(1, round(ratio * math.sqrt(size[0] ** 2 + size[1] ** 2)))


def mask_bands(masks: np.ndarray, ratio: float = BAND_RATIO) -> np.ndarray:
    """Returns the band of each mask.

    Args:
        masks: (..., H, W) bool.
        ratio: width of the band by the diagonal.

    Returns:
        (..., H, V) words, see packed_masks.py.
    """
    width = band_width(masks.shape[-2:], ratio)
    words = pack(masks, spare=2 * width).words
    return words & ~all_in_window(words, width, width)


def class_bands(labels: np.ndarray, none: int, ratio: float = BAND_RATIO) -> np.ndarray:
    """Returns the bands of all classes of a label map, which do not overlap.

    Args:
        labels: (H, W) classes.
        none: number of what is no class; it has no band, but others have one beside it.
        ratio: width of the band by the diagonal.

    Returns:
        (H, W): the class of each pixel that belongs to the band of its class, `none` elsewhere.
    """
    width = band_width(labels.shape, ratio)
    # Whether a pixel equals its right, lower and lower right neighbour. A square is of one class
    # if all but its last row and column are marked.
    alike = np.zeros(labels.shape, bool)
    here = labels[:-1, :-1]
    alike[:-1, :-1] = here == labels[:-1, 1:]
    alike[:-1, :-1] &= here == labels[1:, :-1]
    alike[:-1, :-1] &= here == labels[1:, 1:]
    inner = all_in_window(pack(alike, spare=2 * width).words, width, width - 1)
    return np.where(unpack(inner, labels.shape[1]), none, labels)


def banded_classes(
    prediction: np.ndarray, truth: np.ndarray, num_classes: int, ratio: float = BAND_RATIO
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the bands of a predicted and a true label map, to be compared pixel by pixel.

    Pixels without a true class are nothing on both sides before the bands are made, so that a
    prediction that is right everywhere else has the bands of the truth. (The paper has no such
    pixels.)

    Args:
        prediction: (H, W) classes 0..K - 1, K for none of them.
        truth: (H, W) classes 0..K - 1, K for ignored pixels.
        num_classes: K.
        ratio: width of the band by the diagonal.

    Returns:
        See `class_bands`.
    """
    prediction = np.where(truth == num_classes, num_classes, prediction)
    return (
        class_bands(prediction, num_classes, ratio),
        class_bands(truth, num_classes, ratio),
    )


def boundary_ious(confusion: np.ndarray) -> np.ndarray:
    """Returns the boundary IoU of each class over all images.

    Args:
        confusion: (K + 1, K + 1) pixel counts of `banded_classes`, row = prediction, column =
            truth, last = in no band.

    Returns:
        (K,) fractions; NaN where the truth has no band.
    """
    counts = confusion.astype(np.float64)
    both = counts.diagonal()[:-1]
    true = counts.sum(axis=0)[:-1]
    union = true + counts.sum(axis=1)[:-1] - both
    return np.divide(both, union, out=np.full(len(both), np.nan), where=true > 0)
