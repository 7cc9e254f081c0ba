"""From a decoding to the result of an image: scores per class, or a label map.

T classes · n classes that were not rejected · (height, width) pixels of the result.
"""

from typing import Iterator, Protocol, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of upsampled probabilities that exist at a time: 64 MiB.
_ELEMENTS = 2**24


class ClassMaps(Protocol):
    """Probabilities of classes, computed when they are asked for."""

    classes: Tensor  # (n,) int64 on the CPU, ascending: all others have probability 0
    chunk: int  # most classes to ask for at a time

    def probabilities(self, part: slice) -> Tensor:
        """Returns: (m, h, w) float32, of `classes[part]`."""


def score_map(maps: ClassMaps, order: Tensor, size: Sequence[int]) -> Tensor:
    """Gives the probability of every class at every pixel.

    Args:
        maps: of the image.
        order: (T,) int64, what the result calls the classes of `maps`: 0..T-1, each once.
        size: height and width of the result.

    Returns:
        (T, height, width) float32, exactly 0 where a class was rejected.
    """
    result = torch.zeros(len(order), *size, device=order.device)
    for classes, scores in _upsampled(maps, size):
        result[order[classes]] = scores
    return result


def label_map(maps: ClassMaps, order: Tensor, size: Sequence[int]) -> Tensor:
    """Gives the class of the highest probability at every pixel; arguments as `score_map`.

    Only the best of the classes seen so far is kept: (T, height, width) never exists.

    Returns:
        (height, width) int64.
    """
    best = labels = None
    for classes, scores in _upsampled(maps, size):
        highest, rows = scores.max(dim=0)
        if best is None:
            best, labels = highest, classes[rows]
        else:
            better = highest > best  # of equals the first stays, as argmax has it
            labels = torch.where(better, classes[rows], labels)
            best = torch.where(better, highest, best)
    return order[labels]


def _upsampled(maps: ClassMaps, size: Sequence[int]) -> Iterator[Tuple[Tensor, Tensor]]:
    """Yields (m,) classes on the device and their probabilities (m, height, width)."""
    height, width = size
    most = max(1, _ELEMENTS // (height * width))
    for start in range(0, len(maps.classes), maps.chunk):
        part = slice(start, start + maps.chunk)
        scores = maps.probabilities(part)
        classes = maps.classes[part].to(scores.device, non_blocking=True)
        for some, grid in zip(classes.split(most), scores.split(most)):
            yield some, resize(grid, size)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Returns: (m, height, width), bilinearly, without antialias, of maps (m, h, w)."""
    return F.interpolate(maps[None], tuple(size), mode="bilinear", align_corners=False)[0]
