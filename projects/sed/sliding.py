"""Sliding windows: an image larger than the network's input, seen piece by piece.

Off by default and behind none of the paper's numbers: the official code has it switched off.
"""

from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from .chunks import Decoding
from .maps import resize

_ELEMENTS = 2**24


class Window(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: Tensor) -> Tensor:
        """Returns: (..., height, width), a view into an image or map (..., H, W)."""
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


class WindowedDecoding:
    """Averages the probabilities of windows over the pixels of the image.

    A class that a window rejected counts there with probability 0.

    Args:
        decodings: of each window.
        places: where in the image each window lies; together they cover it.
        size: height and width of the image.

    Attributes:
        classes: (n,) int64 on the CPU, ascending: kept in at least one window.
        chunk: most classes to ask for at a time.
    """

    def __init__(
        self, decodings: Sequence[Decoding], places: Sequence[Window], size: Sequence[int]
    ):
        self.classes = torch.cat([decoding.classes for decoding in decodings]).unique()
        height, width = size
        self.chunk = min(
            max(1, _ELEMENTS // (height * width)), min(decoding.chunk for decoding in decodings)
        )
        self._windows = list(zip(decodings, places))
        self._size = (height, width)

    def probabilities(self, part: slice) -> Tensor:
        """Returns: (m, height, width) float32, of `self.classes[part]`."""
        wanted = self.classes[part]
        device = self._windows[0][0].device
        total = torch.zeros(len(wanted), *self._size, device=device)
        counts = torch.zeros(self._size, device=device)
        for decoding, place in self._windows:
            place.of(counts).add_(1)
            # Both are sorted: the window's share of the wanted classes lies in one run.
            first = int(torch.searchsorted(decoding.classes, wanted[0]))
            last = int(torch.searchsorted(decoding.classes, wanted[-1], right=True))
            if first == last:
                continue
            maps = resize(decoding.probabilities(slice(first, last)), place[2:])
            rows = torch.searchsorted(wanted, decoding.classes[first:last])
            place.of(total).index_add_(0, rows.to(device, non_blocking=True), maps)
        return total / counts
