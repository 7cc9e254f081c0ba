"""Training samples: some phrases of each image, each with the mask of all its regions.

H, W are the size of an image in pixels.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task

from .prompts import Prompts

# Tasks whose phrases are used even without a target; absent classes are not.
_ASKED_ANYWAY = (Task.REFERRING, Task.SALIENT)


class Sample(NamedTuple):
    """A triplet of the paper.

    Args:
        image: index of its image in the batch.
        phrase: what the model reads.
        mask: (H, W) bool.
    """

    image: int
    phrase: str
    mask: Tensor


class Sampling:
    """Draws the training phrases of each image, from torch's global generator.

    Args:
        prompts: names to phrases.
        per_image: phrases of one image, different ones; fewer where it has fewer.
        negative_prob: probability of using an absent class instead, one that is known to be
            absent.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(self, prompts: Prompts, *, per_image: int, negative_prob: float):
        if per_image < 1:
            raise ValueError(f"MODEL.UNILSEG.TEXTS_PER_IMAGE must be at least 1, got {per_image}")
        if not 0 <= negative_prob <= 1:
            raise ValueError(f"MODEL.UNILSEG.NEGATIVE_PROB must lie in [0, 1], got {negative_prob}")
        self.prompts = prompts
        self.per_image = per_image
        self.negative_prob = negative_prob

    def __call__(self, records: Sequence[dict]) -> List[Sample]:
        """Returns the samples of a batch, image by image; images without any phrase give none.

        Args:
            records: of SegMapper, with "instances" that have masks.

        Raises:
            ValueError: a record has no masks.
        """
        return [
            Sample(index, self._phrase(record, name), mask)
            for index, record in enumerate(records)
            for name, mask in self._drawn(record)
        ]

    def _phrase(self, record: dict, name: str) -> str:
        return self.prompts.phrase(record.get("task", Task.REFERRING), name)

    def _drawn(self, record: dict) -> List[Tuple[str, Tensor]]:
        positives, negatives = _candidates(record)
        nothing = torch.zeros(record["image"].shape[-2:], dtype=torch.bool)
        drawn = []
        for chosen in torch.randperm(len(positives))[: self.per_image].tolist():
            if negatives and self.negative_prob and torch.rand(()) < self.negative_prob:
                drawn.append((negatives.pop(int(torch.randint(len(negatives), ()))), nothing))
            else:
                name, rows = positives[chosen]
                masks = record["instances"].gt_masks.tensor
                drawn.append((name, masks[rows].any(dim=0) if rows else nothing))
        return drawn


def _candidates(record: dict) -> Tuple[List[Tuple[str, List[int]]], List[str]]:
    """Returns the names with their rows of the instances, and the names of absent classes."""
    instances = record.get("instances")
    if instances is None or (len(instances) and not instances.has("gt_masks")):
        raise ValueError(
            f"{record.get('file_name', 'a record')} has no masks; UniLSeg learns from masks "
            "(INPUT.TARGETS ['instances'], and no data set of boxes alone)"
        )
    if record.get("vocabulary") is not None:
        vocabulary = get_vocabulary(record["vocabulary"])
        names = [synonyms[0] for synonyms in vocabulary.synonyms]
        none = vocabulary.none_index
    else:
        names, none = list(record["texts"]), None
    rows: Dict[int, List[int]] = {}
    for row, index in enumerate(instances.gt_classes.tolist()):
        rows.setdefault(index, []).append(row)
    unknown = record.get("ignore_negative")
    # A name with unannotated objects has no whole mask, and is no example of what is absent.
    whole = [i for i in range(len(names)) if unknown is None or not unknown[i]]
    if record.get("vocabulary") is None and record.get("task") in _ASKED_ANYWAY:
        return [(names[i], rows.get(i, [])) for i in whole], []
    absent = [names[i] for i in whole if i not in rows and i != none]
    return [(names[i], rows[i]) for i in whole if i in rows], absent


def padded_masks(samples: Sequence[Sample], size: Sequence[int], device: torch.device) -> Tensor:
    """Returns (T, *size) bool, each mask in the upper left corner as its image is in the batch."""
    masks = torch.zeros((len(samples), *size), dtype=torch.bool, device=device)
    for row, sample in zip(masks, samples):
        height, width = sample.mask.shape
        row[:height, :width] = sample.mask.to(device, non_blocking=True)
    return masks
