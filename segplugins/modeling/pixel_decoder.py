"""DeformablePixelDecoder: refines backbone maps and makes the features that masks are read from.

The pixel decoder of Mask2Former and Mask DINO. B images, D width, (h_l, w_l) grid of level l, S
cells of all levels, L levels.
"""

from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .deformable import DeformableAttention, Shapes
from .positions import sine_positions_2d

_GROUPS = 32  # of the norms
ORDERS = ("fine_to_coarse", "coarse_to_fine")


class PixelFeatures(NamedTuple):
    """What a mask decoder reads.

    Args:
        levels: L maps (B, D, h_l, w_l) in the order of the decoder.
        mask_features: (B, mask width, h, w) at the stride of the finest backbone map.
    """

    levels: List[Tensor]
    mask_features: Tensor


class EncoderLayer(nn.Module):
    """Deformable self-attention over all levels, then a feed-forward network; norms after each.

    Args:
        width: D.
        feed_forward: hidden channels of the feed-forward network.
        dropout: share of values dropped after each of the two, and inside the network.
        attention: options of `DeformableAttention`.
    """

    def __init__(self, width: int, *, feed_forward: int, dropout: float, **attention):
        super().__init__()
        self.self_attn = DeformableAttention(width, **attention)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, cells: Tensor, positions: Tensor, references: Tensor, shapes: Shapes
    ) -> Tensor:
        """Returns (B, S, D) refined cells.

        Args:
            cells: (B, S, D).
            positions: (1, S, D), added to the queries.
            references: (1, S, L, 2), the place of each cell on each level.
            shapes: height and width of each level.
        """
        references = references.expand(len(cells), -1, -1, -1)
        attended = self.self_attn(cells + positions, references, cells, shapes)
        cells = self.norm1(cells + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(cells)))
        return self.norm2(cells + self.dropout(self.linear2(hidden)))


