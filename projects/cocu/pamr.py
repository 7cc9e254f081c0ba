"""Local consistency: masks follow the edges of the picture (PAMR; Araslanov and Roth, 2020).

B images, K masks, N neighbours, H W pixels. It has no parameters.
"""

from typing import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_DILATIONS = (1, 2, 4, 8, 12, 24)
_OFFSETS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def refine_masks(
    images: Tensor,
    masks: Tensor,
    *,
    iterations: int = 10,
    dilations: Sequence[int] = _DILATIONS,
    chunk: int = 16,
) -> Tensor:
    """Returns (B, K, H, W): masks averaged over neighbours of like colour, again and again.

        a(p, q) = softmax over q of mean over RGB of -|I(p) - I(q)| / (1e-8 + 0.1 sigma(p))

    with sigma the deviation over all neighbours and, once per dilation, the pixel itself. A shift
    or factor on a colour changes nothing.

    Args:
        images: (B, 3, H, W), on any scale.
        masks: (B, K, h, w); brought to the image's size first.
        iterations: number of averagings.
        dilations: distances of the eight neighbours.
        chunk: masks refined at a time; it bounds memory, not the result.
    """
    affinity = _affinity(images.float(), dilations)
    masks = F.interpolate(masks.float(), images.shape[-2:], mode="bilinear", align_corners=True)
    parts = []
    for part in masks.split(chunk, dim=1):
        for _ in range(iterations):
            part = (_neighbours(part, dilations) * affinity).sum(dim=2)
        parts.append(part)
    return torch.cat(parts, dim=1)


def _affinity(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """Returns (B, 1, N, H, W), adding up to 1 over N."""
    around = _neighbours(images, dilations)
    centre = images[:, :, None]
    values = torch.cat([around, centre.expand(-1, -1, len(dilations), -1, -1)], dim=2)
    deviation = values.std(dim=2, keepdim=True)
    distance = (around - centre).abs() / (1e-8 + 0.1 * deviation)
    return (-distance).mean(dim=1, keepdim=True).softmax(dim=2)


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Tensor:
    """Returns (B, C, N, H, W): the values of all neighbours, the border repeated."""
    height, width = maps.shape[-2:]
    reach = max(dilations)
    padded = F.pad(maps, (reach,) * 4, mode="replicate")
    shifted = [
        padded[..., top : top + height, left : left + width]
        for distance in dilations
        for top, left in ((reach + distance * dy, reach + distance * dx) for dy, dx in _OFFSETS)
    ]
    return torch.stack(shifted, dim=2)
