"""A small matting network: window attention at four scales, and along strips at the coarsest.

The layout is AEMatter's (Liu et al., 2024), at a width of choice: convolutions at full and half
size, a Swin trunk at 1/4 to 1/32, blocks that attend inside of rows and columns and take in an
appearance map, and a Swin decoder with skips. No weights come with it; `matting_loss` trains it.

B images, C channels, (h, w) grid, H W pixels.
"""

from pathlib import Path
from typing import Dict, List, Sequence, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.files.tensors import copy_tensors, read_state_dict
from segplugins.modeling.swin import build_stage

from .matting import FOREGROUND, UNKNOWN

_STRIDE = 32  # of the coarsest grid
_STRIP = 5  # rows or columns that attend to each other
_WINDOW = 7
_LEVELS = 5  # of the Laplacian pyramid
_SIGMA = 1.5  # of its filter


class StripBlock(nn.Module):
    """Attention inside of strips of 5 rows for half of the channels, of 5 columns for the others.

    An appearance map is added first, by a gate per channel that starts closed.

    Args:
        channels: C, twice a multiple of the heads.
        heads: of each of the two attentions.
        appearance: channels of the appearance map.
    """

    def __init__(self, channels: int, heads: int, appearance: int):
        super().__init__()
        half = channels // 2
        self.appearance = nn.Conv2d(appearance, channels, 1)
        self.gate = nn.Parameter(torch.zeros(channels, 1, 1))
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.rows = nn.MultiheadAttention(half, heads, batch_first=True)
        self.columns = nn.MultiheadAttention(half, heads, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor, appearance: Tensor) -> Tensor:
        """Returns (B, C, h, w) of (B, C, h, w) and an appearance map of the same grid."""
        x = (x + self.gate * self.appearance(appearance)).permute(0, 2, 3, 1)
        rows, columns = self.norm1(x).chunk(2, dim=-1)
        rows = _attend_in_strips(self.rows, rows)
        columns = _attend_in_strips(self.columns, columns.transpose(1, 2)).transpose(1, 2)
        x = x + torch.cat([rows, columns], dim=-1)
        return (x + self.feed_forward(self.norm2(x))).permute(0, 3, 1, 2)


