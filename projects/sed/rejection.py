"""Category early rejection (Sec. 3.3, Fig. 4): drops classes that are nowhere among the best.

Scores are raw logits of a head before one of the decoder's stages; a class stays if it is among the
k best at any pixel.

n classes of a chunk · P templates · C width of the cost embedding · (H, W) grid of the scores.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from .decoder import GradualFusionDecoder


class RunningTopK:
    """The k best classes of every pixel, of scores that come in chunks of classes.

    Its memory does not grow with the number of classes, and it does not wait for the device before
    `union`.

    Args:
        k: classes per pixel, at least 1.

    Raises:
        ValueError: k is below 1.
    """

    def __init__(self, k: int):
        if k < 1:
            raise ValueError(f"early rejection keeps the k best classes per pixel, got k = {k}")
        self.k = k
        self._scores: Optional[Tensor] = None  # (at most k, H, W)
        self._classes: Optional[Tensor] = None  # the same shape

    def add(self, scores: Tensor, classes: Tensor) -> None:
        """Adds the scores of a chunk.

        Args:
            scores: (n, H, W).
            classes: (n,) int64, which classes they are of; each class comes once.
        """
        best, rows = scores.topk(min(self.k, len(scores)), dim=0)
        classes = classes[rows]
        if self._scores is not None:
            best = torch.cat([self._scores, best])
            classes = torch.cat([self._classes, classes])
            best, rows = best.topk(min(self.k, len(best)), dim=0)
            classes = classes.gather(0, rows)
        self._scores, self._classes = best, classes

    def union(self) -> Tensor:
        """Returns (n,) int64 on the CPU, the classes kept, ascending. Waits for the device."""
        return self._classes.unique().cpu()


class FirstScores:
    """Scores of the first rejection head, without the features that it would read.

    The head follows the decoder's first convolution with nothing between them, so the two are one
    linear map: 9 channels per class (the head's nine taps) instead of the embedding's 128. A class
    that is rejected here never costs more than its row of the cost map and this.

    Args:
        decoder: whose weights are merged; once per image or less, it costs next to nothing.
    """

    def __init__(self, decoder: GradualFusionDecoder):
        embedding, head = decoder.embedding, decoder.rejection_heads[0]
        channels, templates = embedding.weight.shape[:2]
        with torch.autocast(head.weight.device.type, enabled=False):
            # (9, C) x (C, P * 7 * 7): what each tap of the head makes of the cost map.
            taps = head.weight[0].flatten(1).T
            self._kernel = (taps @ embedding.weight.reshape(channels, -1)).unflatten(
                1, (templates, *embedding.kernel_size)
            )
            self._tap_bias = taps @ embedding.bias
        self._padding = embedding.padding
        self._bias = head.bias
        # The taps are placed afterwards, so that the zero padding of the head stays exact.
        self._place = torch.eye(9, device=taps.device, dtype=taps.dtype).view(1, 9, 3, 3)

    def __call__(self, cost: Tensor) -> Tensor:
        """Returns (n, h, w) float32, head 0's logits for a cost map (n, P, h, w) in float32."""
        with torch.autocast(cost.device.type, enabled=False):
            taps = F.conv2d(cost, self._kernel, self._tap_bias, padding=self._padding)
            return F.conv2d(taps, self._place, self._bias, padding=1)[:, 0]
