"""UniLSeg's loss: one mask per phrase, pixel by pixel and as a whole.

J decoder layers · T phrases · (h, w) grid of the responses · (H, W) pixels of the masks.
"""

from functools import partial
from typing import Dict

import torch
import torch.nn.functional as F
from torch import Tensor

LOSS_AT = ("response", "image")


def binary_cross_entropy(logits: Tensor, targets: Tensor, *, balance: float = 0.0) -> Tensor:
    """Returns scalar, the weighted mean over all places.

    A mask of a hundredth of the picture is left empty at little cost where all places weigh the
    same. So a place of a target weighs (outside / inside) ** balance, counted per mask.

    Args:
        logits: (T, ...).
        targets: the same shape, 0-1.
        balance: 0 = all places weigh the same; 1 = the target weighs as much as the rest of its
            picture. An empty or full target has nothing to balance.
    """
    if not balance:
        return F.binary_cross_entropy_with_logits(logits, targets)
    share = targets.flatten(1).mean(dim=1).view(-1, *[1] * (targets.dim() - 1))
    is_part = (share > 0) & (share < 1)
    ratio = torch.where(is_part, (1 - share) / share, 1.0) ** balance
    weights = 1 + (ratio - 1) * targets
    losses = F.binary_cross_entropy_with_logits(logits, targets, weight=weights, reduction="none")
    return (losses.flatten(1).sum(dim=1) / weights.flatten(1).sum(dim=1)).mean()


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """How little each mask overlaps its target.

        1 - (2 sum p t + 1) / (sum p + sum t + 1),   p = sigmoid(logits)

    An empty target is no special case: it asks for an empty mask.

    Args:
        logits: (T, ...).
        targets: the same shape, 0-1.

    Returns:
        Scalar, the mean over the T masks.
    """
    p, t = logits.sigmoid().flatten(1), targets.flatten(1)
    overlap, total = (p * t).sum(dim=1), p.sum(dim=1) + t.sum(dim=1)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


class ResponseLoss:
    """Binary cross-entropy and dice on the response of every decoder layer.

    Args:
        bce_weight: factor; 0 = left out.
        dice_weight: likewise.
        bce_balance: of `binary_cross_entropy`; the paper has 0.
        deep_supervision: False: only the last layer learns from its own response.
        at: "response": targets are brought to the responses (nearest); "image": responses to the
            targets (bilinear).

    Raises:
        ValueError: a weight below 0, both 0, or an unknown `at`.
    """

    def __init__(
        self,
        *,
        bce_weight: float,
        dice_weight: float,
        bce_balance: float = 0.0,
        deep_supervision: bool,
        at: str,
    ) -> None:
        if min(bce_weight, dice_weight) < 0 or bce_weight + dice_weight == 0:
            raise ValueError(
                "MODEL.UNILSEG.BCE_WEIGHT and DICE_WEIGHT must be at least 0 and not both 0, got "
                f"{bce_weight} and {dice_weight}"
            )
        if at not in LOSS_AT:
            raise ValueError(f"MODEL.UNILSEG.LOSS_AT must be one of {LOSS_AT}, got '{at}'")
        self.terms = [
            (name, weight, term)
            for name, weight, term in (
                ("loss_bce", bce_weight, partial(binary_cross_entropy, balance=bce_balance)),
                ("loss_dice", dice_weight, dice),
            )
            if weight
        ]
        self.deep_supervision = deep_supervision
        self.at = at

    def __call__(self, responses: Tensor, masks: Tensor) -> Dict[str, Tensor]:
        """Returns "loss_bce" and "loss_dice" of the last layer, "loss_bce_0" ... of those before.

        Args:
            responses: logits, (J, T, h, w).
            masks: (T, H, W) bool.
        """
        counted = responses if self.deep_supervision else responses[-1:]
        with torch.autocast(responses.device.type, enabled=False):
            logits, targets = counted.float(), masks.float()
            if self.at == "image":
                logits = F.interpolate(logits, masks.shape[-2:], mode="bilinear")
            else:
                # The pixel under the middle of a cell, not under its corner.
                size = responses.shape[-2:]
                targets = F.interpolate(targets[None], size, mode="nearest-exact")[0]
            last = len(logits) - 1
            return {
                name + ("" if layer == last else f"_{layer}"): weight * term(logits[layer], targets)
                for layer in range(len(logits))
                for name, weight, term in self.terms
            }
