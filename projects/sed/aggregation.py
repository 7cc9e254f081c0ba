"""The Feature Aggregation Module (Sec. 3.2, Fig. 3a): space first, then classes.

B images · T classes · C width · (H, W) the grid of the stage · N positions of one image after
pooling · heads of d = C / heads channels. Features are (B, T, C, H, W) with the channels last in
memory, so that a token of the class attention is read as it lies.
"""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import in_blocks
from .class_attention import (
    ClassTokens,
    Summary,
    class_sums,
    linear_attention,
    softmax_attention,
)


class ChannelNorm(nn.Module):
    """LayerNorm over the last dimension, eps 1e-6.

    Not a subclass of nn.LayerNorm: the official optimizer decays this norm's weights and those of
    no other norm, because its own class is none of torch's. We follow it (parity).
    """

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., width), as it came."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, eps=1e-6)


class SpatialBlock(nn.Module):
    """Spatial-level fusion: a ConvNeXt block with a large kernel, each class alone.

    The paper draws a residual around the convolution and one around the MLP. The official code has
    a single one around both, with a layer scale that starts at 1; we follow it (parity).

    Args:
        width: C.
        kernel_size: side of the depthwise convolution, odd.

    Raises:
        ValueError: an even kernel size.
    """

    def __init__(self, width: int, kernel_size: int):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"a spatial kernel must have a middle: odd, got {kernel_size}")
        self.depthwise = nn.Conv2d(
            width, width, kernel_size, padding=kernel_size // 2, groups=width
        )
        self.norm = ChannelNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Returns (rows, C, H, W), as it came."""
        y = in_blocks(
            lambda part: self._block(x[part]),
            len(x),
            dim=0,
            elements=4 * x[0].numel(),
            device=x.device,
        )
        return y.permute(0, 3, 1, 2)

    def _block(self, x: Tensor) -> Tensor:
        """(n, C, H, W) -> (n, H, W, C)"""
        y = F.gelu(self.expand(self.norm(self.depthwise(x).permute(0, 2, 3, 1))))
        # gamma scales the rows of the last layer as well as what they give, and those are fewer.
        weight, bias = self.contract.weight * self.gamma[:, None], self.contract.bias * self.gamma
        return x.permute(0, 2, 3, 1) + F.linear(y, weight, bias)


class ClassLayer(nn.Module):
    """Class-level fusion: attention along the class axis, at every position alone.

    No class has a position, so that the order of the classes does not matter and any number of
    them may come. The paper says "linear self-attention"; the pooling, the ReLU of the MLP and the
    doubled residual are the official code's (parity).

    Args:
        width: C.
        heads: of the attention, a divisor of C.
        attention: "linear", the paper's, or "full", softmax.

    Raises:
        ValueError: unknown attention, or heads that do not divide the width.
    """

    def __init__(self, width: int, heads: int, attention: str):
        super().__init__()
        if attention not in ("linear", "full"):
            raise ValueError(f"attention must be 'linear' or 'full', got '{attention}'")
        if width % heads:
            raise ValueError(f"{heads} attention heads do not divide a width of {width}")
        self.heads = heads
        self.linear = attention == "linear"
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: Tensor, pooling: Tuple[int, int], summary: Optional[Summary] = None
    ) -> Tensor:
        """Lets every class look at the others.

        Args:
            x: (B, T, C, H, W).
            pooling: height and width of the average pooling before; (1, 1) = none.
            summary: of the classes to look at; left out, those of `x`.

        Returns:
            (B, T, C, H, W).
        """
        tokens, grid = _tokens(x, pooling)
        y = in_blocks(
            lambda part: self._mix(tokens[:, :, part], _at(summary, part)),
            tokens.shape[2],
            dim=2,
            elements=4 * tokens.shape[0] * tokens.shape[1] * tokens.shape[3],
            device=x.device,
        )
        y = y.unflatten(2, grid).permute(0, 1, 4, 2, 3)
        if grid != tuple(x.shape[-2:]):
            # align_corners=True here and nowhere else, as in the official code.
            y = F.interpolate(
                y.flatten(0, 1), x.shape[-2:], mode="bilinear", align_corners=True
            ).unflatten(0, x.shape[:2])
        return x + y

    def summarize(self, x: Tensor, pooling: Tuple[int, int]) -> Summary:
        """Returns what the classes of `x` (B, T, C, H, W) are to others; see `merge`."""
        tokens, _ = _tokens(x, pooling)
        return self._summarize(self.attention_norm(tokens.transpose(1, 2)))

    def attend(self, tokens: Tensor, summary: Optional[Summary] = None) -> Tensor:
        """The attention without norm and residual.

        Args:
            tokens: (B, N, T, C).
            summary: of the classes to look at; left out, those of `tokens`.

        Returns:
            (B, N, T, C).
        """
        if summary is None:
            summary = self._summarize(tokens)
        queries = self._heads(self.query(tokens))
        attention = linear_attention if self.linear else softmax_attention
        with torch.autocast(tokens.device.type, enabled=False):
            out = attention(queries.float(), summary)
        return out.to(queries.dtype).transpose(-2, -3).flatten(-2)

    def _mix(self, tokens: Tensor, summary: Optional[Summary]) -> Tensor:
        """(B, T, n, C) -> (B, T, n, C)"""
        x = tokens.transpose(1, 2).contiguous()
        x = x + self.attend(self.attention_norm(x), summary)
        x = x + self.mlp(self.mlp_norm(x))
        return x.transpose(1, 2)

    def _summarize(self, tokens: Tensor) -> Summary:
        keys, values = self._heads(self.key(tokens)), self._heads(self.value(tokens))
        # Sums over hundreds of classes: in float32 under autocast too.
        with torch.autocast(tokens.device.type, enabled=False):
            summarize = class_sums if self.linear else ClassTokens
            return summarize(keys.float(), values.float())

    def _heads(self, tokens: Tensor) -> Tensor:
        """(B, N, T, C) -> (B, N, heads, T, d)"""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(-2, -3)


def _tokens(x: Tensor, pooling: Tuple[int, int]) -> Tuple[Tensor, Tuple[int, int]]:
    """(B, T, C, H, W) -> (B, T, N, C) and the grid of its N positions."""
    if tuple(pooling) != (1, 1):
        x = F.avg_pool2d(x.flatten(0, 1), tuple(pooling)).unflatten(0, x.shape[:2])
    return x.flatten(3).transpose(2, 3), tuple(x.shape[-2:])


def _at(summary: Optional[Summary], positions: slice) -> Optional[Summary]:
    return summary and type(summary)(*(part[:, positions] for part in summary))
