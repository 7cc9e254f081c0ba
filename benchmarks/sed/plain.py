"""The decoder in the order in which the paper and the official code write it.

Everything is done for every class: skip features are repeated, the cost guidance of all scales is
made first, features are upsampled and concatenated before they are convolved. It is the baseline of
the benchmark and the plain truth of the tests; the product never runs it. T classes, one image.
"""

from typing import List, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segplugins.projects.sed.aggregation import ClassLayer, SpatialBlock
from segplugins.projects.sed.class_attention import phi
from segplugins.projects.sed.decoder import DecoderStage, GradualFusionDecoder
from segplugins.projects.sed.fusion import SkipFusion


@torch.no_grad()
def plain_logits(decoder: GradualFusionDecoder, cost: Tensor, skips: Sequence[Tensor]) -> Tensor:
    """Returns: (T, 8h, 8w) of a cost map (T, P, h, w) and the skip features (1, ., ., .)."""
    x, skips, guidance = _begin(decoder, cost, skips)
    for stage, skip, part in zip(decoder.stages, skips, guidance):
        x = _stage(stage, x, skip, part)
    return decoder.head(x)[:, 0]


@torch.no_grad()
def plain_rejection(
    decoder: GradualFusionDecoder, cost: Tensor, skips: Sequence[Tensor], k: int
) -> Tuple[Tensor, List[int]]:
    """Returns: (T, 8h, 8w) probabilities, 0 for rejected classes, and how many stood each time."""
    x, skips, guidance = _begin(decoder, cost, skips)
    standing, counts = torch.arange(len(cost), device=cost.device), []
    for i, (head, stage, skip) in enumerate(zip(decoder.rejection_heads, decoder.stages, skips)):
        best = head(x)[:, 0].topk(min(k, len(x)), dim=0).indices
        keep = best.unique()
        x, standing, guidance = x[keep], standing[keep], [part[keep] for part in guidance]
        counts.append(len(keep))
        x = _stage(stage, x, skip, guidance[i])
    scores = decoder.head(x)[:, 0].sigmoid()
    result = scores.new_zeros(len(cost), *scores.shape[1:])
    result[standing] = scores
    return result, counts


def _begin(
    decoder: GradualFusionDecoder, cost: Tensor, skips: Sequence[Tensor]
) -> Tuple[Tensor, List[Tensor], List[Tensor]]:
    guidance, part = [], cost
    for stage in decoder.stages:
        part = F.relu(stage.guidance(part))
        guidance.append(part)
    reduced = [F.relu(reduce(skip)) for reduce, skip in zip(decoder.skips, skips)]
    return decoder.embedding(cost), reduced, guidance


def _stage(stage: DecoderStage, x: Tensor, skip: Tensor, guidance: Tensor) -> Tensor:
    x = _classes(stage.classes, _spatial(stage.spatial, x))
    return _fusion(stage.fusion, x, skip.repeat(len(x), 1, 1, 1), guidance)


def _spatial(block: SpatialBlock, x: Tensor) -> Tensor:
    y = block.depthwise(x).permute(0, 2, 3, 1)
    y = block.gamma * block.contract(F.gelu(block.expand(block.norm(y))))
    return x + y.permute(0, 3, 1, 2)


def _classes(layer: ClassLayer, x: Tensor) -> Tensor:
    """Without pooling, as at test."""
    tokens = x.flatten(2).permute(2, 0, 1)  # (H W, T, C)
    normed = layer.attention_norm(tokens)
    q, k, v = (
        project(normed).unflatten(-1, (layer.heads, -1))
        for project in (layer.query, layer.key, layer.value)
    )
    q, k = phi(q), phi(k)
    products = torch.einsum("nthd,nthe->nhde", k, v)
    weights = torch.einsum("nthd,nhd->nth", q, k.sum(dim=1))
    attended = torch.einsum("nthd,nhde->nthe", q, products) / (weights + 1e-6)[..., None]
    tokens = tokens + attended.flatten(-2)
    tokens = tokens + layer.mlp(layer.mlp_norm(tokens))
    return x + tokens.permute(1, 2, 0).reshape(x.shape)


def _fusion(fusion: SkipFusion, x: Tensor, skip: Tensor, guidance: Tensor) -> Tensor:
    y = torch.cat([fusion.up(x), skip, guidance], dim=1)
    y = F.relu(fusion.first_norm(fusion.first(y)))
    return F.relu(fusion.second_norm(fusion.second(y)))
