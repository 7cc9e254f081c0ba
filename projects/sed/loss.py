"""SED's loss: a binary decision for every class at every pixel.

B images · T classes · (H, W) pixels of the labels.
"""

from typing import Dict, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED_PIXELS = ("negative", "mask")


class DecoderLoss:
    """The same loss on the final logits and on those of the three rejection heads.

    Args:
        weights: of the four; one of weight 0 is not computed.
        ignored: see `class_loss`.

    Raises:
        ValueError: not four weights of at least 0 with one above, or an unknown `ignored`.
    """

    def __init__(self, weights: Sequence[float], ignored: str):
        if len(weights) != 4 or min(weights) < 0 or max(weights) == 0:
            raise ValueError(
                "MODEL.SED.LOSS_WEIGHTS needs four weights of at least 0, not all 0: of the final "
                f"logits and of three rejection heads, got {list(weights)}"
            )
        if ignored not in IGNORED_PIXELS:
            raise ValueError(
                f"MODEL.SED.IGNORED_PIXELS must be one of {IGNORED_PIXELS}, got '{ignored}'"
            )
        self.weights = tuple(weights)
        self.ignored = ignored

    def __call__(self, logits: Sequence[Tensor], labels: Tensor) -> Dict[str, Tensor]:
        """Returns "loss_sem_seg_0" (final) to "loss_sem_seg_3", weighted, the official names.

        Args:
            logits: what the decoder gives, each (B, T, h, w).
            labels: (B, H, W) int64.
        """
        return {
            f"loss_sem_seg_{i}": weight * class_loss(scores, labels, ignored=self.ignored)
            for i, (weight, scores) in enumerate(zip(self.weights, logits))
            if weight
        }


def class_loss(logits: Tensor, labels: Tensor, *, ignored: str) -> Tensor:
    """Binary cross entropy over all classes and pixels.

        loss = mean over b, t, y, x of  softplus(s) - s [label(b, y, x) = t]

    which is the cross entropy of sigmoid(s) with the one-hot labels, written without them: a
    (B, T, H, W) target is never made. In float32 under autocast too.

    Args:
        logits: (B, T, h, w), s; brought to the labels' size bilinearly (align_corners=False).
        labels: (B, H, W) int64. Values outside 0..T-1 are ignored.
        ignored: "negative", as the official code: an ignored pixel says no to every class and
            counts in the mean; "mask": it is left out of sum and mean.

    Returns:
        Scalar; 0 with "mask" where no pixel has a label.
    """
    with torch.autocast(logits.device.type, enabled=False):
        scores = F.interpolate(
            logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False
        )
        classes = scores.shape[1]
        labelled = (labels >= 0) & (labels < classes)
        positive = scores.gather(1, (labels * labelled)[:, None])[:, 0] * labelled
        if ignored == "negative":
            return F.softplus(scores).mean() - positive.sum() / scores.numel()
        total = F.softplus(scores).sum(dim=1) * labelled - positive
        return total.sum() / (classes * labelled.sum()).clamp_min(1)
