"""Turns predictions into the results of each task at test.

Q queries, K classes or texts, (h, w) mask resolution, H W pixels of the result.
"""

from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence

import torch
from torch import Tensor

from segplugins.modeling.postprocess import (
    MaskResizer,
    class_weights,
    merge_synonyms,
    panoptic_segments,
    phrase_masks,
    semantic_scores,
    top_instances,
)
from segplugins.structures import get_vocabulary
from segplugins.structures.predictions import QueryPredictions
from segplugins.structures.regions import Task


@dataclass(frozen=True)
class Inference:
    """Options of the results at test.

    Args:
        topk: most instances of an image.
        score_threshold: lowest score of a panoptic segment.
        overlap_threshold: lowest share of its mask that a panoptic segment keeps.
        temperature: of the choice between texts; 0 = their probabilities as they are.
        mask_chunk: masks that are brought to the result's size at a time.
        label_maps: answer vocabularies with label maps instead of scores.

    Raises:
        ValueError: a value outside its range.
    """

    topk: int
    score_threshold: float
    overlap_threshold: float
    temperature: float
    mask_chunk: int
    label_maps: bool

    def __post_init__(self) -> None:
        if self.topk < 1 or self.mask_chunk < 1:
            raise ValueError(
                "MODEL.QMN.TEST.TOPK and MASK_CHUNK must be at least 1, got "
                f"{self.topk} and {self.mask_chunk}"
            )
        if not 0 <= self.score_threshold <= 1 or not 0 <= self.overlap_threshold <= 1:
            raise ValueError(
                "MODEL.QMN.TEST.SCORE_THRESHOLD and OVERLAP_THRESHOLD must lie in [0, 1], got "
                f"{self.score_threshold} and {self.overlap_threshold}"
            )
        if self.temperature < 0:
            raise ValueError(
                f"MODEL.QMN.TEST.TEMPERATURE must be at least 0, got {self.temperature}"
            )

    def answer(
        self,
        predictions: QueryPredictions,
        records: Sequence[dict],
        counts: Sequence[Sequence[int]],
        sizes: Sequence[Any],
        padded: Any,
    ) -> list:
        """Returns one result per record.

        Args:
            predictions: of B images.
            records: B, with "task", "vocabulary" or "texts", "height", "width" and, where the image
                was padded, "image_box".
            counts: per image the number of synonyms of each class.
            sizes: height and width of each image in the batch.
            padded: height and width of the batch.
        """
        results = []
        for index, record in enumerate(records):
            resize = MaskResizer.of_record(record, padded, sizes[index], self.mask_chunk)
            texts = sum(counts[index])
            logits = merge_synonyms(predictions.class_logits[index, :, :texts], counts[index])
            results.append(
                self._result(
                    record, logits, predictions.mask_logits[index], predictions.boxes[index], resize
                )
            )
        return results

    def _result(
        self, record: dict, logits: Tensor, masks: Tensor, boxes: Tensor, resize: MaskResizer
    ) -> Dict[str, Any]:
        task = record.get("task")
        if task == Task.SALIENT:
            return {"phrase_masks": self._soft_masks(logits, masks, resize)}
        if task == Task.REFERRING:
            selected, scores = phrase_masks(logits, masks, resize)
            return {"phrase_masks": selected, "phrase_scores": scores}
        if task in (Task.INSTANCE, Task.DETECTION):
            return {"instances": top_instances(logits, masks, boxes, resize, topk=self.topk)}
        result = {"sem_seg": self._semantic(logits, masks, resize)}
        if task == Task.PANOPTIC:
            is_thing = _things(record, logits)
            segments = panoptic_segments(
                logits,
                masks,
                resize,
                is_thing=is_thing,
                temperature=self.temperature or None,
                score_threshold=self.score_threshold,
                overlap_threshold=self.overlap_threshold,
            )
            result["panoptic_seg"] = segments
            result["instances"] = top_instances(
                logits, masks, boxes, resize, topk=self.topk, is_thing=is_thing
            )
        return result

    def _semantic(self, logits: Tensor, masks: Tensor, resize: MaskResizer) -> Tensor:
        weights = class_weights(logits, self.temperature or None)
        scores = semantic_scores(weights, masks, resize)
        return scores.argmax(dim=0) if self.label_maps else scores

    def _soft_masks(self, logits: Tensor, masks: Tensor, resize: MaskResizer) -> Tensor:
        """Returns (K, H, W): the highest probability of text and mask over the queries."""
        weights = logits.float().sigmoid()
        best = weights.new_zeros(weights.shape[1], *resize.result)
        for part, resized in resize.chunks(masks):
            probability = resized.sigmoid()
            for text in range(len(best)):
                scored = (weights[part, text, None, None] * probability).max(dim=0).values
                best[text] = torch.maximum(best[text], scored)
        return best


def _things(record: dict, logits: Tensor) -> Tensor:
    """Returns (K,) bool, True for things; without a vocabulary all classes are things."""
    is_thing: Optional[Sequence[bool]] = None
    if record.get("vocabulary") is not None:
        is_thing = get_vocabulary(record["vocabulary"]).is_thing
    flags = [True] * logits.shape[1] if is_thing is None else list(is_thing)
    return torch.tensor(flags).to(logits.device, non_blocking=True)