def _attend_in_strips(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Returns (B, h, w, C): each place attends to its strip of rows; added rows are not seen."""
    batch, height, width, channels = x.shape
    added = -height % _STRIP
    strips = F.pad(x, (0, 0, 0, 0, 0, added)).reshape(-1, _STRIP * width, channels)
    hidden = torch.zeros(height + added, width, dtype=torch.bool, device=x.device)
    hidden[height:] = True
    hidden = hidden.view(-1, _STRIP * width).repeat(batch, 1)
    attended, _ = attention(strips, strips, strips, key_padding_mask=hidden, need_weights=False)
    return attended.reshape(batch, height + added, width, channels)[:, :height]


class _Windows(nn.Module):
    """Swin blocks on (B, C, h, w)."""

    def __init__(self, channels: int, depth: int, heads: int):
        super().__init__()
        self.blocks = build_stage(channels, depth=depth, heads=heads, window_size=_WINDOW)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        cells = self.blocks(x.flatten(2).transpose(1, 2), height, width)[0]
        return cells.transpose(1, 2).reshape(x.shape)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU())


class MattingNetwork(nn.Module):
    """Predicts alpha in the unknown band of a trimap.

    Args:
        width: channels of the finest Swin stage, a multiple of 8; AEMatter has 96. Later stages
            have 2, 4 and 8 times as many.
    """

    def __init__(self, width: int = 24):
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width must be a multiple of 8, got {width}")
        widths = [width, 2 * width, 4 * width, 8 * width]
        heads = [max(1, channels // 32) for channels in widths]
        full, half = width // 2, 2 * width // 3
        self.full_stem, self.half_stem = _conv(6, full), _conv(full, half, stride=2)
        self.downs = nn.ModuleList(
            _conv(inputs, outputs, stride=2) for inputs, outputs in zip([half, *widths], widths)
        )
        self.stages = nn.ModuleList(_Windows(c, 2, h) for c, h in zip(widths, heads))
        self.appearance = nn.Conv2d(widths[2] + widths[3], 4 * width, 1)
        self.strips = nn.ModuleList(
            StripBlock(widths[3], 2 * heads[0], 4 * width) for _ in range(3)
        )
        self.merges = nn.ModuleList(
            nn.Conv2d(widths[i + 1] + widths[i], widths[i], 1) for i in (2, 1, 0)
        )
        self.decoders = nn.ModuleList(_Windows(widths[i], 2, heads[i]) for i in (2, 1, 0))
        self.half_head = _conv(widths[0] + half, half)
        self.full_head = _conv(half + full, full)
        self.output = nn.Conv2d(full, 1, 3, padding=1)

    def forward(self, images: Tensor, trimaps: Tensor) -> Tensor:
        """Returns (B, H, W) alpha; 0 and 1 where the trimap is certain.

        At test it is clamped to [0, 1]; in training every error outside of that range has a
        gradient.

        Args:
            images: (B, 3, H, W) RGB, 0-1.
            trimaps: (B, H, W) int64.
        """
        height, width = trimaps.shape[-2:]
        kinds = F.one_hot(trimaps, 3).permute(0, 3, 1, 2).to(images.dtype)
        inputs = _padded(torch.cat([images - 0.5, kinds], dim=1))
        full = self.full_stem(inputs)
        half = self.half_stem(full)
        maps: List[Tensor] = []
        x = half
        for down, stage in zip(self.downs, self.stages):
            x = stage(down(x))
            maps.append(x)
        appearance = self.appearance(torch.cat([_resized(maps[2], maps[3]), maps[3]], dim=1))
        for block in self.strips:
            x = block(x, appearance)
        for skip, merge, decoder in zip(maps[2::-1], self.merges, self.decoders):
            x = decoder(merge(torch.cat([_resized(x, skip), skip], dim=1)))
        x = self.half_head(torch.cat([_resized(x, half), half], dim=1))
        x = self.full_head(torch.cat([_resized(x, full), full], dim=1))
        alpha = self.output(x)[:, 0, :height, :width] + 0.5
        if not self.training:
            alpha = alpha.clamp(0, 1)
        certain = (trimaps == FOREGROUND).to(alpha.dtype)
        return torch.where(trimaps == UNKNOWN, alpha, certain)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def _padded(x: Tensor) -> Tensor:
    """Returns (B, C, H', W') with sides that the coarsest stride divides, by reflection."""
    down, right = -x.shape[2] % _STRIDE, -x.shape[3] % _STRIDE
    fits = down < x.shape[2] and right < x.shape[3]
    return F.pad(x, (0, right, 0, down), mode="reflect" if fits else "replicate")


class NetworkRefiner:
    """A `MattingRefiner` by a network.

    Args:
        network: put into evaluation mode.
    """

    def __init__(self, network: MattingNetwork):
        self.network = network.eval()

    @torch.no_grad()
    def __call__(self, image: Tensor, trimap: Tensor) -> Tensor:
        """Returns (H, W) alpha of one image."""
        return self.network(image[None], trimap[None])[0]


def load_matting_network(path: Union[str, Path]) -> NetworkRefiner:
    """Returns the refiner of weights of a `MattingNetwork`; their shapes tell its width.

    Raises:
        FileNotFoundError: no such file.
        ValueError: weights of something else.
    """
    tensors = read_state_dict(Path(path))
    first = tensors.get("downs.0.0.weight")
    if first is None or first.dim() != 4:
        raise ValueError(f"{path} holds no weights of a matting network (MattingNetwork)")
    network = MattingNetwork(len(first))
    copy_tensors(tensors, network.state_dict(), source=Path(path), target="a matting network")
    return NetworkRefiner(network)


def matting_loss(alpha: Tensor, truth: Tensor, trimaps: Tensor) -> Dict[str, Tensor]:
    """Returns the weighted losses of mattes.

        0.5 mean |a - a*| + 0.5 mean sqrt((a - a*)^2 + 1e-12)   in the unknown band
        0.5 sum over levels l of 2^l mean |L_l(a) - L_l(a*)|     (Laplacian pyramid)

    Args:
        alpha: a, (B, H, W).
        truth: a*, likewise.
        trimaps: (B, H, W) int64.
    """
    band = (trimaps == UNKNOWN).to(alpha.dtype)
    total = band.sum().clamp_min(1.0)
    difference = (alpha - truth) * band
    charbonnier = ((difference.square() + 1e-12).sqrt() * band).sum() / total
    bands = zip(_laplacian(alpha[:, None]), _laplacian(truth[:, None]))
    pyramid = sum(2.0**level * (a - b).abs().mean() for level, (a, b) in enumerate(bands))
    return {
        "loss_l1": 0.5 * difference.abs().sum() / total,
        "loss_charbonnier": 0.5 * charbonnier,
        "loss_laplacian": 0.5 * pyramid,
    }


def _laplacian(x: Tensor) -> Sequence[Tensor]:
    """Returns the levels of the pyramid of (B, 1, H, W): what a level loses when it is halved."""
    levels = []
    for _ in range(_LEVELS - 1):
        if min(x.shape[-2:]) < 2:
            break
        smaller = _smooth(x)[..., ::2, ::2]
        levels.append(x - _resized(smaller, x))
        x = smaller
    return [*levels, x]


def _smooth(x: Tensor) -> Tensor:
    places = torch.arange(5, dtype=x.dtype, device=x.device) - 2
    weights = (-places.square() / (2 * _SIGMA**2)).exp()
    weights = weights / weights.sum()
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")
    return F.conv2d(F.conv2d(x, weights.view(1, 1, 5, 1)), weights.view(1, 1, 1, 5))
