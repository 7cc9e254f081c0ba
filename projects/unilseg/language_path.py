"""The language path: the sentence attends to the coarsest scale and becomes the query of its mask.

B phrases · C channels and (h, w) grid of the coarsest scale · D width of the sentence · Q of the
query.
"""

from typing import List

import torch
import torch.nn.functional as F
from detectron2.layers import get_norm
from torch import Tensor, nn

from segplugins.modeling.positions import sine_positions_2d

from .attention import AttentionLayer, tokens
from .vision_path import conv_norm_relu


def _positions(memory: Tensor) -> Tensor:
    return sine_positions_2d(*memory.shape[1:], device=memory.device).to(memory.dtype)


class LanguagePath(nn.Module):
    """A decoder of one content-aware query; as in the official code it sees itself first.

    Args:
        channels: C.
        text_dim: D.
        query_dim: Q.
        layers: number of decoder layers; 0 = the path is off and the sentence itself is the query.
        heads: of the attentions.
        hidden: width of the feed-forwards.
        dropout: of the layers.
        norm: of the projections, a name of detectron2's `get_norm`.
    """

    def __init__(
        self,
        channels: int,
        *,
        text_dim: int,
        query_dim: int,
        layers: int,
        heads: int,
        hidden: int,
        dropout: float,
        norm: str,
    ):
        super().__init__()
        self.sentence = nn.Linear(text_dim, query_dim, bias=False)
        self.sentence_norm = get_norm(norm, query_dim)
        self.layers = nn.ModuleList(
            AttentionLayer(query_dim, heads, hidden, dropout) for _ in range(layers)
        )
        if layers:
            self.memory = conv_norm_relu(channels, query_dim, 3, norm)
            self.norm = nn.LayerNorm(query_dim)

    def embed(self, sentences: Tensor) -> Tensor:
        """Returns (B, Q), the projection of the sentence f_s (B, D); its ReLU is e.

        Raises:
            ValueError: one phrase cannot be normed over the batch.
        """
        over_batch = isinstance(self.sentence_norm, nn.modules.batchnorm._BatchNorm)
        alone = len(sentences) == 1 and not isinstance(self.sentence_norm, nn.SyncBatchNorm)
        if self.training and over_batch and alone:
            raise ValueError(
                "one phrase per process cannot be trained with batch norm; raise "
                "SOLVER.IMS_PER_BATCH or MODEL.UNILSEG.TEXTS_PER_IMAGE, or set "
                "MODEL.UNILSEG.NORM 'LN'"
            )
        # As maps of one pixel, so that every norm that fits maps fits here.
        return self.sentence_norm(self.sentence(sentences)[:, :, None, None]).flatten(1)

    def forward(self, coarse: Tensor, sentences: Tensor) -> List[Tensor]:
        """Returns the query after each layer, (B, Q) each; the last one counts at test.

        Args:
            coarse: f_c of the coarsest scale, (B, C, h, w).
            sentences: f_s, (B, D).
        """
        start = self.embed(sentences)
        if not self.layers:
            # Without the ReLU: the pixel map is nowhere negative, and no response would be either.
            return [start]
        start = F.relu(start)
        memory = self.memory(coarse)
        values = tokens(memory)
        keys = tokens(memory + _positions(memory))
        start = start[:, None]
        query = torch.zeros_like(start)
        queries = []
        for layer in self.layers:
            query_with_start = query + start
            query = layer.add_self(
                query, layer.self_attn(query_with_start, query_with_start, query)
            )
            query = layer.add_memory(query, layer.cross_attn(query + start, keys, values))
            query = layer.add_feed_forward(query)
            queries.append(self.norm(query)[:, 0])
        return queries
