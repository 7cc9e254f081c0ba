"""Boxes as shares of an image: centre and size, corners, logits, generalised IoU."""

import torch
from torch import Tensor

_EPS = 1e-5
_TINY = 1e-6


def corners_of_boxes(boxes: Tensor) -> Tensor:
    """Returns (..., 4) x0, y0, x1, y1 of (..., 4) centre x, centre y, width, height."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def boxes_of_corners(corners: Tensor) -> Tensor:
    """Returns (..., 4) centre x, centre y, width, height of (..., 4) x0, y0, x1, y1."""
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def inverse_sigmoid(share: Tensor, eps: float = _EPS) -> Tensor:
    """Returns the logit of shares, clamped to [0, 1] and both odds to at least `eps`."""
    share = share.clamp(0, 1)
    return torch.log(share.clamp_min(eps) / (1 - share).clamp_min(eps))


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """Returns the generalised IoU of boxes given as corners, broadcast over leading dimensions.

        GIoU = I / U - (E - U) / E,    E = area of the smallest box around both

    1e-6 is added to both denominators (Mask DINO), so that two empty boxes give a finite value.

    Args:
        first: (..., 4) x0, y0, x1, y1.
        second: (..., 4), broadcastable against `first`.
    """
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = _area(high - low)
    union = _area(first[..., 2:] - first[..., :2]) + _area(second[..., 2:] - second[..., :2])
    union = union - intersection
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    around = _area(high - low)
    return intersection / (union + _TINY) - (around - union) / (around + _TINY)


def _area(size: Tensor) -> Tensor:
    size = size.clamp_min(0)
    return size[..., 0] * size[..., 1]
