"""Costs of giving a query a target, for all images of a batch at once.

B images, Q queries, N targets of the image with most (others are padded), K texts, P points.
Entries of padded targets are finite and mean nothing; the matcher cuts them off.
"""

from dataclasses import dataclass
from typing import Callable, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from .boxes import corners_of_boxes, generalized_iou

_EPS = 1e-8


@dataclass
class Candidates:
    """One prediction head and its targets, as costs see them.

    Args:
        class_logits: (B, Q, K).
        boxes: (B, Q, 4) centre and size; None if the head predicts none.
        point_logits: (B, Q, P) mask logits at the points of the image; None if no image of the
            batch has masks, then mask costs are 0.
        labels: (B, N) int64.
        target_boxes: (B, N, 4).
        point_labels: (B, N, P) masks of the targets at the same points, 0 to 1.
        has_masks: (B, 1, 1) 0 or 1; mask costs of images without masks are 0.
    """

    class_logits: Tensor
    boxes: Optional[Tensor]
    point_logits: Optional[Tensor]
    labels: Tensor
    target_boxes: Tensor
    point_labels: Optional[Tensor]
    has_masks: Tensor


Cost = Callable[[Candidates], Tensor]  # -> (B, Q, N)


def focal_class_cost(alpha: float, gamma: float) -> Cost:
    """Returns the cost of DETR's focal variants: the focal term as a positive minus as a negative.

    alpha (1 - p)^gamma (-ln(p + 1e-8)) - (1 - alpha) p^gamma (-ln(1 - p + 1e-8)), p the sigmoid of
    the logit of the target's text.
    """

    def cost(candidates: Candidates) -> Tensor:
        p = _at_labels(candidates.class_logits, candidates.labels).sigmoid()
        positive = alpha * (1 - p) ** gamma * -(p + _EPS).log()
        negative = (1 - alpha) * p**gamma * -(1 - p + _EPS).log()
        return positive - negative

    return cost


def softmax_class_cost(candidates: Candidates) -> Tensor:
    """Returns minus the softmax probability of the target's class; the last class is no object."""
    return -_at_labels(candidates.class_logits.softmax(dim=-1), candidates.labels)


def mask_bce_cost(candidates: Candidates) -> Tensor:
    """Returns the binary cross-entropy of query and target, averaged over the points."""
    if candidates.point_logits is None:
        return torch.zeros(())
    logits, labels = candidates.point_logits, candidates.point_labels
    # -ln p = softplus(-x) and -ln(1 - p) = softplus(x) = softplus(-x) + x.
    negative = F.softplus(logits)
    total = (negative - logits) @ labels.mT + negative @ (1 - labels).mT
    return candidates.has_masks * total / logits.shape[-1]


def mask_dice_cost(candidates: Candidates) -> Tensor:
    """Returns 1 - (2 sum p y + 1) / (sum p + sum y + 1)."""
    if candidates.point_logits is None:
        return torch.zeros(())
    p, labels = candidates.point_logits.sigmoid(), candidates.point_labels
    total = p.sum(dim=-1)[:, :, None] + labels.sum(dim=-1)[:, None]
    return candidates.has_masks * (1 - (2 * p @ labels.mT + 1) / (total + 1))


def box_l1_cost(candidates: Candidates) -> Tensor:
    """Returns the sum of absolute differences of centre and size."""
    return torch.cdist(candidates.boxes, candidates.target_boxes, p=1)


def box_giou_cost(candidates: Candidates) -> Tensor:
    """Returns minus the generalised IoU."""
    queries = corners_of_boxes(candidates.boxes)[:, :, None]
    return -generalized_iou(queries, corners_of_boxes(candidates.target_boxes)[:, None])


def _at_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns (B, Q, N): the score of each query for the text of each target."""
    return scores.gather(2, labels[:, None].expand(-1, scores.shape[1], -1))
