"""What a frozen CLIP adds to a trained class head at test: mask pooling and the ensemble (FC-CLIP).

B images, Q queries, C channels, K classes.
"""

from typing import Collection, Iterable, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALL = 1e-8


def mask_pool(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Returns (B, Q, C), the mean of the features where a mask's logit is above 0; 0 where nowhere.

    Args:
        features: (B, C, h, w).
        mask_logits: (B, Q, h', w'); brought to the grid of the features.
    """
    masks = pooling_masks(mask_logits, features.shape[-2:]).to(features.dtype)
    total = torch.einsum("bchw,bqhw->bqc", features, masks)
    return total / (masks.sum(dim=(2, 3)) + _SMALL)[..., None]


def pooling_masks(mask_logits: Tensor, grid: Sequence[int]) -> Tensor:
    """Returns (B, Q, h, w) bool: where masks, resized to the grid (h, w), have logits above 0."""
    if tuple(mask_logits.shape[-2:]) != tuple(grid):
        mask_logits = F.interpolate(
            mask_logits.float(), tuple(grid), mode="bilinear", align_corners=False
        )
    return mask_logits > 0


def seen_classes(
    synonyms: Sequence[Collection[str]], trained: Iterable[Collection[str]]
) -> Tuple[bool, ...]:
    """Returns per class whether it shares a synonym with any class of the training.

    Args:
        synonyms: of each class at test.
        trained: synonyms of each class in training.
    """
    words = {word for group in trained for word in group}
    return tuple(not words.isdisjoint(group) for group in synonyms)


def ensemble_log_probabilities(
    inside: Tensor,
    outside: Tensor,
    seen: Tensor,
    *,
    alpha: float,
    beta: float,
    valid: Optional[Tensor] = None,
) -> Tensor:
    """Returns (..., Q, K + 1) log-probabilities of both heads, combined geometrically.

        g = (1 - w) ln p_inside + w ln p_outside,    w = alpha for seen classes, beta for the others

    The softmax of g shares what the trained head does not give to "no object". Logarithms are
    taken of the softmax at once, so that a probability too small to be held gives no NaN.

    Args:
        inside: (..., Q, K + 1) logits of the trained head, "no object" last.
        outside: (..., Q, K + 1) logits of pooled CLIP features; the last is not read.
        seen: (K,) bool.
        alpha: weight of CLIP for seen classes, in [0, 1].
        beta: for the other classes.
        valid: (..., Q) bool, False = CLIP has no weight, its mask is empty; None = it always has.
    """
    weight = torch.where(seen, alpha, beta).to(inside.dtype)
    if valid is not None:
        weight = weight * valid[..., None]
    trained = inside[..., :-1].log_softmax(dim=-1)
    frozen = outside[..., :-1].log_softmax(dim=-1)
    combined = ((1 - weight) * trained + weight * frozen).softmax(dim=-1)
    void = inside.softmax(dim=-1)[..., -1:]
    return (torch.cat([combined * (1 - void), void], dim=-1) + _SMALL).log()
