"""MaskDecoder: queries to masks and class embeddings, with masked attention (FC-CLIP, Mask2Former).

B images, Q queries, D width, (h_l, w_l) grid of level l, (h, w) grid of the mask features, K
classes of the image with most, E width of the text space.
"""

import math
from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.modeling.pixel_decoder import PixelFeatures
from segplugins.modeling.positions import sine_positions_2d
from segplugins.modeling.postprocess import merge_synonyms
from segplugins.structures.predictions import QueryPredictions

from .ensemble import mask_pool

_MAX_SCALE = 100.0
_PADDED = -1e4  # logit of a text that an image does not have; finite, for the matcher


class ClassTexts(NamedTuple):
    """The texts that each image is compared with.

    Args:
        rows: per image (R, E), a row per synonym.
        counts: per image the number of synonyms of each class.
    """

    rows: Sequence[Tensor]
    counts: Sequence[Sequence[int]]

    @property
    def mask(self) -> Tensor:
        """(B, K) bool on the host, True for the classes of each image."""
        most = max(map(len, self.counts))
        return torch.tensor([[k < len(count) for k in range(most)] for count in self.counts])


def class_logits(embedding: Tensor, texts: ClassTexts, void: Tensor, scale: Tensor) -> Tensor:
    """Returns (B, Q, K + 1) logits, scale * cosine: of the best synonym of each class, and void.

    Args:
        embedding: (B, Q, E), of any length.
        texts: of each image, rows of unit length.
        void: (1, E), of any length.
        scale: scalar.
    """
    embedding, void = F.normalize(embedding, dim=-1), F.normalize(void, dim=-1)
    most, logits = max(map(len, texts.counts)), []
    for queries, rows, counts in zip(embedding, texts.rows, texts.counts):
        rows = rows.to(queries.device, queries.dtype)
        best = merge_synonyms(scale * queries @ rows.T, counts)
        best = F.pad(best, (0, most - len(counts)), value=_PADDED)
        logits.append(torch.cat([best, scale * queries @ void.to(queries.dtype).T], dim=1))
    return torch.stack(logits)


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention and a feed-forward network; norms after each.

    Args:
        width: D.
        heads: of both attentions.
        feed_forward: hidden channels.
    """

    def __init__(self, width: int, *, heads: int, feed_forward: int):
        super().__init__()
        self.cross = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.self_norm = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and "norm" not in name:
                nn.init.xavier_uniform_(parameter)
        self.heads = heads

    def forward(
        self, x: Tensor, place: Tensor, memory: Tensor, positions: Tensor, blocked: Tensor
    ) -> Tensor:
        """Returns (B, Q, D).

        Args:
            x: (B, Q, D).
            place: (1, Q, D), added to queries and keys.
            memory: (B, P, D), cells of one level.
            positions: (1, P, D), added to them as keys.
            blocked: (B, Q, P) bool, True = a query does not see the cell.
        """
        attended, _ = self.cross(
            x + place,
            memory + positions,
            memory,
            attn_mask=blocked.repeat_interleave(self.heads, dim=0),
            need_weights=False,
        )
        x = self.cross_norm(x + attended)
        attended, _ = self.self_attn(x + place, x + place, x, need_weights=False)
        x = self.self_norm(x + attended)
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class MaskDecoder(nn.Module):
    """Learned queries against refined levels; every layer predicts.

    Args:
        width: D, also of the mask features.
        queries: Q.
        layers: number of layers; layer i reads level i modulo the levels, coarsest first.
        levels: number of levels.
        heads: of the attentions.
        feed_forward: hidden channels of the feed-forward networks.
        text_width: E.
    """

    def __init__(
        self,
        *,
        width: int,
        queries: int,
        layers: int,
        levels: int,
        heads: int,
        feed_forward: int,
        text_width: int,
    ):
        super().__init__()
        self.content = nn.Embedding(queries, width)
        self.place = nn.Embedding(queries, width)
        self.level_embed = nn.Embedding(levels, width)
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads=heads, feed_forward=feed_forward) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.mask_head = perceptron(width, width, width)
        self.pooled_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.class_head = perceptron(width, width, text_width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.levels = levels

    def forward(self, features: PixelFeatures, texts: ClassTexts, void: Tensor) -> QueryPredictions:
        """Returns the predictions of the last layer, and of those before it under "0", "1", ...

        Args:
            features: levels (B, D, h_l, w_l), coarsest first, and mask features (B, D, h, w).
            texts: of each image.
            void: (1, E), "no object".
        """
        memories, positions = self._memories(features.levels)
        batch = len(features.mask_features)
        x = self.content.weight.expand(batch, -1, -1)
        text_mask = texts.mask.to(x.device, non_blocking=True)
        heads: List[QueryPredictions] = []
        for index in range(len(self.layers) + 1):
            head = self._predict(x, features.mask_features, texts, void)
            head.text_mask = text_mask
            heads.append(head)
            if index < len(self.layers):
                level = index % self.levels
                grid = features.levels[level].shape[-2:]
                blocked = blocked_cells(head.mask_logits, tuple(grid))
                layer = self.layers[index]
                x = layer(x, self.place.weight[None], memories[level], positions[level], blocked)
        last = heads.pop()
        last.earlier = {str(index): head for index, head in enumerate(heads)}
        return last

    def _memories(self, levels: Sequence[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        memories, positions = [], []
        for features, embedding in zip(levels, self.level_embed.weight):
            memories.append(features.flatten(2).transpose(1, 2) + embedding)
            place = sine_positions_2d(
                features.shape[1], *features.shape[-2:], offset=1.0, device=features.device
            )
            positions.append(place.flatten(1).T[None])
        return memories, positions

    def _predict(
        self, x: Tensor, mask_features: Tensor, texts: ClassTexts, void: Tensor
    ) -> QueryPredictions:
        x = self.norm(x)
        masks = torch.einsum("bqd,bdhw->bqhw", self.mask_head(x), mask_features)
        pooled = mask_pool(mask_features, masks.detach())
        embedding = self.class_head(self.pooled_head(pooled) + x)
        scale = self.logit_scale.exp().clamp(max=_MAX_SCALE)
        with torch.autocast(x.device.type, enabled=False):
            logits = class_logits(embedding.float(), texts, void.float(), scale.float())
        return QueryPredictions(logits, masks)


def blocked_cells(mask_logits: Tensor, grid: Tuple[int, int]) -> Tensor:
    """Returns (B, Q, P) bool: cells of a level outside of a query's mask; none where all are.

    Args:
        mask_logits: (B, Q, h, w).
        grid: (h_l, w_l), P cells.
    """
    masks = F.interpolate(mask_logits.detach().float(), grid, mode="bilinear", align_corners=False)
    blocked = masks.flatten(2).sigmoid() < 0.5
    return blocked & ~blocked.all(dim=2, keepdim=True)


def perceptron(width: int, hidden: int, result: int) -> nn.Sequential:
    """Returns three linear layers with ReLU between them."""
    layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, result))
