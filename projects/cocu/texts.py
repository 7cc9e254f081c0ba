"""GroupViT's text encoder and the projectors into the shared space.

T texts, L tokens, C width, D width of the shared space. Parameter names are the official ones.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn


class QuickGelu(nn.Module):
    """x sigmoid(1.702 x), as CLIP has it."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the same shape."""
        return x * torch.sigmoid(1.702 * x)


class TextBlock(nn.Module):
    """A causal transformer block with norms before its parts.

    Args:
        width: C.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        parts = [
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", QuickGelu()),
            ("c_proj", nn.Linear(4 * width, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        """Returns (T, L, C); `blocked` (L, L) bool is True for blocked pairs of tokens."""
        normed = self.ln_1(x)
        attended, _ = self.attn(normed, normed, normed, attn_mask=blocked, need_weights=False)
        x = x + attended
        return x + self.mlp(self.ln_2(x))


class TextTransformer(nn.Module):
    """Token ids to one feature per text, the state of its end token.

    Args:
        vocabulary: number of token ids; the end token has the largest.
        context: most tokens of a text.
        width: C.
        layers: number of blocks.
    """

    def __init__(self, *, vocabulary: int, context: int, width: int, layers: int):
        super().__init__()
        self.context = context
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.transformer = nn.Module()
        heads = width // 64
        self.transformer.resblocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self._initialize(width, layers)

    def _initialize(self, width: int, layers: int) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        narrow = width**-0.5 * (2 * layers) ** -0.5
        for block in self.transformer.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=narrow)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=narrow)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (T, C) of (T, L) int64, padded with 0 behind the end token."""
        # Causal: what stands behind the longest text changes nothing.
        length = int(tokens.argmax(dim=1).max()) + 1 if len(tokens) else 1
        tokens = tokens[:, :length]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        blocked = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, blocked)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.ln_final(x)[rows, tokens.argmax(dim=1)]


class Projector(nn.Module):
    """Two layers with a batch norm between them, into the shared space.

    Args:
        width: C.
        hidden: of the layer between.
        out: D.
    """

    def __init__(self, width: int, hidden: int, out: int):
        super().__init__()
        self.linear_hidden = nn.Sequential(
            nn.Conv1d(width, hidden, 1), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)
        )
        self.linear_out = nn.Conv1d(hidden, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (T, D) of (T, C), or (B, n, D) of (B, n, C)."""
        tokens = x[:, None] if x.dim() == 2 else x
        count = len(tokens)
        if self.training and tokens.shape[:2] == (1, 1):
            tokens = tokens.expand(2, -1, -1)  # a batch norm refuses a single row
        projected = self.linear_out(self.linear_hidden(tokens.transpose(1, 2))).transpose(1, 2)
        projected = projected[:count]
        return projected[:, 0] if x.dim() == 2 else projected
