"""Sliding windows: an image larger than the network's input, seen piece by piece.

Off by default and behind none of the paper's numbers: the official code has it switched off.
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
