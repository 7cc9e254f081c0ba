"""EvaEncoder: an EVA-CLIP image tower that keeps its grid, with adapters or token clustering.

The weights are timm's `Eva`; the forward pass is written out, because resolution, adapters beside
attention and MLP, clustered tokens and the value path of the last block change it (Sec. 3.1, 4.1,
4.2 of UMG-CLIP; CLIPSelf for the value path).

B images, N = h w patches, C width of the trunk, D width of the space shared with texts.
"""

from typing import NamedTuple, Optional, Tuple

import torch
from timm.layers import RotaryEmbeddingCat
from timm.models.eva import Eva, EvaBlockPostNorm
from torch import Tensor, nn
from torch.nn import functional as F

from .convpass import BlockAdapters, ConvpassOptions
from .token_cluster import ClusterOptions, cluster_tokens, merge_tokens, unfold_tokens

LAST_ATTENTIONS = ("keep", "value_only")


class EvaTokens(NamedTuple):
    """What the tower says of a batch.

    Args:
        tokens: (B, 1 + N, C) after the last block, before the final norm; clustered positions hold
            the value of their representative.
        grid: (h, w).
    """

    tokens: Tensor
    grid: Tuple[int, int]

    @property
    def patches(self) -> Tensor:
        """(B, C, h, w), without the class token."""
        return self.tokens[:, 1:].transpose(1, 2).unflatten(2, self.grid)


