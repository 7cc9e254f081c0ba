"""From a decoding to the result of an image: scores per class, or a label map.

T classes · n classes that were not rejected · (height, width) pixels of the result.
"""

from typing import Iterator, Optional, Protocol, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of upsampled probabilities that exist at a time: 64 MiB.
_ELEMENTS = 2**24


class ClassMaps(Protocol):
    """Probabilities of classes, computed on demand."""

    classes: Tensor  # (n,) int64 on the CPU, ascending: all others have probability 0
    chunk: int  # most classes to ask for at a time

    def probabilities(self, part: slice) -> Tensor:
        """Returns (m, h, w) float32, of `classes[part]`."""


def score_map(maps: ClassMaps, order: Tensor, size: Sequence[int]) -> Tensor:
    """Returns the probability of every class at every pixel.

    Args:
        maps: of the image.
        order: (T,) int64, index in the result of each class of `maps`: 0..T-1, each once.
        size: height and width of the result.

    Returns:
        (T, height, width) float32, exactly 0 where a class was rejected.
    """
    result = torch.zeros(len(order), *size, device=order.device)
    for classes, scores in _upsampled(maps, size):
        result[order[classes]] = scores
    return result


def label_map(maps: ClassMaps, order: Tensor, size: Sequence[int]) -> Tensor:
    """Returns (height, width) int64, the labels of `best_classes`."""
    return best_classes(maps, order, size)[0]


def best_classes(
    maps: ClassMaps, order: Tensor, size: Sequence[int], *, left_out: Optional[int] = None
) -> Tuple[Tensor, Tensor]:
    """Returns the class of the highest probability at every pixel; arguments as `score_map`.

    Only the best of the classes seen so far is kept: (T, height, width) never exists.

    Args:
        maps: of the image.
        order: (T,) int64, see `score_map`.
        size: height and width of the result.
        left_out: class of the result that does not compete.

    Returns:
        (height, width) int64, and (height, width) float32, its probability. Where no other class
        was kept, the pixel is `left_out` with probability 0.
    """
    labels = torch.full(tuple(size), 0 if left_out is None else left_out, device=order.device)
    best = torch.zeros(tuple(size), device=order.device)
    first = True
    for classes, scores in _upsampled(maps, size):
        names = order[classes]
        if left_out is not None:
            scores, names = scores[names != left_out], names[names != left_out]
            if not len(names):
                continue
        highest, rows = scores.max(dim=0)
        # Of equals the first stays, as argmax has it.
        better = torch.ones_like(highest, dtype=torch.bool) if first else highest > best
        labels, best = torch.where(better, names[rows], labels), torch.where(better, highest, best)
        first = False
    return labels, best


def _upsampled(maps: ClassMaps, size: Sequence[int]) -> Iterator[Tuple[Tensor, Tensor]]:
    """Yields (m,) classes on the device and their probabilities (m, height, width)."""
    height, width = size
    most = max(1, _ELEMENTS // (height * width))
    for start in range(0, len(maps.classes), maps.chunk):
        part = slice(start, start + maps.chunk)
        scores = maps.probabilities(part)
        classes = maps.classes[part].to(scores.device, non_blocking=True)
        for part_classes, grid in zip(classes.split(most), scores.split(most)):
            yield part_classes, resize(grid, size)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Returns (m, height, width), bilinearly, without antialias, of maps (m, h, w)."""
    return F.interpolate(maps[None], tuple(size), mode="bilinear", align_corners=False)[0]
