"""What becomes of the predictions of dense adaptation at test, by the task of the record (FC-CLIP).

Q queries of one image, K classes, (h, w) mask resolution, H W pixels of the result.
"""

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor

from segplugins.modeling.postprocess import (
    MaskResizer,
    panoptic_segments,
    semantic_scores,
    top_instances,
)
from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task


@dataclass(frozen=True)
class Inference:
    """How images are answered at test.

    Args:
        topk: most instances of an image.
        score_threshold: lowest score of a panoptic segment, not included.
        overlap_threshold: lowest share of its mask that a panoptic segment keeps.
        mask_chunk: masks that are brought to the result's size at a time.
        label_maps: answer with label maps instead of scores.
    """

    topk: int
    score_threshold: float
    overlap_threshold: float
    mask_chunk: int
    label_maps: bool

    def answer(self, log_probability: Tensor, masks: Tensor, record: dict, resize: MaskResizer):
        """Returns the result of one record, by its "task".

        Args:
            log_probability: (Q, K + 1), "no object" last.
            masks: (Q, h, w) logits.
            record: "task"; "vocabulary" or "texts".
            resize: to the result's size.
        """
        probability = log_probability.float().softmax(dim=1)
        task = record.get("task")
        is_thing = things(record, probability.shape[1] - 1)
        if task == Task.INSTANCE and not is_thing.any():  # a bare list of names
            is_thing = torch.ones_like(is_thing)
        is_thing = is_thing.to(masks.device, non_blocking=True)
        if task == Task.INSTANCE:
            return {"instances": self.instances(probability, masks, resize, is_thing)}
        scores = semantic_scores(probability[:, :-1], masks, resize)
        result: Dict[str, Any] = {"sem_seg": scores.argmax(dim=0) if self.label_maps else scores}
        if task == Task.PANOPTIC:
            result["panoptic_seg"] = self.panoptic(probability, masks, resize, is_thing)
            result["instances"] = self.instances(probability, masks, resize, is_thing)
        return result

    def panoptic(
        self, probability: Tensor, masks: Tensor, resize: MaskResizer, is_thing: Tensor
    ) -> Tuple[Tensor, List[dict]]:
        """Returns (H, W) int32 segment ids and the segments; queries of "no object" are left out.

        Args:
            probability: (Q, K + 1).
            masks: (Q, h, w) logits.
            resize: to the result's size.
            is_thing: (K,) bool.
        """
        kept = probability[:, :-1].max(dim=1).values > probability[:, -1]
        # The shared function takes the sigmoid. A query of probability 0 has no segment, and the
        # numbers of the others stay those of the decoder's queries.
        logits = probability[:, :-1].logit().masked_fill(~kept[:, None], -math.inf)
        return panoptic_segments(
            logits,
            masks,
            resize,
            is_thing=is_thing,
            temperature=None,
            score_threshold=self.score_threshold,
            overlap_threshold=self.overlap_threshold,
        )

    def instances(
        self, probability: Tensor, masks: Tensor, resize: MaskResizer, is_thing: Tensor
    ) -> Instances:
        """Returns the best pairs of query and class, scored by class and mask; see `panoptic`."""
        return top_instances(
            probability[:, :-1].logit(), masks, None, resize, topk=self.topk, is_thing=is_thing
        )


def things(record: dict, classes: int) -> Tensor:
    """Returns (K,) bool: which classes are things; without a vocabulary all are."""
    flags: Sequence[bool] = [True] * classes
    if record.get("vocabulary") is not None:
        flags = get_vocabulary(record["vocabulary"]).is_thing
    return torch.tensor(list(flags))
