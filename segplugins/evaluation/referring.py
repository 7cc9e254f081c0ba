"""The evaluator of referring segmentation; what it counts stands in referring_scores.py."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segplugins.evaluation.gallery import Gallery, thinned_masks
from segplugins.evaluation.image_statistics import ImageStatistics, dense_rows
from segplugins.evaluation.output_checks import check_size, tensor_of
from segplugins.evaluation.referring_scores import (
    GeneralisedCounts,
    generalised_counts,
    generalised_scores,
    generalised_sums,
    intersection_and_union,
    referring_scores,
    referring_sums,
    sample_iou,
)
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.targets import (
    binary_masks,
    check_phrase_truth,
    check_threshold,
    phrase_masks,
    phrase_targets,
    phrases,
    truth_size,
)


class ReferringEvaluator(SampleEvaluator):
    """Scores "phrase_masks" against the regions of the catalog; one sample = one phrase.

    Reads of an output: "phrase_masks" (T, H, W), one per phrase of the record, bool or scores 0-1
    of which those above `threshold` count; for `generalised` optionally "no_target" (T,) bool.
    Reads of a catalog record: what `phrases` and `phrase_targets` say, and optionally "source".

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

    Example:
        >>> truth = encode_mask(np.array([[True, True, True, False]]))
        >>> record = {"file_name": "a.jpg", "height": 1, "width": 4}
        >>> records = [{**record, "regions": [Region("the cat", mask=truth)]}]
        >>> DatasetCatalog.register("phrases", lambda: records)
        >>> evaluator = ReferringEvaluator("phrases")
        >>> evaluator.process(records, [{"phrase_masks": torch.tensor([[[0.9, 0.8, 0.2, 0.6]]])}])
        >>> scores = evaluator.evaluate()["referring"]  # 2 of 4 pixels
        >>> {name: scores[name] for name in ("oIoU", "mIoU", "Pr@0.5", "Pr@0.6")}
        {'oIoU': 50.0, 'mIoU': 50.0, 'Pr@0.5': 100.0, 'Pr@0.6': 0.0}
    """

    task = "referring"
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
        super().__init__(dataset_name, gallery=gallery, distributed=distributed)
        self._generalised = generalised
        self._threshold = check_threshold(threshold)
        self._no_target_below = no_target_below
        self._resolution = resolution

    def check_truth(self) -> None:
        """Compares all phrases with their truth and reads the masks of the first record."""
        check_phrase_truth(self._samples.records)

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> np.ndarray:
        texts = phrases(model_input, record)
        masks, absent = phrase_targets(record, texts, truth_size(record, model_input))
        predicted = self._predicted(record, output, texts, masks.shape[1:])
        target = torch.from_numpy(masks).to(predicted.device)
        if predicted.shape != target.shape:
            target = F.interpolate(target[None].float(), predicted.shape[1:], mode="nearest-exact")[
                0
            ].bool()
        counts = intersection_and_union(predicted, target)
        said_absent = self._said_absent(record, output, predicted, len(texts))
        row = np.column_stack([counts.cpu(), absent, said_absent])
        shown = thinned_masks(predicted, target)
        self._samples.show(record, self._mean(row), "IoU {}", texts, target.shape[1:], shown)
        return row

    def _predicted(
        self, record: dict, output: Mapping, texts: Sequence[str], size: Sequence[int]
    ) -> Tensor:
        scored_at = tuple(size) if self._resolution == "image" else None
        masks = phrase_masks(record, output, texts, scored_at)
        masks = binary_masks(record, masks, self._threshold)
        if self._generalised and "no_target" not in output:
            area = torch.count_nonzero(masks.flatten(1), dim=1)
            masks = masks & (area >= max(self._no_target_below, 1))[:, None, None]
        return masks

    def _said_absent(
        self, record: dict, output: Mapping, predicted: Tensor, count: int
    ) -> np.ndarray:
        if not self._generalised or "no_target" not in output:
            return (~predicted.flatten(1).any(dim=1)).cpu().numpy()
        said = tensor_of(record, output, "no_target")
        check_size(record, "no_target", said.shape, (count,))
        whole = said.dtype == torch.bool or not said.is_floating_point()
        if not whole or bool(((said != 0) & (said != 1)).any()):
            raise ValueError(
                f"{describe(record)}: no_target holds {said.dtype} values {said.tolist()!r:.60}, "
                "expected bool; compare probabilities or logits with a threshold first"
            )
        return said.bool().cpu().numpy()

    def _scores(self, rows: List[np.ndarray]) -> Dict[str, float]:
        """Returns the scores, and with several sources "<score>-<source>" beside them.

        `sample_scores` then holds the mean IoU of each record in percent.
        """
        self.sample_scores = [self._mean(row) for row in rows]
        sources = [record.get("source") for record in self._samples.records]
        scores = self._score(rows)
        if len(set(sources)) > 1:
            for source in dict.fromkeys(sources):
                of_source = [row for row, its in zip(rows, sources) if its == source]
                for name, value in self._score(of_source).items():
                    scores[f"{name}-{source}"] = value
        sums_of = generalised_sums if self._generalised else referring_sums
        sums = [
            sums_of(_cases(row) if self._generalised else row[:, :2]).sum(axis=0) for row in rows
        ]
        rule = "generalised_referring" if self._generalised else "referring"
        width = sums_of([] if self._generalised else np.zeros((0, 2))).shape[1]
        table = dense_rows(sums, width)
        self.image_statistics = ImageStatistics(self.task, rule, self._samples.names, table, {})
        return scores

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
    """Returns one case for each row (N, 4) of I, U, truly absent, said absent."""
    return [
        generalised_counts(inter, union, truly_absent=bool(absent), said_absent=bool(said))
        for inter, union, absent, said in counts.tolist()
    ]