class DeformablePixelDecoder(nn.Module):
    """Backbone maps to refined levels and mask features; in float32, under autocast too.

    Args:
        channels: name to channels of the backbone maps, finest first.
        finest: name of the map at whose stride mask features are made.
        refined: names of the maps that are refined, finest first.
        extra_levels: coarser levels made of the coarsest map, each of twice the stride before it.
        width: D.
        mask_width: channels of the mask features.
        layers: number of encoder layers.
        feed_forward: hidden channels of their feed-forward networks.
        heads: attention heads.
        points: sampled points per head and level.
        order: "fine_to_coarse", or "coarse_to_fine"; the attention's weights belong to one of them.
        dropout: in the encoder layers.
        backend: of the attention, see `deformable_attention`.
        checkpoint: of the attention, see `deformable_attention`.

    Raises:
        ValueError: an unknown order, a map that the backbone does not give, or a width that is no
            multiple of 32.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        finest: str,
        refined: Sequence[str],
        extra_levels: int,
        width: int,
        mask_width: int,
        layers: int,
        feed_forward: int,
        heads: int,
        points: int,
        order: str = "fine_to_coarse",
        dropout: float = 0.0,
        backend: str = "auto",
        checkpoint: bool = False,
    ):
        super().__init__()
        if order not in ORDERS:
            raise ValueError(f"order must be one of {ORDERS}, got '{order}'")
        missing = sorted({finest, *refined} - set(channels))
        if missing:
            raise ValueError(
                f"the backbone gives {sorted(channels)}, but no {missing}; choose another "
                "backbone, or refine those that it gives (ENCODER.REFINED)"
            )
        if width % _GROUPS:
            raise ValueError(
                f"HIDDEN_DIM is {width}, expected a multiple of {_GROUPS}, the groups of the norms"
            )
        self.finest, self.refined, self.order = finest, tuple(refined), order
        self.width = width
        self.num_levels = len(self.refined) + extra_levels
        # In the order of their use: refined maps in the decoder's order, then the extra levels.
        self.input_proj = nn.ModuleList(
            _normed_conv(channels[name], width, 1) for name in self._ordered(self.refined)
        )
        coarsest = [channels[self.refined[-1]]] + [width] * max(extra_levels - 1, 0)
        self.input_proj.extend(
            _normed_conv(channel, width, 3, stride=2) for channel in coarsest[:extra_levels]
        )
        self.level_embed = nn.Parameter(torch.randn(self.num_levels, width))
        options = {
            "levels": self.num_levels,
            "heads": heads,
            "points": points,
            "backend": backend,
            "checkpoint": checkpoint,
        }
        self.layers = nn.ModuleList(
            EncoderLayer(width, feed_forward=feed_forward, dropout=dropout, **options)
            for _ in range(layers)
        )
        self.lateral = _normed_conv(channels[finest], width, 1, bias=False)
        self.output = _normed_conv(width, width, 3, bias=False)
        self.mask_features = nn.Conv2d(width, mask_width, 1)
        for module in (self.lateral[0], self.output[0], self.mask_features):
            nn.init.kaiming_uniform_(module.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)

    def forward(self, features: Dict[str, Tensor]) -> PixelFeatures:
        """Returns refined levels and mask features of backbone maps (B, C, h, w) by name."""
        device = features[self.finest].device.type
        with torch.autocast(device, enabled=False):
            features = {name: features[name].float() for name in {self.finest, *self.refined}}
            levels = self._encode(self._project(features))
            fine = levels[0] if self.order == "fine_to_coarse" else levels[-1]
            lateral = self.lateral(features[self.finest])
            merged = lateral + F.interpolate(fine, lateral.shape[-2:], mode="bilinear")
            return PixelFeatures(levels, self.mask_features(self.output(merged).relu()))

    def _ordered(self, items: Sequence) -> List:
        """Returns items, given finest first, in the decoder's order."""
        return list(items) if self.order == "fine_to_coarse" else list(items)[::-1]

    def _project(self, features: Mapping[str, Tensor]) -> List[Tensor]:
        """Returns L maps (B, D, h_l, w_l) in the decoder's order."""
        names = self._ordered(self.refined)
        maps = [layer(features[name]) for layer, name in zip(self.input_proj, names)]
        coarser, extra = features[self.refined[-1]], []
        for layer in self.input_proj[len(names) :]:
            coarser = layer(coarser)
            extra.append(coarser)
        return maps + extra if self.order == "fine_to_coarse" else extra[::-1] + maps

    def _encode(self, maps: Sequence[Tensor]) -> List[Tensor]:
        shapes = [(level.shape[2], level.shape[3]) for level in maps]
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        positions = self._positions(shapes, cells.device)
        references = cell_centres(shapes, cells.device)[None, :, None]
        references = references.expand(-1, -1, self.num_levels, -1)
        for layer in self.layers:
            cells = layer(cells, positions, references, shapes)
        parts = cells.split([height * width for height, width in shapes], dim=1)
        return [
            part.transpose(1, 2).reshape(len(cells), self.width, *shape)
            for part, shape in zip(parts, shapes)
        ]

    def _positions(self, shapes: Shapes, device: torch.device) -> Tensor:
        """Returns (1, S, D): the sine code of each cell and the embedding of its level."""
        codes = []
        for shape, embedding in zip(shapes, self.level_embed):
            places = sine_positions_2d(self.width, *shape, offset=1.0, device=device)
            codes.append(places.flatten(1).T + embedding)
        return torch.cat(codes)[None]


def cell_centres(shapes: Sequence[Tuple[int, int]], device: torch.device) -> Tensor:
    """Returns (S, 2): x and y of the centre of each cell of all levels, as shares of the image."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack([columns.flatten(), rows.flatten()], dim=-1))
    return torch.cat(centres)


def _normed_conv(
    channels: int, width: int, kernel: int, *, stride: int = 1, bias: bool = True
) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=bias)
    nn.init.xavier_uniform_(conv.weight)
    if bias:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.GroupNorm(_GROUPS, width))
