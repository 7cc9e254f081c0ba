"""The evaluator of referring segmentation; what it counts stands in referring_scores.py."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from segplugins.evaluation.gallery import Gallery, of_masks
from segplugins.evaluation.referring_scores import (
    GeneralisedCounts,
    generalised_counts,
    generalised_scores,
    intersection_and_union,
    referring_scores,
    sample_iou,
)
from segplugins.evaluation.samples import Samples, check_size, output_of
from segplugins.evaluation.targets import phrase_masks, phrase_targets, phrases, truth_size


class ReferringEvaluator(DatasetEvaluator):
    """Scores "phrase_masks" against the regions of the catalog; one sample = one phrase.

    Reads of an output: "phrase_masks" (T, H, W), one per phrase of the record, bool or scores of
    which those above `threshold` count; for `generalised` optionally "no_target" (T,) bool. Reads
    of a catalog record: what `phrases` and `phrase_targets` say, and optionally "source".

    Args:
        dataset_name: registered in DatasetCatalog.
        generalised: gRefCOCO's protocol instead of RefCOCO's.
        threshold: scores above it belong to the mask.
        no_target_below: without "no_target" a mask of fewer pixels says that there is no target,
            and counts as empty; 0 = only an empty one does.
        resolution: "image" scores at the size of the truth, which the masks must have; "network" at
            the size of the masks, to which the truth is brought (nearest pixel), as LAVT does.
        gallery: keeps the best and the worst pictures; None = no pictures.
        distributed: gather over all processes.

    Raises:
        ValueError: unknown resolution; later, a prediction that cannot be scored.
    """

    reads = frozenset({"phrase_masks"})

    def __init__(
        self,
        dataset_name: str,
        *,
        generalised: bool = False,
        threshold: float = 0.5,
        no_target_below: int = 50,
        resolution: str = "image",
        gallery: Optional[Gallery] = None,
        distributed: bool = True,
    ):
        if resolution not in ("image", "network"):
            raise ValueError(f"resolution must be 'image' or 'network', got '{resolution}'")
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        self.gallery = gallery
        self._generalised = generalised
        self._threshold = threshold
        self._no_target_below = no_target_below
        self._resolution = resolution
        self.sample_scores: List[float] = []

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Counts the pixels of each phrase; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            texts = phrases(record, known)
            size = truth_size(known, record)
            masks, absent = phrase_targets(known, texts, size)
            predicted = self._predicted(known, output, texts, masks.shape[1:])
            target = torch.from_numpy(masks).to(predicted.device)
            if predicted.shape != target.shape:
                target = F.interpolate(
                    target[None].float(), predicted.shape[1:], mode="nearest-exact"
                )[0].bool()
            counts = intersection_and_union(predicted, target)
            said = self._said_absent(known, output, predicted, len(texts))
            row = np.column_stack([counts.cpu(), absent, said])
            self._samples.add(record, row)
            shown = of_masks(predicted, target)
            size = target.shape[1:]
            self._samples.show(known, self._mean(row), "IoU {}", texts, size, shown)

    def _predicted(
        self, known: dict, output: Mapping, texts: Sequence[str], size: Sequence[int]
    ) -> Tensor:
        scored_at = tuple(size) if self._resolution == "image" else None
        masks = phrase_masks(known, output, texts, scored_at)
        masks = masks if masks.dtype == torch.bool else masks > self._threshold
        if self._generalised and "no_target" not in output:
            area = torch.count_nonzero(masks.flatten(1), dim=1)
            masks = masks & (area >= max(self._no_target_below, 1))[:, None, None]
        return masks

    def _said_absent(
        self, known: dict, output: Mapping, predicted: Tensor, count: int
    ) -> np.ndarray:
        if not self._generalised or "no_target" not in output:
            return (~predicted.flatten(1).any(dim=1)).cpu().numpy()
        said = torch.as_tensor(output_of(known, output, "no_target"))
        check_size(known, "no_target", said.shape, (count,))
        return said.bool().cpu().numpy()

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"referring": scores in percent}; {} on all processes but the first.

        With several sources, "<score>-<source>" beside the scores of all. `sample_scores` then
        holds the mean iou of each record in percent, in the order of the data set.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        self.sample_scores = [self._mean(row) for row in rows]
        sources = [known.get("source") for known in self._samples.records]
        scores = self._score(rows)
        if len(set(sources)) > 1:
            for source in dict.fromkeys(sources):
                mine = [row for row, its in zip(rows, sources) if its == source]
                of = {f"{name}-{source}": value for name, value in self._score(mine).items()}
                scores.update(of)
        return {"referring": scores}

    def _score(self, rows: Sequence[np.ndarray]) -> Dict[str, float]:
        counts = np.concatenate([np.zeros((0, 4), np.int64), *rows])
        if not self._generalised:
            return referring_scores(counts[:, :2])
        return generalised_scores(_cases(counts))

    def _mean(self, row: np.ndarray) -> float:
        if self._generalised:
            iou: Any = [case.iou for case in _cases(row)]
        else:
            iou = sample_iou(row[:, :2])
        return 100 * float(np.mean(iou)) if len(iou) else float("nan")


def _cases(counts: np.ndarray) -> List[GeneralisedCounts]:
    """(N, 4) I, U, truly absent, said absent -> one case each."""
    return [
        generalised_counts(inter, union, truly_absent=bool(absent), said_absent=bool(said))
        for inter, union, absent, said in counts.tolist()
    ]
