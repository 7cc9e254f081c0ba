"""A result as a picture: which of the library's pictures shows it best."""

from typing import Tuple

import cv2
import numpy as np

from segplugins.pictures import labelled_picture, masks_picture

from .result import Result

# Pixels of the longest side of what is painted: larger pictures are made smaller, and thin ones are
# not enlarged beyond it.
_LONGEST = 2048
_SHORT_SIDE = 256  # pixels; smaller pictures are enlarged so that they can be seen


def draw(result: Result) -> np.ndarray:
    """Returns (h, w, 3) uint8 RGB: the image, its regions painted over it, and a legend.

    Sides are at most 2048 pixels, whatever the picture's.
    """
    size = _painted_size(result.size)
    image = result.image
    if size != result.size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    short_side = max(1, min(_SHORT_SIDE, min(size) * _LONGEST // max(size)))
    if not result.overlaps:
        labels = _nearest(result.label_map, size)
        return labelled_picture(image, labels, result.names, short_side=short_side)
    texts = [result.names[index] for index in result.classes]
    masks = np.zeros((len(result), *size), bool)
    for number in range(len(result)):
        masks[number] = _nearest(result.mask(number), size)
    return masks_picture(image, masks, texts, short_side=short_side)


def _painted_size(size: Tuple[int, int]) -> Tuple[int, int]:
    factor = min(1.0, _LONGEST / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _nearest(array: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Returns (h, w): the values of (H, W) at the middles of the smaller picture's pixels."""
    rows, columns = (
        ((np.arange(to) + 0.5) * of / to).astype(np.int64) for to, of in zip(size, array.shape)
    )
    return array[rows[:, None], columns]
