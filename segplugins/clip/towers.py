"""The parts of a CLIP model: the image tower, the text tower, the tokenizer, the scale.

T texts, L tokens, S nodes of a packed row, B rows, W width of the text tower, D width of the space
that image and text share.
"""

import hashlib
from dataclasses import dataclass
from typing import Callable, Sequence, Tuple

import torch
from torch import Tensor, nn


class TextTower(nn.Module):
    """CLIP's causal text transformer, walked by hand so that short texts cost little.

    Parameter names are those of open_clip's text tower.

    Args:
        source: open_clip's model, or its `text` where that is a part of its own.
    """

    def __init__(self, source: nn.Module):
        super().__init__()
        self.token_embedding = source.token_embedding
        self.positional_embedding = source.positional_embedding
        self.transformer = source.transformer
        self.ln_final = source.ln_final
        self.text_projection = source.text_projection
        self.heads = source.transformer.resblocks[0].attn.num_heads

    @property
    def context_length(self) -> int:
        """Number of positions that the tower knows."""
        return self.positional_embedding.shape[0]

    @property
    def width(self) -> int:
        """W, the width of the tokens before the projection."""
        return self.positional_embedding.shape[1]

    def forward(self, tokens: Tensor) -> Tuple[Tensor, Tensor]:
        """Encodes padded token rows of any length up to the context.

        Args:
            tokens: (T, L) int64; the end token has the largest id, as in CLIP's vocabulary.

        Returns:
            (T, D) projected, not normalised; (T, L, W) after the last norm, before the projection.
        """
        length = tokens.shape[1]
        positions = torch.arange(length, device=tokens.device).expand_as(tokens)
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        hidden = self.walk(tokens, positions, causal)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.project(hidden[rows, tokens.argmax(dim=1)]), hidden

    def walk(self, tokens: Tensor, positions: Tensor, reach: Tensor) -> Tensor:
        """Runs the transformer on tokens that may lie packed in any order.

        Args:
            tokens: (B, S) int64.
            positions: (B, S) int64, the place of each token in its own text.
            reach: (S, S) or (B, S, S) bool, True where the first token may look at the second.

        Returns:
            (B, S, W) after the last norm.
        """
        dtype = self.transformer.get_cast_dtype()
        x = self.token_embedding(tokens).to(dtype)
        x = x + self.positional_embedding.to(dtype)[positions]
        mask = torch.zeros_like(reach, dtype=x.dtype).masked_fill_(~reach, float("-inf"))
        if mask.dim() == 3:  # torch's attention wants one mask per row and head
            mask = mask.repeat_interleave(self.heads, dim=0)
        return self.ln_final(self.transformer(x, attn_mask=mask))

    def project(self, hidden: Tensor) -> Tensor:
        """Maps (..., W) into the shared space: (..., D)."""
        if self.text_projection is None:
            return hidden
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection(hidden)
        return hidden @ self.text_projection


@dataclass
class ClipTowers:
    """The parts of a CLIP model.

    Args:
        name: open_clip's model name, or "convnext_drawn".
        visual: open_clip's image tower, for instance with `.trunk` and `.head`.
        text: the text tower.
        encode: one text to its token ids, start and end token included, not cut to any length.
        logit_scale: scalar, natural logarithm of the factor on cosine similarities.
        embed_dim: D.
        image_size: height and width that the model was made for.
        image_mean: mean per channel, RGB on the 0-1 scale.
        image_std: standard deviation per channel, the same scale.
    """

    name: str
    visual: nn.Module
    text: TextTower
    encode: Callable[[str], Tuple[int, ...]]
    logit_scale: nn.Parameter
    embed_dim: int
    image_size: Tuple[int, int]
    image_mean: Tuple[float, float, float]
    image_std: Tuple[float, float, float]

    @property
    def pixel_mean(self) -> Tuple[float, ...]:
        """Mean per channel, RGB on the 0-255 scale of pixels."""
        return tuple(255 * value for value in self.image_mean)

    @property
    def pixel_std(self) -> Tuple[float, ...]:
        """Standard deviation per channel, the same scale."""
        return tuple(255 * value for value in self.image_std)

    @property
    def context_length(self) -> int:
        """Number of tokens of the longest text, start and end token included."""
        return self.text.context_length

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Returns (T, context_length) int64; a longer text keeps its end token."""
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(rows, texts):
            ids = self.encode(text)
            if len(ids) > self.context_length:
                ids = ids[: self.context_length - 1] + ids[-1:]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the name and any weight of the text tower."""
        return fingerprint(self.name, self.text)


def fingerprint(name: str, module: nn.Module) -> str:
    """Returns 16 hex digits that change with the name, a parameter's name or any of its bits."""
    digest = hashlib.sha256(name.encode())
    for key, value in module.state_dict().items():
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
