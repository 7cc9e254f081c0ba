"""Sizes of drawn pictures: small ones are enlarged, huge ones reduced, both within bounds."""

from typing import Tuple

import cv2
import numpy as np

# Pixels. A picture is never enlarged beyond the first and always reduced to the second: a thin one
# would become tens of thousands of pixels long, and a huge one would not fit into memory or JPEG.
LONGEST_ENLARGED = 1024
LONGEST = 4096


def drawing_size(
    height: int, width: int, *, short_side: int = 256, longest_side: int = LONGEST
) -> Tuple[int, int]:
    """Returns the height and width at which a picture is drawn.

    Args:
        height, width: of the picture, in pixels.
        short_side: that a small picture gets, unless its long side would exceed 1024 pixels.
        longest_side: that a large picture keeps at most.
    """
    longest = max(height, width)
    enlarging = min(short_side / min(height, width), LONGEST_ENLARGED / longest)
    factor = min(max(1.0, enlarging), longest_side / longest)
    return max(1, round(height * factor)), max(1, round(width * factor))


def resized_image(image: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Returns an image (H, W, 3) uint8 with the height and width `size`; itself if it has them."""
    if image.shape[:2] == tuple(size):
        return image
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), (size[1], size[0]), interpolation=way)


def resized_labels(labels: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Returns labels (..., H, W) of any type at the height and width `size`, by nearest pixels."""
    height, width = labels.shape[-2:]
    if (height, width) == tuple(size):
        return labels
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.int64)
    return labels[..., rows[:, None], columns]


def enlarged(image: np.ndarray, short_side: int) -> np.ndarray:
    """Returns the image at its `drawing_size`, with a short side of `short_side` if that fits."""
    return resized_image(image, drawing_size(*image.shape[:2], short_side=short_side))


def line_width(height: int, width: int) -> int:
    """Returns the pixels of a line that is seen in a picture of that size as a whole."""
    return max(1, round((height * width) ** 0.5 / 500))


def text_size(height: int, width: int) -> int:
    """Returns the pixels of letters that can be read in a picture of that size as a whole."""
    return max(12, round((height * width) ** 0.5 / 56))
