"""Sliding windows: an image larger than the network's input, seen piece by piece.

Off by default; the paper's numbers are measured without it.
"""

from typing import Sequence

import torch
from torch import Tensor

from segplugins.modeling.windows import Window

from .chunks import Decoding
from .maps import resize

_ELEMENTS = 2**24


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
        """Returns (m, height, width) float32, of `self.classes[part]`."""
        classes = self.classes[part]
        device = self._windows[0][0].device
        total = torch.zeros(len(classes), *self._size, device=device)
        counts = torch.zeros(self._size, device=device)
        for decoding, place in self._windows:
            place.crop(counts).add_(1)
            # Both are sorted: the window's share of the classes lies in one run.
            first = int(torch.searchsorted(decoding.classes, classes[0]))
            last = int(torch.searchsorted(decoding.classes, classes[-1], right=True))
            if first == last:
                continue
            maps = resize(decoding.probabilities(slice(first, last)), place[2:])
            rows = torch.searchsorted(classes, decoding.classes[first:last])
            place.crop(total).index_add_(0, rows.to(device, non_blocking=True), maps)
        return total / counts
