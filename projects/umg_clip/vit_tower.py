"""ViT image towers of CLIP that keep their grid, with adapters or fewer tokens on the way.

The weights are timm's or open_clip's; the forward pass is written out, because resolution, adapters
beside attention and MLP, clustered tokens and the value path of the last block change it (Sec.
3.1, 4.1, 4.2 of UMG-CLIP; CLIPSelf for the value path).

B images, N = h w patches, P prefix tokens (class token, registers), C width of the trunk, D width
of the space shared with texts.
"""

from functools import partial
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from timm.layers import RotaryEmbeddingCat
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.engine.sharding import RUN

from .convpass import BlockAdapters, ConvpassOptions
from .token_cluster import ClusterOptions, choose_tokens, unfold_tokens
from .vit_blocks import run_block

LAST_ATTENTIONS = ("keep", "value_only")


class VisualTokens(NamedTuple):
    """What a tower says of a batch.

    Args:
        tokens: (B, P + N, C) after the last block, before the final norm; positions that were left
            out on the way hold the value of their representative.
        grid: (h, w).
    """

    tokens: Tensor
    grid: Tuple[int, int]

    @property
    def patches(self) -> Tensor:
        """(B, C, h, w), without the prefix tokens."""
        prefix = self.tokens.shape[1] - self.grid[0] * self.grid[1]
        return self.tokens[:, prefix:].transpose(1, 2).unflatten(2, self.grid)


class DenseOutput(NamedTuple):
    """What any tower says of the places of a batch.

    Args:
        maps: "res2" to "res5" of a ConvNeXt; of a ViT "last" (B, C, h, w), before its final norm.
        last: (B, C, h, w), which masks are pooled from; the tower's `project` takes the result.
    """

    maps: Dict[str, Tensor]
    last: Tensor


