"""run_block: one transformer block of timm or open_clip, with adapters beside its two layers.

B images, N = h w patches behind P prefix tokens (class token, registers), C width of the trunk.
"""

from functools import partial
from typing import Optional, Tuple

from timm.models.eva import EvaBlockPostNorm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .convpass import BlockAdapters


def run_block(
    block: nn.Module,
    x: Tensor,
    rope: Optional[Tensor],
    *,
    grid: Tuple[int, int],
    adapters: Optional[BlockAdapters] = None,
    value_only: bool = False,
    recomputed: bool = False,
) -> Tensor:
    """Returns (B, P + N, C), one transformer block with adapters beside attention and MLP.

    With pre-norm an adapter reads what its layer reads: x + f(norm x) + s adapter(norm x). With
    post-norm (EVA-E) it reads x and is added outside of the norm, so that its zero start changes
    nothing: x + norm(f(x)) + s adapter(x).

    Args:
        block: timm's EvaBlock, EvaBlockPostNorm or Block, or open_clip's ResidualAttentionBlock.
        x: (B, P + N, C), prefix tokens first.
        rope: (N, 2 head width) sine and cosine of each patch, or (B, 1, N, 2 head width).
        grid: (h, w); read by adapters alone.
        adapters: None = none.
        value_only: attention becomes its value path, without mixing tokens.
        recomputed: keep nothing for the backward pass and compute the block again there.
    """
    if recomputed:
        again = partial(run_block, block, grid=grid, adapters=adapters, value_only=value_only)
        return checkpoint(again, x, rope, use_reentrant=False)
    post = isinstance(block, EvaBlockPostNorm)
    for number, layer in ((1, block.attn), (2, block.mlp)):
        norm = _part(block, "norm", "ln_", number)
        read = x if post else norm(x)
        if number == 2:
            branch = layer(read)
        elif value_only:
            branch = value_path(layer, read)
        else:
            branch = _attend(layer, read, rope)
        branch = _layer_scaled(block, number, norm(branch) if post else branch)
        drop = getattr(block, f"drop_path{number}", nn.Identity())
        x = x + drop(branch)
        adapter = None if adapters is None else adapters.of_layer(number)
        if adapter is not None:
            x = x + drop(adapters.scale * adapter(read, grid))
    return x


def value_path(attention: nn.Module, x: Tensor) -> Tensor:
    """Returns (B, P + N, C): every token attends to itself alone."""
    if isinstance(attention, nn.MultiheadAttention):
        weight, bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
        return attention.out_proj(F.linear(x, weight, bias))
    if attention.qkv is None:
        values = attention.v_proj(x)
    else:
        bias = getattr(attention, "v_bias", None)  # beside the projection (EVA), or in it
        if bias is None and attention.qkv.bias is not None:
            bias = attention.qkv.bias.chunk(3)[2]
        values = F.linear(x, attention.qkv.weight.chunk(3)[2], bias)
    return attention.proj(attention.norm(values))


def _attend(attention: nn.Module, x: Tensor, rope: Optional[Tensor]) -> Tensor:
    if isinstance(attention, nn.MultiheadAttention):
        return attention(x, x, x, need_weights=False)[0]
    return attention(x) if rope is None else attention(x, rope=rope)


def _part(block: nn.Module, timm_name: str, clip_name: str, number: int) -> nn.Module:
    part = getattr(block, f"{timm_name}{number}", None)
    return getattr(block, f"{clip_name}{number}") if part is None else part


def _layer_scaled(block: nn.Module, number: int, branch: Tensor) -> Tensor:
    gamma = getattr(block, f"gamma_{number}", None)
    if gamma is not None:
        return gamma * branch
    for name in (f"ls{number}", f"ls_{number}"):
        scale = getattr(block, name, None)
        if scale is not None:
            return scale(branch)
    return branch
