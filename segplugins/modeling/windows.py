"""Sliding windows: an image larger than the network's input, seen piece by piece."""

from typing import List, NamedTuple, Sequence, Tuple

from torch import Tensor


class Window(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Tensor) -> Tensor:
        """Returns (..., height, width), a view into an image or map (..., H, W)."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


def windows(size: Sequence[int], window: Sequence[int], overlap: float) -> List[Window]:
    """Covers an image with windows that overlap.

    Args:
        size: height and width of the image.
        window: of the windows; cut to the image where that is smaller.
        overlap: share of a window that the next one sees again, in [0, 1).

    Returns:
        Row by row. The last of a row or column is moved inside, so that it overlaps more.

    Raises:
        ValueError: an overlap outside [0, 1).
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"windows overlap by a share in [0, 1), got {overlap}")
    (tops, height), (lefts, width) = (
        _starts(length, min(piece, length), overlap) for length, piece in zip(size, window)
    )
    return [Window(top, left, height, width) for top in tops for left in lefts]


def _starts(length: int, window: int, overlap: float) -> Tuple[List[int], int]:
    step = max(1, round(window * (1 - overlap)))
    starts = [*range(0, length - window, step), length - window]
    return starts, window