class VitTower(nn.Module):
    """A ViT tower of any resolution. Subclasses know where timm and open_clip keep the parts.

    Args:
        depth: number of blocks.
        width: C.
        last_attention: "keep", or "value_only": the last block mixes no tokens (CLIPSelf).
        adapters: Convpass modules beside every attention and MLP, "adapters.*"; None = none.
        clustering: after which block tokens are left out, and how many stay; used in training
            alone. None = never.
        checkpoint: blocks keep nothing for the backward pass and are computed again there.

    Raises:
        ValueError: an option outside the above; adapters together with clustering.
    """

    is_projection_new = False
    prefix: int  # P
    ends: Tuple[str, ...]  # what stands behind the last block, by the beginning of its names

    def __init__(
        self,
        depth: int,
        width: int,
        *,
        last_attention: str = "keep",
        adapters: Optional[ConvpassOptions] = None,
        clustering: Optional[ClusterOptions] = None,
        checkpoint: bool = False,
    ):
        super().__init__()
        if last_attention not in LAST_ATTENTIONS:
            raise ValueError(
                f"last_attention must be one of {LAST_ATTENTIONS}, got '{last_attention}'"
            )
        if adapters is not None and clustering is not None:
            raise ValueError("adapters read the full grid of tokens: leave clustering off")
        if clustering is not None and not 0 < clustering.after_block <= depth:
            raise ValueError(
                f"clustering after block {clustering.after_block}: the trunk has {depth} blocks"
            )
        self.width = width
        self.value_only = last_attention == "value_only"
        self.clustering = clustering
        self.checkpoint = checkpoint
        self.adapters = None
        if adapters is not None:
            self.adapters = nn.ModuleList(BlockAdapters(width, adapters) for _ in range(depth))

    def forward(self, images: Tensor, *, adapted: bool = True) -> VisualTokens:
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
        grid = (height // self.patch, width // self.patch)
        x, rope, clusters = self.embed(images, grid), self.rotation(grid), None
        adapters = self.adapters if adapted else None
        clustering = self.clustering if self.training else None
        blocks = self.blocks()
        for index, block in enumerate(blocks):
            run = getattr(block, RUN, partial(run_block, block))
            x = run(
                x,
                rope,
                grid=grid,
                adapters=None if adapters is None else adapters[index],
                value_only=self.value_only and index == len(blocks) - 1,
                recomputed=self.checkpoint and torch.is_grad_enabled(),
            )
            if clustering is not None and index + 1 == clustering.after_block:
                clusters, kept = choose_tokens(x[:, self.prefix :], grid, clustering)
                x = torch.cat([x[:, : self.prefix], kept], dim=1)
                if rope is not None:  # of the cell of each centre
                    rope = rope[clusters.centres][:, None]
        if clusters is not None:
            patches = unfold_tokens(x[:, self.prefix :], clusters)
            x = torch.cat([x[:, : self.prefix], patches], dim=1)
        return VisualTokens(x, grid)

    def dense(self, images: Tensor, *, adapted: bool = True) -> DenseOutput:
        """Returns the last map of (B, 3, H, W), before and after the final norm."""
        tokens = self(images, adapted=adapted)
        return DenseOutput({"last": tokens.patches}, self.normed(tokens).patches)

    def encode(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        """Returns (B, D, h, w) and (B, D), not normalised: of every patch, and of whole images."""
        tokens = self.normed(self(images))
        cells = self.project(tokens.patches.flatten(2).transpose(1, 2))
        return cells.transpose(1, 2).unflatten(2, tokens.grid), self.pooled(tokens)

    def sharded_units(self) -> List[nn.Module]:
        """Returns the blocks, whose weights a sharded model gathers one block at a time."""
        blocks = list(self.blocks())
        for block in blocks:
            setattr(block, RUN, partial(run_block, block))
        return blocks

    @property
    def size_divisibility(self) -> int:
        """Sides of the input must be multiples of it: the side of a patch."""
        return self.patch

    def normed(self, tokens: VisualTokens) -> VisualTokens:
        """Returns the tokens after the final norm, which regions and masks are pooled from."""
        return tokens._replace(tokens=self.final_norm(tokens.tokens))

    def blocks(self) -> Sequence[nn.Module]:
        """Returns the blocks, first to last."""
        raise NotImplementedError

    def embed(self, images: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Returns (B, P + N, C), what the first block reads."""
        raise NotImplementedError

    def rotation(self, grid: Tuple[int, int]) -> Optional[Tensor]:
        """Returns (N, 2 head width) sine and cosine of each patch; None without rotation."""
        return None

    def final_norm(self, x: Tensor) -> Tensor:
        """Returns x (..., C) after the final norm."""
        raise NotImplementedError

    def project(self, vectors: Tensor) -> Tensor:
        """Returns (..., D), not normalised, of vectors (..., C) after the final norm."""
        raise NotImplementedError

    def pooled(self, normed: VisualTokens) -> Tensor:
        """Returns (B, D), not normalised, what the tower says of whole images."""
        raise NotImplementedError


class TimmVit(VitTower):
    """A ViT of timm: EVA, PE-Core and DINOv3 (`Eva`), SigLIP and others (`VisionTransformer`).

    Its parts keep their names: "trunk.*", "head.*".

    Args:
        trunk: timm's model, with a final norm and a projection.
        head: what open_clip puts behind it.
        options: of `VitTower`.

    Raises:
        ValueError: another trunk.
    """

    ends = ("trunk.norm.", "trunk.fc_norm.", "trunk.attn_pool.", "trunk.head.", "head.")

    def __init__(self, trunk: nn.Module, head: Optional[nn.Module] = None, **options):
        mixed = getattr(trunk, "rope_mixed", False)
        if not isinstance(trunk, (Eva, VisionTransformer)) or mixed:
            raise ValueError(
                f"expected a ViT of timm whose positions are learned or rotated alike in all "
                f"layers, got {type(trunk).__name__}; choose MODEL.CLIP.NAME like EVA02-B-16"
            )
        super().__init__(len(trunk.blocks), trunk.embed_dim, **options)
        self.trunk = trunk
        self.head = nn.Identity() if head is None else head
        self.prefix = trunk.num_prefix_tokens
        self.rope = None
        if getattr(trunk, "rope", None) is not None:
            self.rope = _any_grid(trunk.rope)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.trunk.patch_embed.patch_size[0]

    def blocks(self) -> Sequence[nn.Module]:
        """See `VitTower`."""
        return list(self.trunk.blocks)

    def embed(self, images: Tensor, grid: Tuple[int, int]) -> Tensor:
        """See `VitTower`."""
        trunk = self.trunk
        x = trunk.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = trunk.patch_embed.norm(x)
        first = [getattr(trunk, name, None) for name in ("cls_token", "reg_token")]
        first = [token.expand(len(x), -1, -1) for token in first if token is not None]
        positions = self.positions(grid)
        if positions is not None and positions.shape[1] == x.shape[1]:  # of the patches alone
            x, positions = x + positions, None
        x = torch.cat([*first, x], dim=1)
        x = x if positions is None else x + positions
        return trunk.norm_pre(trunk.pos_drop(x))

    def positions(self, grid: Tuple[int, int]) -> Optional[Tensor]:
        """Returns (1, N or P + N, C), the position embedding on a grid; None = there is none."""
        embedding = self.trunk.pos_embed
        if embedding is None:
            return None
        return resized_positions(embedding, self.trunk.patch_embed.grid_size, grid)

    def rotation(self, grid: Tuple[int, int]) -> Optional[Tensor]:
        """See `VitTower`."""
        return None if self.rope is None else self.rope.get_embed(list(grid))

    def final_norm(self, x: Tensor) -> Tensor:
        """See `VitTower`."""
        return self.trunk.norm(x)

    def project(self, vectors: Tensor) -> Tensor:
        """See `VitTower`. Where the tower pools by attention, a vector is pooled alone."""
        trunk = self.trunk
        if trunk.attn_pool is not None:
            alone = trunk.attn_pool(vectors.reshape(-1, 1, vectors.shape[-1]))
            vectors = alone.reshape(*vectors.shape[:-1], -1)
        return self.head(trunk.head(trunk.fc_norm(vectors)))

    def pooled(self, normed: VisualTokens) -> Tensor:
        """See `VitTower`."""
        return self.head(self.trunk.forward_head(normed.tokens))


class ClipVit(VitTower):
    """open_clip's own ViT (OpenAI, LAION). Its parts keep their names.

    Args:
        visual: open_clip's tower.
        options: of `VitTower`.

    Raises:
        ValueError: a tower that pools by attention, as CoCa's does.
    """

    prefix = 1
    ends = ("ln_post.", "proj")

    def __init__(self, visual: nn.Module, **options):
        if visual.attn_pool is not None:
            raise ValueError(
                "a ViT that pools by attention gives no token an embedding; choose MODEL.CLIP.NAME "
                "like ViT-B-16"
            )
        width = visual.conv1.out_channels
        super().__init__(len(visual.transformer.resblocks), width, **options)
        self.conv1, self.class_embedding = visual.conv1, visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre, self.transformer = visual.ln_pre, visual.transformer
        self.ln_post, self.proj = visual.ln_post, visual.proj
        self.native = tuple(visual.grid_size)
        self.mean_pooled = visual.pool_type == "avg"

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.conv1.kernel_size[0]

    def blocks(self) -> Sequence[nn.Module]:
        """See `VitTower`."""
        return list(self.transformer.resblocks)

    def embed(self, images: Tensor, grid: Tuple[int, int]) -> Tensor:
        """See `VitTower`."""
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        positions = resized_positions(self.positional_embedding[None], self.native, grid)
        return self.ln_pre(x + positions.to(x.dtype))

    def final_norm(self, x: Tensor) -> Tensor:
        """See `VitTower`."""
        return self.ln_post(x)

    def project(self, vectors: Tensor) -> Tensor:
        """See `VitTower`."""
        return vectors @ self.proj

    def pooled(self, normed: VisualTokens) -> Tensor:
        """See `VitTower`."""
        if self.mean_pooled:
            return self.project(normed.tokens[:, 1:].mean(dim=1))
        return self.project(normed.tokens[:, 0])


def resized_positions(embedding: Tensor, native: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Returns (1, P + N, C), a position embedding on another grid, bicubic without antialias.

    Args:
        embedding: (1, P + N', C), P slots of prefix tokens first.
        native: (h', w') of the embedding.
        grid: (h, w).
    """
    if tuple(grid) == tuple(native):
        return embedding
    prefix = embedding.shape[1] - native[0] * native[1]
    first, cells = embedding[:, :prefix], embedding[:, prefix:]
    cells = cells.transpose(1, 2).unflatten(2, tuple(native)).float()
    cells = F.interpolate(cells, tuple(grid), mode="bicubic", align_corners=False)
    return torch.cat([first, cells.flatten(2).transpose(1, 2).to(first.dtype)], dim=1)


def _any_grid(rope: nn.Module) -> nn.Module:
    """Returns a rotation whose table is made for each grid; timm's keeps that of one grid."""
    if not isinstance(rope, RotaryEmbeddingCat):
        return rope  # DINOv3's makes a table for any grid that it is asked for
    return RotaryEmbeddingCat(
        rope.dim,
        temperature=rope.temperature,
        in_pixels=False,
        feat_shape=None,
        ref_feat_shape=rope.ref_feat_shape,
        grid_offset=rope.grid_offset,
        grid_indexing=rope.grid_indexing,
        rotate_half=rope.rotate_half,
    )
