"""Losses on sampled points of masks (PointRend), on classes and on boxes, as pure functions.

M masks or boxes, P points, N masks of an image, (h, w) mask resolution, (H, W) image resolution.
Points are (x, y) as shares of the padded image. All losses are computed in float32.
"""

from typing import Optional, Tuple

import torch
from detectron2.projects.point_rend.point_features import (
    get_uncertain_point_coords_with_randomness,
    point_sample,
)
from torch import Tensor
from torch.nn import functional as F

from .boxes import corners_of_boxes, generalized_iou


def sample_logits(mask_logits: Tensor, points: Tensor) -> Tensor:
    """Returns (M, P): bilinear values of maps (M, h, w) at points (M, P, 2), zero outside."""
    return point_sample(mask_logits[:, None].float(), points, align_corners=False)[:, 0]


def sample_masks(masks: Tensor, points: Tensor, canvas: Tuple[int, int]) -> Tensor:
    """Returns bilinear values of binary masks at points, zero outside of the masks.

    The four corners of each point are gathered, so that no mask is converted to floating point.

    Args:
        masks: (N, H, W) bool, the upper left part of the canvas.
        points: (P, 2), shared by all masks, or (N, P, 2); shares of the canvas.
        canvas: height and width of the padded image in pixels.

    Returns:
        (N, P) float32.
    """
    height, width = masks.shape[-2:]
    x = points[..., 0].float() * canvas[1] - 0.5
    y = points[..., 1].float() * canvas[0] - 0.5
    x0, y0 = x.floor(), y.floor()
    flat = masks.flatten(1)
    total = torch.zeros(len(masks), points.shape[-2], device=masks.device)
    for row, row_weight in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for column, column_weight in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            index = index.long()
            values = flat[:, index] if points.dim() == 2 else flat.gather(1, index)
            total = total + values * (row_weight * column_weight * inside)
    return total


@torch.no_grad()
def uncertain_points(
    mask_logits: Tensor, *, num_points: int, oversample: float, importance: float
) -> Tensor:
    """Returns (M, P, 2): points where the logits are near zero, and some random ones.

    Args:
        mask_logits: (M, h, w).
        num_points: P.
        oversample: candidates per point, at least 1.
        importance: share of the points that are the most uncertain candidates, 0 to 1.
    """
    return get_uncertain_point_coords_with_randomness(
        mask_logits[:, None].float(), lambda x: -x.abs(), num_points, oversample, importance
    )


def mask_bce(point_logits: Tensor, point_labels: Tensor, num_masks: float) -> Tensor:
    """Returns the binary cross-entropy of (M, P): mean over points, sum over masks / count."""
    loss = F.binary_cross_entropy_with_logits(
        point_logits.float(), point_labels.float(), reduction="none"
    )
    return loss.mean(dim=1).sum() / num_masks


def mask_dice(point_logits: Tensor, point_labels: Tensor, num_masks: float) -> Tensor:
    """Returns the dice loss of (M, P): 1 - (2 sum p y + 1) / (sum p + sum y + 1), sum / count."""
    probability, labels = point_logits.float().sigmoid(), point_labels.float()
    numerator = 2 * (probability * labels).sum(dim=1)
    denominator = probability.sum(dim=1) + labels.sum(dim=1)
    return (1 - (numerator + 1) / (denominator + 1)).sum() / num_masks


def focal(
    logits: Tensor,
    labels: Tensor,
    count: float,
    *,
    alpha: float,
    gamma: float,
    weight: Optional[Tensor] = None,
) -> Tensor:
    """Returns the sigmoid focal loss, summed / count (Lin 2017, Eq. 5).

    Args:
        logits: any shape.
        labels: 0 or 1, the same shape.
        count: the sum is divided by it.
        alpha: weight of positives; negatives have 1 - alpha. Negative = no weighting.
        gamma: exponent on 1 - probability of the truth; 0 = cross-entropy.
        weight: factor of each entry, the same shape; None = 1. Entries of weight 0 may hold any
            logit, infinite ones included.
    """
    logits, labels = logits.float(), labels.float()
    if weight is not None:
        logits = logits.masked_fill(weight == 0, 0.0)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    loss = cross_entropy * (1 - torch.exp(-cross_entropy)) ** gamma if gamma else cross_entropy
    if alpha >= 0:
        loss = loss * (alpha * labels + (1 - alpha) * (1 - labels))
    return (loss if weight is None else loss * weight).sum() / count


def box_l1(boxes: Tensor, targets: Tensor, count: float) -> Tensor:
    """Returns the sum of absolute differences of (M, 4) boxes / count."""
    return (boxes.float() - targets).abs().sum() / count


def box_giou(boxes: Tensor, targets: Tensor, count: float) -> Tensor:
    """Returns 1 - generalised IoU of (M, 4) boxes (centre and size), summed / count."""
    overlap = generalized_iou(corners_of_boxes(boxes.float()), corners_of_boxes(targets))
    return (1 - overlap).sum() / count
