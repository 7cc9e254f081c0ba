"""The segmentation decoder: melded queries, refined layer by layer, to texts, boxes and masks.

B images, Q queries of all kinds, S cells of all levels, L levels, K texts, D width. Boxes are
centre and size as shares of the padded image. The layers compute in float32, under autocast too.
"""

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from segplugins.modeling.boxes import inverse_sigmoid
from segplugins.modeling.deformable import DeformableAttention, Shapes
from segplugins.modeling.pixel_decoder import PixelFeatures
from segplugins.structures.predictions import QueryPredictions

from .denoising import NoisedQueries
from .meld import MeldExchange, QueryLayout, attention_mask
from .queries import ConditionalQueries, LearnableQueries, Proposals, Queries

ClassHead = Callable[[Tensor], Tensor]  # (B, Q, D) -> (B, Q, K)


class Perceptron(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: of the input, the hidden layers and the output.
    """

    def __init__(self, *widths: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., last width)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def box_codes(boxes: Tensor, channels: int) -> Tensor:
    """Returns (B, Q, 4 C) sine codes of boxes, in the order y, x, width, height (DAB-DETR).

    Args:
        boxes: (B, Q, 4) centre and size, 0 to 1.
        channels: C, even, of each of the four numbers.
    """
    exponents = 2 * (torch.arange(channels, device=boxes.device) // 2) / channels
    angles = boxes[..., [1, 0, 2, 3], None] * (2 * math.pi) / 10000.0**exponents
    codes = torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1)
    return codes.flatten(-3)


class DecoderLayer(nn.Module):
    """Self-attention, exchange of the meld, deformable attention to the image, feed-forward.

    Norms follow each part. Parameter names are those of Mask DINO, plus "meld.*".

    Args:
        width: D.
        feed_forward: hidden channels of the feed-forward network.
        heads: attention heads, of both attentions.
        dropout: share of values dropped after each part.
        meld: the exchange; None leaves it out.
        attention: other options of `DeformableAttention`.
    """

    def __init__(
        self,
        width: int,
        *,
        feed_forward: int,
        heads: int,
        dropout: float,
        meld: Optional[MeldExchange],
        **attention,
    ):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.meld = meld
        self.cross_attn = DeformableAttention(width, heads=heads, **attention)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: Shapes,
        layout: Optional[QueryLayout] = None,
        blocked: Optional[Tensor] = None,
    ) -> Tensor:
        """Returns (B, Q, D).

        Args:
            queries: (B, Q, D).
            positions: (B, Q, D), codes of the references.
            references: (B, Q, L, 4) boxes.
            memory: (B, S, D).
            shapes: height and width of each level.
            layout: numbers of queries of each kind, for the exchange.
            blocked: (Q, Q) bool, see `attention_mask`.
        """
        keys = queries + positions
        attended, _ = self.self_attn(keys, keys, queries, attn_mask=blocked, need_weights=False)
        queries = self.norm2(queries + self.dropout(attended))
        if self.meld is not None and layout.learnable and layout.conditional:
            queries = self.meld(queries, positions, layout)
        attended = self.cross_attn(queries + positions, references, memory, shapes)
        queries = self.norm1(queries + self.dropout(attended))
        hidden = self.dropout(self.linear1(queries).relu())
        return self.norm3(queries + self.dropout(self.linear2(hidden)))


class DecoderOutput(NamedTuple):
    """Predictions of the decoder.

    Args:
        predictions: of the queries that take part in the matching; earlier heads are named "0"
            (from the queries themselves), "1", ... and "proposals".
        noised: of the denoising queries, if there were any.
        layout: numbers of queries.
    """

    predictions: QueryPredictions
    noised: Optional[QueryPredictions]
    layout: QueryLayout


class MeldDecoder(nn.Module):
    """Predicts from learnable and conditional queries, and again after every layer.

    Args:
        layers: the decoder layers.
        width: D.
        mask_width: channels of the mask features.
        learnable: the table; None for conditional queries alone.
        conditional: the proposals; None for learnable queries alone.
        meld: one of `meld.MELDS`, for the attention mask.

    Raises:
        ValueError: neither kind of query.
    """

    def __init__(
        self,
        layers: Sequence[DecoderLayer],
        *,
        width: int,
        mask_width: int,
        learnable: Optional[LearnableQueries],
        conditional: Optional[ConditionalQueries],
        meld: str,
    ):
        super().__init__()
        if learnable is None and conditional is None:
            raise ValueError("a decoder needs learnable or conditional queries, or both")
        self.layers = nn.ModuleList(layers)
        self.learnable, self.conditional, self.meld = learnable, conditional, meld
        self.code_channels = width // 2
        self.position_head = Perceptron(4 * (width // 2), width, width)
        self.norm = nn.LayerNorm(width)
        self.box_head = Perceptron(width, width, width, 4)
        self.mask_head = Perceptron(width, width, width, mask_width)
        nn.init.zeros_(self.box_head.layers[-1].weight)
        nn.init.zeros_(self.box_head.layers[-1].bias)

    def forward(
        self,
        features: PixelFeatures,
        class_head: ClassHead,
        *,
        text_mask: Optional[Tensor] = None,
        noised: Optional[NoisedQueries] = None,
    ) -> DecoderOutput:
        """Returns predictions after the last layer and, in training, of all earlier heads.

        Args:
            features: of the pixel decoder, levels in the order of the attention's weights.
            class_head: (B, Q, D) to (B, Q, K) logits against the texts of each image.
            text_mask: (B, K) bool, texts that are real; None = all.
            noised: denoising queries.
        """
        with torch.autocast(features.mask_features.device.type, enabled=False):
            shapes = [(level.shape[2], level.shape[3]) for level in features.levels]
            memory = torch.cat([level.flatten(2).transpose(1, 2) for level in features.levels], 1)
            memory = memory.float()

            def masks(embedded: Tensor) -> Tensor:
                return torch.einsum(
                    "bqc,bchw->bqhw", self.mask_head(embedded), features.mask_features
                )

            queries, proposals, layout = self._queries(
                memory, shapes, class_head, masks, text_mask, noised
            )
            states, references = self._refine(queries, memory, shapes, layout)
        heads = self._heads(queries, states, references, class_head, masks, text_mask)
        if proposals is not None and self.training:
            heads["proposals"] = QueryPredictions(
                class_head(self.norm(proposals.content)),
                proposals.mask_logits,
                proposals.boxes,
                text_mask,
            )
        return _split_heads(heads, layout, noised)

    def _queries(
        self,
        memory: Tensor,
        shapes: Shapes,
        class_head: ClassHead,
        masks: Callable[[Tensor], Tensor],
        text_mask: Optional[Tensor],
        noised: Optional[NoisedQueries],
    ) -> Tuple[Queries, Optional[Proposals], QueryLayout]:
        """Returns all queries in their order, the proposals, and the numbers of queries."""
        parts: List[Queries] = [] if noised is None else [noised.queries]
        counts = {"denoising": 0 if noised is None else noised.queries.content.shape[1]}
        counts["learnable"] = counts["conditional"] = 0
        if self.learnable is not None:
            parts.append(self.learnable(len(memory)))
            counts["learnable"] = parts[-1].content.shape[1]
        proposals = None
        if self.conditional is not None:
            proposals = self.conditional(
                memory,
                shapes,
                box_head=self.box_head,
                class_head=class_head,
                mask_head=lambda content: masks(self.norm(content)),
                text_mask=text_mask,
            )
            parts.append(proposals.queries)
            counts["conditional"] = self.conditional.count
        groups = 1 if noised is None else noised.groups
        queries = Queries(*(torch.cat(tensors, dim=1) for tensors in zip(*parts)))
        return queries, proposals, QueryLayout(**counts, groups=groups)

    def _refine(
        self, queries: Queries, memory: Tensor, shapes: Shapes, layout: QueryLayout
    ) -> Tuple[List[Tensor], List[Tensor]]:
        """Returns, per layer, the normed state (B, Q, D), and the boxes before each layer.

        The boxes keep their gradient for the predictions ("look forward twice"); the next layer's
        attention takes them without.
        """
        state, boxes = queries.content, queries.anchors.sigmoid()
        references, states = [boxes], []
        blocked = attention_mask(layout, self.meld, memory.device)
        for layer in self.layers:
            anchors = boxes.detach() if states else boxes
            positions = self.position_head(box_codes(anchors, self.code_channels))
            levels = anchors[:, :, None].expand(-1, -1, len(shapes), -1)
            state = layer(state, positions, levels, memory, shapes, layout, blocked)
            boxes = (self.box_head(state) + inverse_sigmoid(anchors)).sigmoid()
            references.append(boxes)
            states.append(self.norm(state))
        return states, references

    def _heads(
        self,
        queries: Queries,
        states: Sequence[Tensor],
        references: Sequence[Tensor],
        class_head: ClassHead,
        masks: Callable[[Tensor], Tensor],
        text_mask: Optional[Tensor],
    ) -> Dict[str, QueryPredictions]:
        """Returns name to predictions, the last head first; at test that one alone."""
        heads: Dict[str, QueryPredictions] = {}
        for index in reversed(range(len(states) + 1)):
            # The norm is applied twice to what layers return; checkpoints depend on it.
            state = queries.content if index == 0 else states[index - 1]
            embedded = self.norm(state)
            boxes = references[0]
            if index:
                boxes = (self.box_head(state) + inverse_sigmoid(references[index - 1])).sigmoid()
            name = "" if index == len(states) else str(index)
            heads[name] = QueryPredictions(class_head(embedded), masks(embedded), boxes, text_mask)
            if not self.training:
                break
        return heads


def _split_heads(
    heads: Dict[str, QueryPredictions], layout: QueryLayout, noised: Optional[NoisedQueries]
) -> DecoderOutput:
    """Separates the denoising queries, which come first, from the others."""
    count = layout.denoising

    def rows(
        head: QueryPredictions, part: slice, real: Optional[Tensor] = None
    ) -> QueryPredictions:
        return QueryPredictions(
            head.class_logits[:, part],
            head.mask_logits[:, part],
            head.boxes[:, part],
            head.text_mask,
            query_mask=real,
        )

    proposals = heads.pop("proposals", None)
    matched = {name: rows(head, slice(count, None)) for name, head in heads.items()}
    if proposals is not None:
        matched["proposals"] = proposals
    last = matched.pop("")
    last.earlier = matched
    if noised is None:
        return DecoderOutput(last, None, layout)
    noised_heads = {name: rows(h, slice(0, count), noised.is_real) for name, h in heads.items()}
    noise_last = noised_heads.pop("")
    noise_last.earlier = noised_heads
    return DecoderOutput(last, noise_last, layout)


def build_layers(
    count: int,
    width: int,
    *,
    meld: str,
    meld_heads: int,
    meld_gate: float,
    meld_shared: bool,
    **options,
) -> List[DecoderLayer]:
    """Returns decoder layers; each with an exchange if the meld is "dual".

    Args:
        count: of layers.
        width: D.
        meld: one of `meld.MELDS`.
        meld_heads: attention heads of the exchange.
        meld_gate: start of its gates.
        meld_shared: one attention for both of its ways.
        options: of `DecoderLayer`.
    """
    exchanges = [
        MeldExchange(width, heads=meld_heads, gate=meld_gate, shared=meld_shared)
        if meld == "dual"
        else None
        for _ in range(count)
    ]
    return [DecoderLayer(width, meld=exchange, **options) for exchange in exchanges]
