"""Attention with separate computation of queries and keys, and the layer of both paths.

B images or phrases · S visual tokens · L words · C channels · every sequence is (B, length, C).
"""

from typing import Optional, Tuple

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.MultiheadAttention):
    """torch's attention, its parameters and names, in two steps: the queries of an image are
    computed once for many phrases, and the keys of a phrase once for many images.
    """

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__(channels, heads, dropout=dropout, batch_first=True)

    def queries(self, x: Tensor) -> Tensor:
        """Returns (B, heads, S, C / heads) of (B, S, C)."""
        return self._heads(F.linear(x, *self._part(0)))

    def keys_and_values(self, keys: Tensor, values: Tensor) -> Tuple[Tensor, Tensor]:
        """Returns two (B, heads, L, C / heads) of two (B, L, C)."""
        return (
            self._heads(F.linear(keys, *self._part(1))),
            self._heads(F.linear(values, *self._part(2))),
        )

    def attend(
        self, queries: Tensor, memory: Tuple[Tensor, Tensor], is_key: Optional[Tensor] = None
    ) -> Tensor:
        """Returns (B, S, C), the values seen by each query, after the output projection.

        Args:
            queries: of `queries`; 1 image may ask B phrases.
            memory: of `keys_and_values`.
            is_key: (B, L) bool, False for keys that are ignored. None: no key is ignored.
        """
        keys, values = memory
        queries = queries.expand(len(keys), -1, -1, -1)
        seen = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=None if is_key is None else is_key[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out_proj(seen.transpose(1, 2).flatten(2))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, is_key: Optional[Tensor] = None
    ) -> Tensor:
        """Returns (B, S, C) of (B, S, C) and twice (B, L, C); `is_key` as in `attend`."""
        return self.attend(self.queries(query), self.keys_and_values(key, value), is_key)

    def _part(self, index: int) -> Tuple[Tensor, Tensor]:
        rows = slice(index * self.embed_dim, (index + 1) * self.embed_dim)
        return self.in_proj_weight[rows], self.in_proj_bias[rows]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class AttentionLayer(nn.Module):
    """Self-attention, attention to a memory, feed-forward; each added and then normed.

    The caller chooses keys and values: the vision path adds words to its tokens.

    Args:
        channels: C.
        heads: of both attentions.
        hidden: width of the feed-forward.
        dropout: of the attentions and of what is added.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.self_attn = Attention(channels, heads, dropout)
        self.cross_attn = Attention(channels, heads, dropout)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def add_self(self, x: Tensor, seen: Tensor) -> Tensor:
        """Returns x and what it saw of itself, (B, S, C)."""
        return self.norm1(x + self.dropout(seen))

    def add_memory(self, x: Tensor, seen: Tensor) -> Tensor:
        """Returns x and what it saw of the memory, (B, S, C)."""
        return self.norm2(x + self.dropout(seen))

    def add_feed_forward(self, x: Tensor) -> Tensor:
        """Returns x and what the feed-forward makes of it, (B, S, C)."""
        hidden = self.dropout(F.relu(self.linear1(x), inplace=True))
        return self.norm3(x + self.dropout(self.linear2(hidden)))


def tokens(grid: Tensor) -> Tensor:
    """Returns (B, h w, C) of (B, C, h, w)."""
    return grid.flatten(2).transpose(1, 2)


def grid(tokens: Tensor, height: int, width: int) -> Tensor:
    """Returns (B, C, height, width) of (B, height width, C)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))
