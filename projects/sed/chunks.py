"""Inference of one image over any number of classes in bounded memory.

Each row of the decoder is one class and independent of the others, except in the class layer, and
linear attention needs only two sums of the other classes (`ClassSums`). So each stage takes one
pass over the chunks that only adds up the sums, and the last pass gives the scores; everything
before a stage is computed again in each pass. The result is that of all classes at once, up to
rounding. Plain groups of classes, each decoded by itself, would give another result.

T classes · n classes that remain · P templates · D width of the embeddings.
"""

from typing import Iterator, List, Optional, Sequence

import torch
from torch import Tensor

from .class_attention import merge
from .cost_map import cost_map
from .decoder import GradualFusionDecoder, Rows, precise_score
from .rejection import FirstScores, RunningTopK


class Decoding:
    """The decoder's probabilities of one image, available class by class.

    Args:
        decoder: its pooling is that of its present mode.
        dense: (1, D, h, w), the encoder's embedding.
        skips: "res4", "res3", "res2" of this image, as the decoder takes them.
        text: (T, P, D) prompt embeddings, on any device; memory-mapped on the CPU is fine: rows
            are moved as they are needed.
        chunk: most classes whose features exist at a time; 0 = no bound.
        top_k: classes per pixel that early rejection keeps; None = no rejection.
        votes: (T, h, w) of a memory, added to the cosines of all prompts of a class; None = none.

    Attributes:
        classes: (n,) int64 on the CPU, ascending: the classes that were not rejected.
        rejections: number of classes left after each rejection; empty if there was none.

    Raises:
        ValueError: a negative chunk, or top_k below 1.
    """

    @torch.no_grad()
    def __init__(
        self,
        decoder: GradualFusionDecoder,
        dense: Tensor,
        skips: Sequence[Tensor],
        text: Tensor,
        *,
        chunk: int,
        top_k: Optional[int],
        votes: Optional[Tensor] = None,
    ):
        if chunk < 0:
            raise ValueError(f"a chunk of classes needs at least 1, or 0 for no bound, got {chunk}")
        self.decoder = decoder
        self.chunk = chunk or len(text)
        self.classes = torch.arange(len(text))
        self.rejections: List[int] = []
        self._dense = dense
        self._text, self._votes = text, votes
        self._terms = decoder.image_terms(skips)
        self._summaries: List = []  # of the stages passed, while the classes are more than a chunk
        self._rows: Optional[Rows] = None  # state of all classes, once they are no more than that
        for level in range(len(decoder.stages)):
            if top_k is not None:
                self._reject(level, RunningTopK(top_k))
            self._pass_stage(level)
        self._maps: Optional[Tensor] = None
        if self._rows is not None:
            self._maps = self._finish(self._rows)
            self._rows, self._terms = None, []  # sliding windows hold many decodings

    @property
    def device(self) -> torch.device:
        """Where the probabilities are computed."""
        return self._dense.device

    @torch.no_grad()
    def probabilities(self, part: slice) -> Tensor:
        """Returns (m, 8h, 8w) float32, of `self.classes[part]`, no more than a chunk of them."""
        if self._maps is not None:
            return self._maps[part]
        return self._finish(self._compute(self.classes[part]))

    def _finish(self, rows: Rows) -> Tensor:
        return precise_score(self.decoder.head, rows.features)[0].sigmoid()

    def _reject(self, level: int, best: RunningTopK) -> None:
        """Drops the classes that are nowhere among the best of the head before a stage."""
        if best.k >= len(self.classes):
            return
        first = FirstScores(self.decoder) if level == 0 else None
        for classes in self._chunks():
            if first is not None:
                cost = self._cost(classes)
                scores = first(cost[0])
            else:
                rows = self._rows or self._compute(classes)
                head = self.decoder.rejection_heads[level]
                scores = precise_score(head, rows.features)[0]
            best.add(scores, classes.to(scores.device, non_blocking=True))
        kept = best.union()
        self.rejections.append(len(kept))
        if first is None and len(kept) == len(self.classes):
            return  # most often so at the later stages
        where = torch.searchsorted(self.classes, kept).to(self._dense.device)
        if first is not None and len(self.classes) <= self.chunk:
            self._rows = self.decoder.start(cost.index_select(1, where))
        elif self._rows is not None:
            self._rows = self._rows.select(where)
        self.classes = kept

    def _pass_stage(self, level: int) -> None:
        """Runs a stage on all classes, or only adds up their summary for it."""
        stage, pooling = self.decoder.stages[level], self.decoder.class_pooling
        if self._rows is None and len(self.classes) <= self.chunk:
            self._rows = self._compute(self.classes)
        if self._rows is not None:
            self._rows = stage(self._rows, self._terms[level], pooling)
            return
        summary = None
        for classes in self._chunks():
            features = stage.aggregate_space(self._compute(classes))
            part = stage.classes.summarize(features, pooling)
            summary = part if summary is None else merge(summary, part)
        self._summaries.append(summary)

    def _compute(self, classes: Tensor) -> Rows:
        """The state of some classes after the stages passed so far."""
        rows = self.decoder.start(self._cost(classes))
        for stage, terms, summary in zip(self.decoder.stages, self._terms, self._summaries):
            pooling = self.decoder.class_pooling
            rows = stage.finish(stage.aggregate_space(rows), rows, terms, pooling, summary)
        return rows

    def _cost(self, classes: Tensor) -> Tensor:
        """(m,) -> (1, m, P, h, w)"""
        first, last = int(classes[0]), int(classes[-1]) + 1
        if last - first == len(classes):
            text = self._text[first:last]  # a view, not a copy
        else:
            text = self._text[classes.to(self._text.device)]
        cost = cost_map(self._dense, text.to(self._dense.device, non_blocking=True))
        if self._votes is not None:
            cost += self._votes[classes.to(self._votes.device)][None, :, None]
        return cost

    def _chunks(self) -> Iterator[Tensor]:
        yield from self.classes.split(self.chunk)
