"""Zero-shot segmentation: the segment of each pixel and the class of each segment.

B images, G segments, K classes, D width of the shared space, (h, w) patch grid, H W pixels.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

_KEPT = 5  # candidate classes of an image: those most similar to the whole image


def segment_scores(
    segments: Tensor, pooled: Tensor, text_embedding: Tensor, scale: Tensor
) -> Tuple[Tensor, Tensor]:
    """Returns (B, G, K) scores of each segment, and (B, K) bool, the classes that are kept.

    The score is softmax over the kept classes times softmax over all.

    Args:
        segments: (B, G, D) projected segment tokens.
        pooled: (B, D) projected mean.
        text_embedding: (K, D), unit length.
        scale: scalar factor on the cosine.
    """
    affinity = scale * F.normalize(segments, dim=-1) @ text_embedding.T
    whole = F.normalize(pooled, dim=-1) @ text_embedding.T
    best = whole.topk(min(_KEPT, len(text_embedding)), dim=-1).indices
    kept = torch.zeros_like(whole, dtype=torch.bool).scatter_(1, best, True)
    among = affinity.masked_fill(~kept[:, None], float("-inf")).softmax(dim=-1)
    return among * affinity.softmax(dim=-1), kept


def pixel_segments(maps: Tensor, size: Tuple[int, int]) -> Tensor:
    """Returns (B, H, W) int64: the segment with the largest share at each pixel.

    Args:
        maps: (B, G, h, w), see `Segments.maps`.
        size: (H, W).
    """
    return F.interpolate(maps, size, mode="bilinear", align_corners=False).argmax(dim=1)


def class_logits(
    scores: Tensor, pixels: Tensor, background_threshold: Optional[float] = None
) -> Tensor:
    """Returns (B, K, H, W); with a threshold (B, 1 + K, H, W), the background first.

    A pixel is background where no class reaches the threshold, or the best score of any segment of
    its image if that is lower: so the best segment may always stand out.

    Args:
        scores: (B, G, K).
        pixels: (B, H, W) segment of each pixel.
        background_threshold: None = a set without background.
    """
    flat = pixels.flatten(1)
    logits = scores.gather(1, flat[..., None].expand(-1, -1, scores.shape[2]))
    logits = logits.transpose(1, 2).unflatten(2, pixels.shape[1:])
    if background_threshold is None:
        return logits
    threshold = scores.flatten(1).max(dim=1).values.clamp(max=background_threshold)
    background = logits.max(dim=1, keepdim=True).values < threshold[:, None, None, None]
    return torch.cat([background.to(logits), logits], dim=1)
