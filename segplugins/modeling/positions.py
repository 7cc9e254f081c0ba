"""Fixed sine codes of places: they give attention, which sees no order, rows, columns and words.

C is the number of channels, H W the grid, L the number of tokens.
"""

import math
from functools import lru_cache
from typing import Union

import torch
from torch import Tensor

_TEMPERATURE = 10000.0
_EPS = 1e-6
_KEPT = 32  # grids; one of 160 x 160 with 256 channels takes 25 MiB


@lru_cache(maxsize=_KEPT)
def sine_positions_2d(
    channels: int,
    height: int,
    width: int,
    offset: float = 0.5,
    device: Union[torch.device, str] = "cpu",
) -> Tensor:
    """Returns the code of the place of each cell of a grid.

        channel j of the rows:  sin (j even) or cos (j odd) of  2 pi (y + o) / H / T^(2 [j/2] / n)

    with n = C / 2, T = 10000 and o the offset; the columns alike, behind the rows.

    Args:
        channels: C, a multiple of 4.
        height: H.
        width: W.
        offset: o: 1/2 codes the middle of a cell (Deformable DETR), 1 its end (DETR, Mask2Former).
        device: of the result. Codes are computed on the CPU and kept per device, so that no forward
            pass copies them again.

    Returns:
        (C, H, W) float32, the same tensor at every call: do not change it.

    Raises:
        ValueError: C is no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"2-D positions need a multiple of 4 channels, got {channels}")
    rows = _waves((torch.arange(height) + offset) / (height + _EPS), channels // 2)
    columns = _waves((torch.arange(width) + offset) / (width + _EPS), channels // 2)
    codes = torch.cat(
        [
            rows[:, :, None].expand(-1, -1, width),
            columns[:, None, :].expand(-1, height, -1),
        ]
    )
    return codes.to(device)


@lru_cache(maxsize=_KEPT)
def sine_positions_1d(channels: int, length: int) -> Tensor:
    """Returns the code of the places 1..L of a row of tokens, without the half of 2-D positions.

    Returns:
        (C, L) float32 on the CPU, the same tensor at every call: do not change it.

    Raises:
        ValueError: C is odd.
    """
    if channels % 2:
        raise ValueError(f"1-D positions need an even number of channels, got {channels}")
    return _waves((torch.arange(length) + 1) / (length + _EPS), channels)


def _waves(places: Tensor, channels: int) -> Tensor:
    """Returns (channels, N) of N places between 0 and 1."""
    exponents = 2 * (torch.arange(channels) // 2) / channels
    angles = 2 * math.pi * places[None] / _TEMPERATURE ** exponents[:, None]
    odd = (torch.arange(channels) % 2 == 1)[:, None]
    return torch.where(odd, angles.cos(), angles.sin())
