"""Multi-scale deformable attention (Zhu 2021, Eq. 3) without a compiled extension.

B images, Q queries, S cells of all levels, h heads, d channels of a head, D = h d, L levels, P
points per level and head. Locations are (x, y) as shares of a level, 0 and 1 its borders.

Sampling locations, weights and sums are float32, under autocast too: in bfloat16 a location on a
map of 256 cells is off by up to half a cell.
"""

import math
from typing import Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

Shapes = Sequence[Tuple[int, int]]  # per level height and width, as Python ints

BACKENDS = ("auto", "torch", "triton")


def deformable_attention(
    value: Tensor,
    shapes: Shapes,
    locations: Tensor,
    weights: Tensor,
    *,
    backend: str = "auto",
    checkpoint: bool = False,
) -> Tensor:
    """Returns (B, Q, D): per head the weighted sum of values at sampled locations.

        out[q, h] = sum over l, p of  weights[q, h, l, p] value_l[h](locations[q, h, l, p])

    Values are interpolated bilinearly and are 0 outside of a level; cell i of n has its centre at
    (i + 1/2) / n.

    Args:
        value: (B, S, h, d), the levels one after the other, row by row.
        shapes: height and width of each level; their areas add up to S.
        locations: (B, Q, h, L, P, 2).
        weights: (B, Q, h, L, P), adding up to 1 over L and P.
        backend: "torch"; "triton", which needs CUDA; "auto" takes Triton where it can.
        checkpoint: keep nothing for the backward pass and compute the samples again there. The
            torch backend otherwise keeps B Q D L P values.

    Raises:
        ValueError: the shapes do not add up to S, or an unknown backend.
    """
    if sum(height * width for height, width in shapes) != value.shape[1]:
        raise ValueError(
            f"levels {list(shapes)} have {sum(h * w for h, w in shapes)} cells, "
            f"value has {value.shape[1]}"
        )
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got '{backend}'")
    with torch.autocast(value.device.type, enabled=False):
        value, locations, weights = value.float(), locations.float(), weights.float()
        if backend == "triton" or (backend == "auto" and _has_triton(value)):
            from .deformable_triton import triton_attention

            return triton_attention(value, shapes, locations, weights)
        if checkpoint and torch.is_grad_enabled():
            return recompute(
                _torch_attention, value, shapes, locations, weights, use_reentrant=False
            )
        return _torch_attention(value, shapes, locations, weights)


def _has_triton(value: Tensor) -> bool:
    if not value.is_cuda:
        return False
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def _torch_attention(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    batch, queries, heads, _, points, _ = locations.shape
    channels = value.shape[-1]
    grids = (2 * locations - 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 1)  # (B h, L, Q, P, 2)
    weights = weights.permute(0, 2, 3, 1, 4).flatten(0, 1)  # (B h, L, Q, P)
    maps = value.split([height * width for height, width in shapes], dim=1)
    total = value.new_zeros(batch * heads, channels, queries)
    for level, (cells, (height, width)) in enumerate(zip(maps, shapes)):
        cells = cells.permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        samples = F.grid_sample(cells, grids[:, level], mode="bilinear", align_corners=False)
        total = total + (samples * weights[:, None, level]).sum(dim=-1)
    return total.view(batch, heads * channels, queries).transpose(1, 2)


class DeformableAttention(nn.Module):
    """Attention to a few learned places around the reference of each query, on all levels.

    Parameter names are those of Deformable DETR.

    Args:
        width: D, a multiple of `heads`.
        levels: L.
        heads: h.
        points: P.
        backend: see `deformable_attention`.
        checkpoint: see `deformable_attention`.

    Raises:
        ValueError: the width is no multiple of the heads.
    """

    def __init__(
        self,
        width: int,
        *,
        levels: int,
        heads: int,
        points: int,
        backend: str = "auto",
        checkpoint: bool = False,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.levels, self.heads, self.points = levels, heads, points
        self.backend, self.checkpoint = backend, checkpoint
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts at equal weights, on rays of one direction per head, point i at distance i."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        rays = torch.stack([angles.cos(), angles.sin()], dim=-1)
        rays = rays / rays.abs().max(dim=-1, keepdim=True).values
        distance = torch.arange(1, self.points + 1, dtype=torch.float32)
        offsets = rays[:, None, None] * distance[:, None]  # (h, 1, P, 2)
        offsets = offsets.expand(-1, self.levels, -1, -1)
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.reshape(-1))
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Returns (B, Q, D).

        Args:
            query: (B, Q, D), with its position added.
            references: (B, Q, L, 2) points, from which offsets count in cells; or (B, Q, L, 4)
                centre and size, from which they count in halves of the size, divided by P.
            memory: (B, S, D).
            shapes: height and width of each level.
            padding: (B, S) bool, True for cells that hold nothing; their values are 0.
        """
        batch, queries, width = query.shape
        value = self.value_proj(memory)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0.0)
        value = value.view(batch, -1, self.heads, width // self.heads)
        split = (batch, queries, self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*split, 2).float()
        weights = self.attention_weights(query).view(batch, queries, self.heads, -1)
        weights = weights.float().softmax(dim=-1).view(split)
        result = deformable_attention(
            value,
            shapes,
            self._locations(references.float(), offsets, shapes),
            weights,
            backend=self.backend,
            checkpoint=self.checkpoint,
        )
        return self.output_proj(result.to(query.dtype))

    def _locations(self, references: Tensor, offsets: Tensor, shapes: Shapes) -> Tensor:
        centre = references[:, :, None, :, None, :2]
        if references.shape[-1] == 4:
            return centre + offsets / self.points * references[:, :, None, :, None, 2:] * 0.5
        # Python numbers become a constant of the device without a copy that waits for it.
        sizes = torch.stack(
            [offsets.new_full((), side) for height, width in shapes for side in (width, height)]
        ).view(len(shapes), 1, 2)
        return centre + offsets / sizes