class EvaEncoder(nn.Module):
    """An EVA image tower. Its parts keep their names: "trunk.*"; adapters are "adapters.*".

    Args:
        trunk: timm's model, with a class token, final norm and projection.
        last_attention: "keep", or "value_only": the last block mixes no tokens (CLIPSelf).
        adapters: Convpass modules beside every attention and MLP; None = none.
        clustering: after which block tokens are merged, and how many stay; used in training alone.
            None = never.

    Raises:
        ValueError: a trunk or an option outside the above; adapters together with clustering.
    """

    def __init__(
        self,
        trunk: nn.Module,
        *,
        last_attention: str = "keep",
        adapters: Optional[ConvpassOptions] = None,
        clustering: Optional[ClusterOptions] = None,
    ):
        super().__init__()
        if not isinstance(trunk, Eva) or trunk.num_prefix_tokens != 1 or trunk.rope_mixed:
            raise ValueError(
                f"expected timm's Eva with one class token, got {type(trunk).__name__}; choose "
                "MODEL.CLIP.NAME like EVA02-B-16"
            )
        if last_attention not in LAST_ATTENTIONS:
            raise ValueError(
                f"last_attention must be one of {LAST_ATTENTIONS}, got '{last_attention}'"
            )
        if adapters is not None and clustering is not None:
            raise ValueError("adapters read the full grid of tokens: leave clustering off")
        if clustering is not None and not 0 < clustering.after_block <= len(trunk.blocks):
            raise ValueError(
                f"clustering after block {clustering.after_block}: the trunk has "
                f"{len(trunk.blocks)} blocks"
            )
        self.trunk = trunk
        self.value_only = last_attention == "value_only"
        self.clustering = clustering
        self.rope: Optional[RotaryEmbeddingCat] = None
        if trunk.rope is not None:
            heads = trunk.blocks[0].attn.num_heads
            self.rope = RotaryEmbeddingCat(
                trunk.embed_dim // heads,
                in_pixels=False,
                feat_shape=None,
                ref_feat_shape=trunk.rope.ref_feat_shape,
            )
        self.adapters = None
        if adapters is not None:
            self.adapters = nn.ModuleList(
                BlockAdapters(trunk.embed_dim, adapters) for _ in trunk.blocks
            )

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.trunk.patch_embed.patch_size[0]

    @property
    def width(self) -> int:
        """C."""
        return self.trunk.embed_dim

    def forward(self, images: Tensor, *, adapted: bool = True) -> EvaTokens:
        """Encodes a batch of any size.

        Args:
            images: (B, 3, H, W), normalised.
            adapted: with the adapters, where there are any; False gives the tower as it was.

        Raises:
            ValueError: a side is no multiple of the patch.
        """
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"an image of {height}x{width} pixels does not fit patches of {self.patch}: both "
                "sides must be multiples of it"
            )
        trunk, grid = self.trunk, (height // self.patch, width // self.patch)
        x = trunk.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat([trunk.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = trunk.norm_pre(trunk.pos_drop(x + self.positions(grid)))
        rope = None if self.rope is None else self.rope.get_embed(list(grid))
        clusters = None
        adapters = self.adapters if adapted else None
        for index, block in enumerate(trunk.blocks):
            last = index == len(trunk.blocks) - 1
            x = run_block(
                block,
                x,
                rope,
                grid=grid,
                adapters=None if adapters is None else adapters[index],
                value_only=self.value_only and last,
            )
            clustering = self.clustering if self.training else None
            if clustering is not None and index + 1 == clustering.after_block:
                clusters = cluster_tokens(x[:, 1:], grid, clustering)
                x = torch.cat([x[:, :1], merge_tokens(x[:, 1:], clusters)], dim=1)
                if rope is not None:  # of the cell of each centre
                    rope = rope[clusters.centres][:, None]
        if clusters is not None:
            x = torch.cat([x[:, :1], unfold_tokens(x[:, 1:], clusters)], dim=1)
        return EvaTokens(x, grid)

    def positions(self, grid: Tuple[int, int]) -> Tensor:
        """Returns (1, 1 + N, C), the position embedding on a grid, bicubic without antialias."""
        embedding = self.trunk.pos_embed
        native = self.trunk.patch_embed.grid_size
        if tuple(grid) == tuple(native):
            return embedding
        first, cells = embedding[:, :1], embedding[:, 1:]
        cells = cells.transpose(1, 2).unflatten(2, native).float()
        cells = F.interpolate(cells, grid, mode="bicubic", align_corners=False)
        return torch.cat([first, cells.flatten(2).transpose(1, 2).to(first.dtype)], dim=1)

    def normed(self, tokens: EvaTokens) -> EvaTokens:
        """Returns the tokens after the final norm, which regions and masks are pooled from."""
        return tokens._replace(tokens=self.trunk.norm(tokens.tokens))

    def project(self, vectors: Tensor) -> Tensor:
        """Returns (..., D), not normalised, of vectors (..., C) after the final norm."""
        return self.trunk.head(vectors)


def run_block(
    block: nn.Module,
    x: Tensor,
    rope: Optional[Tensor],
    *,
    grid: Tuple[int, int],
    adapters: Optional[BlockAdapters] = None,
    value_only: bool = False,
) -> Tensor:
    """Returns (B, 1 + N, C), one transformer block with adapters beside attention and MLP.

    With pre-norm an adapter reads what its layer reads: x + f(norm x) + s adapter(norm x). With
    post-norm (EVA-E) it reads x and is added outside of the norm, so that its zero start changes
    nothing: x + norm(f(x)) + s adapter(x).

    Args:
        block: timm's EvaBlock, EvaBlockPostNorm, or Block of a plain ViT.
        x: (B, 1 + N, C), class token first.
        rope: (N, 2 head width) sine and cosine of each patch, or (B, 1, N, 2 head width).
        grid: (h, w); read by adapters alone.
        adapters: None = none.
        value_only: attention becomes its value path, without mixing tokens.
    """
    post = isinstance(block, EvaBlockPostNorm)
    for number, layer in ((1, block.attn), (2, block.mlp)):
        norm, drop = getattr(block, f"norm{number}"), getattr(block, f"drop_path{number}")
        read = x if post else norm(x)
        if number == 2:
            branch = layer(read)
        elif value_only:
            branch = value_path(layer, read)
        else:
            branch = layer(read) if rope is None else layer(read, rope=rope)
        branch = _layer_scaled(block, number, norm(branch) if post else branch)
        x = x + drop(branch)
        adapter = None if adapters is None else adapters.of_layer(number)
        if adapter is not None:
            x = x + drop(adapters.scale * adapter(read, grid))
    return x


def value_path(attention: nn.Module, x: Tensor) -> Tensor:
    """Returns (B, 1 + N, C): every token attends to itself alone."""
    if attention.qkv is None:
        values = attention.v_proj(x)
    else:
        weight = attention.qkv.weight.chunk(3)[2]
        values = F.linear(x, weight, attention.v_bias)
    return attention.proj(attention.norm(values))


def _layer_scaled(block: nn.Module, number: int, branch: Tensor) -> Tensor:
    gamma = getattr(block, f"gamma_{number}", None)
    if gamma is not None:
        return gamma * branch
    scale = getattr(block, f"ls{number}", None)
    return branch if scale is None else scale(branch)
