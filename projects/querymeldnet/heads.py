"""The class head: queries against the texts of their own image.

B images, Q queries, K texts of the image with most (others are padded), D width, D_t text width.
"""

from typing import Callable, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def text_logits(
    embedding: Tensor, text_embedding: Tensor, scale: Tensor, bias: Optional[Tensor]
) -> Tensor:
    """Returns (B, Q, K) logits, scale * cos(embedding, text) + bias.

    Args:
        embedding: (B, Q, D_t).
        text_embedding: (B, K, D_t).
        scale: scalar.
        bias: scalar; None = 0.
    """
    embedding, texts = F.normalize(embedding, dim=-1), F.normalize(text_embedding, dim=-1)
    logits = scale * embedding @ texts.mT
    return logits if bias is None else logits + bias


class TextClassHead(nn.Module):
    """Projects queries into the space of the texts and compares; one head for all layers.

    A focal loss needs a low start: with the bias ln(0.01 / 0.99) every text begins at 1 %.

    Args:
        width: D.
        text_width: D_t.
        scale: start of the factor on the cosine, learned, held at `max_scale` at most.
        bias: start of the bias, learned.
        max_scale: highest factor.
    """

    def __init__(
        self, width: int, text_width: int, *, scale: float, bias: float, max_scale: float = 100.0
    ):
        super().__init__()
        self.projection = nn.Linear(width, text_width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(scale)).log())
        self.logit_bias = nn.Parameter(torch.tensor(float(bias)))
        self.max_scale = max_scale

    def against(self, text_embedding: Tensor) -> Callable[[Tensor], Tensor]:
        """Returns the function from queries (B, Q, D) to logits (B, Q, K) of these texts.

        Args:
            text_embedding: (B, K, D_t).
        """
        scale = self.logit_scale.exp().clamp(max=self.max_scale)

        def logits(queries: Tensor) -> Tensor:
            return text_logits(self.projection(queries), text_embedding, scale, self.logit_bias)

        return logits
