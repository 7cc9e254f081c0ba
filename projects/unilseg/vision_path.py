"""The vision path: attention between positions and words, from coarse to fine, gives a pixel map.

B phrases · L words · C_i channels and (h_i, w_i) grid of scale i, finest first · D width of the
path, which is that of the words.
"""

from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from segplugins.modeling.positions import sine_positions_1d, sine_positions_2d

from .attention import AttentionLayer, grid, tokens


def conv_norm_relu(inputs: int, outputs: int, kernel: int, norm: str) -> Conv2d:
    """Returns a convolution that keeps the size, without bias, then norm and ReLU."""
    return Conv2d(
        inputs,
        outputs,
        kernel,
        padding=kernel // 2,
        bias=False,
        # The same function as detectron2's, in one kernel instead of nine.
        norm=LayerNorm2d(outputs) if norm == "LN" else get_norm(norm, outputs),
        activation=F.relu,
    )


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Returns (B, C, *size), bilinearly, of (B, C, h, w)."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class MultiModalLayer(AttentionLayer):
    """One scale's transformer layer (Eq. 2 to 5).

    Args:
        ratio: the grid shrinks by it before its places look at each other.
        others: see `AttentionLayer`.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float, *, ratio: int):
        super().__init__(channels, heads, hidden, dropout)
        self.ratio = ratio

    def forward(self, x: Tensor, words: Tensor, is_word: Tensor, word_positions: Tensor) -> Tensor:
        """Returns (B, D, h, w).

        Args:
            x: (B, D, h, w).
            words: f_w, (B, L, D).
            is_word: (B, L) bool.
            word_positions: (L, D).
        """
        height, width = x.shape[-2:]
        position = sine_positions_2d(x.shape[1], height, width, device=x.device).to(x.dtype)[None]
        seen = self._seen(x, position, words, is_word)
        x = self.add_self(tokens(x), tokens(resized(seen, (height, width))))
        # Positions are added to queries and keys but not to values (the paper adds them there too).
        seen = self.cross_attn(x + tokens(position), words + word_positions, words, is_word)
        return grid(self.add_feed_forward(self.add_memory(x, seen)), height, width)

    def _seen(self, x: Tensor, position: Tensor, words: Tensor, is_word: Tensor) -> Tensor:
        """Returns (B, D, h', w'), attention of the smaller grid to itself and to the words.

        Words are no queries here: their result would not be used.
        """
        small = [max(1, side // self.ratio) for side in x.shape[-2:]]
        values = tokens(resized(x, small))
        keys = values + tokens(resized(position, small))
        is_position = is_word.new_ones(len(x), values.shape[1])
        seen = self.self_attn(
            keys,
            torch.cat([keys, words], dim=1),
            torch.cat([values, words], dim=1),
            torch.cat([is_position, is_word], dim=1),
        )
        return grid(seen, *small)


class VisionPath(nn.Module):
    """Lateral convolution, `MultiModalLayer`, and a feature pyramid over all scales.

        y_32 = out(x_32),   y_i = out(x_i + up(y_above)),   pixel map = conv(y_4)

    Args:
        channels: C_i of each scale, finest first.
        width: D.
        mask_dim: channels of the pixel map.
        heads: of the attentions.
        hidden: width of the feed-forwards.
        dropout: of the layers.
        ratios: per scale, how much its grid shrinks before its places look at each other.
        norm: of the convolutions, a name of detectron2's `get_norm`.
        text_length: number of tokens a phrase is laid out for; positions of words depend on it.
        attend: False leaves the transformer layers out: a plain pyramid.

    Raises:
        ValueError: as many ratios as scales are needed.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        width: int,
        mask_dim: int,
        heads: int,
        hidden: int,
        dropout: float,
        ratios: Sequence[int],
        norm: str,
        text_length: int,
        attend: bool,
    ):
        super().__init__()
        if len(ratios) != len(channels) or min(ratios) < 1:
            raise ValueError(
                f"MODEL.UNILSEG.SR_RATIOS needs {len(channels)} whole numbers of at least 1, one "
                f"per scale, finest first, got {list(ratios)}"
            )
        self.laterals = nn.ModuleList(conv_norm_relu(c, width, 1, norm) for c in channels)
        self.layers = nn.ModuleList(
            MultiModalLayer(width, heads, hidden, dropout, ratio=ratio)
            for ratio in ratios
            if attend
        )
        self.outputs = nn.ModuleList(conv_norm_relu(width, width, 3, norm) for _ in channels)
        self.mask_features = conv_norm_relu(width, mask_dim, 3, norm)
        positions = sine_positions_1d(width, text_length).T.contiguous()
        self.register_buffer("word_positions", positions, persistent=False)

    def forward(self, fused: Sequence[Tensor], words: Tensor, is_word: Tensor) -> Tensor:
        """Returns the pixel map (B, mask_dim, h_0, w_0), nowhere below 0.

        Args:
            fused: f_c, (B, C_i, h_i, w_i), finest first.
            words: f_w, (B, L, D), L at most `text_length`.
            is_word: (B, L) bool.
        """
        positions = self.word_positions[: words.shape[1]].to(words.dtype)
        above: Optional[Tensor] = None
        for i in reversed(range(len(fused))):
            x = self.laterals[i](fused[i])
            if self.layers:
                x = self.layers[i](x, words, is_word, positions)
            if above is not None:
                x = x + resized(above, x.shape[-2:])
            above = self.outputs[i](x)
        return self.mask_features(above)
