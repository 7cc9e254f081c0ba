"""Boxes as prompts: the denoising queries of training, asked with boxes that nobody has noised.

Training noises boxes of the truth and has the decoder restore their objects (denoising.py). At test
the same queries turn boxes into masks. Each prompt is a group of its own, so that its answer does
not depend on what else is asked.

B images, N prompts of an image, P of the fullest image, D width.
"""

from typing import Sequence

import torch
from torch import Tensor

from segplugins.modeling.boxes import inverse_sigmoid
from segplugins.structures.predictions import Match

from .denoising import NoisedQueries
from .queries import Queries
from .texts import TextBatch


def prompt_content(texts: TextBatch, projection: Tensor) -> Tensor:
    """Returns (B, D), the mean content of an image's texts: a prompt does not say what it shows.

    Args:
        texts: of the batch.
        projection: (D_t, D), from texts to contents of denoising queries.
    """
    weights = texts.mask[..., None].to(texts.embedding.dtype)
    mean = (texts.embedding * weights).sum(dim=1) / weights.sum(dim=1)
    return mean @ projection


def prompt_queries(boxes: Sequence[Tensor], content: Tensor) -> NoisedQueries:
    """Returns a query per prompt, in the form of denoising queries.

    Args:
        boxes: B of (N, 4) centre and size as shares of the padded image.
        content: (B, D), of all prompts of an image.
    """
    most = max(map(len, boxes), default=0)
    anchors = content.new_zeros(len(boxes), most, 4)
    real = torch.zeros(len(boxes), most, dtype=torch.bool, device=content.device)
    for row, (filled, its) in enumerate(zip(real, boxes)):
        filled[: len(its)] = True
        anchors[row, : len(its)] = inverse_sigmoid(its.to(content))
    queries = Queries(content[:, None].expand(-1, most, -1), anchors)
    nothing = torch.zeros(0, dtype=torch.long, device=content.device)
    match = Match(nothing, nothing, nothing, counts=(0,) * len(boxes))
    return NoisedQueries(queries, real, match, groups=most)
