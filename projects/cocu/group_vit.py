"""GroupViT's image encoder: patches to a few segment tokens, in stages (GroupViT, Sec. 3.1).

B images, n tokens, S group tokens, C width, (h, w) patch grid. Parameter names are those of the
official code.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from .grouping import Assigned, GroupingBlock, Perceptron

_RATIO = 4.0


class SelfAttention(nn.Module):
    """Attention of all tokens, queries, keys and values from one projection.

    Args:
        width: C.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, n, C)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(*qkv).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block with norms before its parts.

    Args:
        width: C.
        heads: attention heads.
        drop_path: stochastic depth.
    """

    def __init__(self, width: int, heads: int, drop_path: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.mlp = Perceptron(width, int(width * _RATIO))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, n, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """Blocks over tokens and group tokens, then a grouping; the last stage has neither.

    Args:
        width: C.
        heads: attention heads.
        drop_paths: stochastic depth of each block.
        group_tokens: S; 0 = a stage without grouping.
        groups_out: tokens that the stage leaves.
        groups_before: group tokens of the stage before, which are handed on; 0 = the first stage.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        drop_paths: Sequence[float],
        group_tokens: int,
        groups_out: int,
        groups_before: int,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in drop_paths)
        self.group_token: Optional[nn.Parameter] = None
        self.downsample: Optional[GroupingBlock] = None
        self.group_projector: Optional[nn.Sequential] = None
        if group_tokens:
            self.group_token = nn.Parameter(torch.zeros(1, group_tokens, width))
            self.downsample = GroupingBlock(
                width,
                heads=heads,
                groups_in=group_tokens,
                groups_out=groups_out,
                ratio=_RATIO,
            )
            if groups_before:
                mixer = TokenMixer(groups_before, width // 2, group_tokens)
                self.group_projector = nn.Sequential(nn.LayerNorm(width), mixer)
            else:
                nn.init.trunc_normal_(self.group_token, std=0.02)

    def forward(
        self, tokens: Tensor, before: Optional[Tensor]
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Assigned]]:
        """Returns the tokens of the next stage, this stage's group tokens, and the assignment.

        Args:
            tokens: (B, n, C).
            before: (B, S', C) group tokens of the stage before, after its blocks.
        """
        if self.group_token is None:
            for block in self.blocks:
                tokens = block(tokens)
            return tokens, None, None
        groups = self.group_token.expand(len(tokens), -1, -1)
        if self.group_projector is not None:
            groups = groups + self.group_projector(before)
        joined = torch.cat([tokens, groups], dim=1)
        for block in self.blocks:
            joined = block(joined)
        tokens, groups = joined.split([tokens.shape[1], groups.shape[1]], dim=1)
        assigned = self.downsample(tokens, groups)
        return assigned.groups, groups, assigned


class TokenMixer(Perceptron):
    """A perceptron over the token axis: (B, S', C) to (B, S, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, S, C)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class PatchEmbedding(nn.Module):
    """Patches to normed tokens.

    Args:
        patch: side of a patch in pixels.
        width: C.
    """

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
        """Returns (B, h w, C) tokens and the grid (h, w) of (B, 3, H, W)."""
        patches = self.proj(images)
        return self.norm(patches.flatten(2).transpose(1, 2)), tuple(patches.shape[-2:])


class Segments(NamedTuple):
    """What the encoder sees.

    Args:
        tokens: (B, G, C) segment tokens, after the last norm.
        pooled: (B, C), their mean.
        assignments: of each grouping stage.
        grid: (h, w) of the patches.
    """

    tokens: Tensor
    pooled: Tensor
    assignments: List[Assigned]
    grid: Tuple[int, int]

    def maps(self) -> Tensor:
        """Returns (B, G, h, w): the share of each segment in each patch, soft over all stages."""
        product = self.assignments[0].soft
        for assigned in self.assignments[1:]:
            product = assigned.soft @ product
        return product.unflatten(2, self.grid)


class GroupViT(nn.Module):
    """Image encoder.

    Args:
        image_size: side of training images in pixels, for the table of positions.
        patch: side of a patch.
        width: C.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        group_tokens: S of each stage, 0 = no grouping.
        groups_out: tokens that each grouping stage leaves.
        drop_path: stochastic depth of the last block; it rises evenly from 0.
        init_std: standard deviation of the first weights of linear layers.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch: int,
        width: int,
        depths: Sequence[int],
        heads: Sequence[int],
        group_tokens: Sequence[int],
        groups_out: Sequence[int],
        drop_path: float = 0.0,
        init_std: float = 0.02,
    ):
        super().__init__()
        self.side = image_size // patch
        self.patch_embed = PatchEmbedding(patch, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.side**2, width))
        steps = max(sum(depths) - 1, 1)
        rates = [drop_path * index / steps for index in range(sum(depths))]
        stages, start = [], 0
        for index, depth in enumerate(depths):
            stages.append(
                Stage(
                    width,
                    heads=heads[index],
                    drop_paths=rates[start : start + depth],
                    group_tokens=group_tokens[index],
                    groups_out=groups_out[index] if index < len(groups_out) else 0,
                    groups_before=group_tokens[index - 1] if index else 0,
                )
            )
            start += depth
        self.layers = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=init_std)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor) -> Segments:
        """Returns segments of (B, 3, H, W), normalised; sides need not be multiples of a patch."""
        tokens, grid = self.patch_embed(images)
        tokens = tokens + self.positions(grid)
        groups, assignments = None, []
        for stage in self.layers:
            tokens, groups, assigned = stage(tokens, groups)
            if assigned is not None:
                assignments.append(assigned)
        tokens = self.norm(tokens)
        return Segments(tokens, tokens.mean(dim=1), assignments, grid)

    def positions(self, grid: Tuple[int, int]) -> Tensor:
        """Returns (1, h w, C): the table, resized bicubically where the grid is another."""
        if grid == (self.side, self.side):
            return self.pos_embed
        table = self.pos_embed.transpose(1, 2).unflatten(2, (self.side, self.side))
        table = F.interpolate(table, grid, mode="bicubic", align_corners=False)
        return table.flatten(2).transpose(1, 2)
