"""Referring segmentation: one phrase, one mask; generalised: several targets, or none.

p the predicted mask, g the true one, I = |p & g|, U = |p | g| in pixels. Protocols of LAVT (single
targets) and ReLA (generalised, gRefCOCO); oIoU is also called cIoU or overall IoU, mIoU gIoU.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from segplugins.evaluation.samples import Samples, check_size, output_of
from segplugins.evaluation.targets import phrase_masks, phrase_targets, phrases, truth_size

PRECISION_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
GENERALISED_PRECISION_AT = (0.7, 0.8, 0.9)


def intersection_and_union(prediction: Tensor, target: Tensor) -> Tensor:
    """Counts pixels, on the device of the masks.

    Args:
        prediction: (N, H, W) bool.
        target: (N, H, W) bool.

    Returns:
        (N, 2) int64: I and U.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape"
        )
    both = torch.count_nonzero((prediction & target).flatten(1), dim=1)
    either = torch.count_nonzero((prediction | target).flatten(1), dim=1)
    return torch.stack([both, either], dim=1)


def _divide(part: float, whole: float) -> float:
    """part / whole, NaN where there is nothing to divide by."""
    return float(part) / float(whole) if whole else float("nan")


def sample_iou(counts: np.ndarray) -> np.ndarray:
    """Returns I / U per sample, 0 where U = 0.

    Args:
        counts: (N, 2) int64, I and U.
    """
    inter, union = np.asarray(counts, dtype=np.float64).reshape(-1, 2).T
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def referring_scores(
    counts: np.ndarray, precision_at: Sequence[float] = PRECISION_AT
) -> Dict[str, float]:
    """Scores single-target expressions as LAVT does.

    Args:
        counts: (N, 2) int64, I and U of each expression.
        precision_at: X of Precision@X.

    Returns:
        Percent: "oIoU" = sum I / sum U, "mIoU" = mean I / U, "Pr@X" = share with I / U >= X. NaN
        without a sample.
    """
    counts = np.asarray(counts, dtype=np.int64).reshape(-1, 2)
    iou = sample_iou(counts)
    inter, union = counts.sum(axis=0)
    # Nothing marked and nothing there in any sample: a union of 0 is a score of 0, as per sample.
    overall = _divide(inter, union) if union else (0.0 if len(iou) else float("nan"))
    scores = {"oIoU": 100 * overall, "mIoU": 100 * _divide(iou.sum(), len(iou))}
    for at in precision_at:
        scores[f"Pr@{at}"] = 100 * _divide((iou >= at).sum(), len(iou))
    return scores


class GeneralisedCounts(NamedTuple):
    """What gRefCOCO's protocol keeps of a sample."""

    inter: int
    union: int
    iou: float
    truly_absent: bool
    said_absent: bool


def generalised_counts(
    inter: int, union: int, *, truly_absent: bool, said_absent: bool
) -> GeneralisedCounts:
    """Applies ReLA's table of the four cases.

    No target, and said so: iou 1, the mask does not count. No target, not said: iou 0, U counts
    what was marked. A target, but said to have none: iou 0, I = 0, U of the raw mask. A target,
    and said to have one: the ordinary I, U, I / U.

    Args:
        inter: I of the raw mask.
        union: U of the raw mask.
        truly_absent: the phrase has no target.
        said_absent: the model says that it has none.
    """
    if truly_absent:
        kept = (0, 0, 1.0) if said_absent else (0, union, 0.0)
    elif said_absent:
        kept = (0, union, 0.0)
    else:
        kept = (inter, union, inter / union if union else 0.0)
    return GeneralisedCounts(*kept, truly_absent, said_absent)


def generalised_scores(
    samples: Sequence[GeneralisedCounts],
    precision_at: Sequence[float] = GENERALISED_PRECISION_AT,
) -> Dict[str, float]:
    """Scores expressions with one, several or no targets as ReLA does.

    Args:
        samples: see `generalised_counts`.
        precision_at: X of Pr@X, among the samples with a target.

    Returns:
        Percent: "gIoU" (mean iou), "cIoU" (sum I / sum U), "N_acc" (share of the no-target samples
        that were recognised), "T_acc" (share of the others that were not taken for one), "Pr@X".
        As in the reference, a set without any no-target sample has N_acc = T_acc = 0. Where the
        reference divides by zero: NaN.
    """
    absent = np.array([s.truly_absent for s in samples], dtype=bool)
    said = np.array([s.said_absent for s in samples], dtype=bool)
    iou = np.array([s.iou for s in samples], dtype=np.float64)
    inter, union = sum(s.inter for s in samples), sum(s.union for s in samples)
    targeted = np.count_nonzero(~absent)
    scores = {"gIoU": _divide(iou.sum(), len(samples)), "cIoU": _divide(inter, union)}
    if len(samples) and not absent.any():
        scores.update(N_acc=0.0, T_acc=0.0)
    else:
        scores["N_acc"] = _divide((absent & said).sum(), absent.sum())
        scores["T_acc"] = _divide((~absent & ~said).sum(), targeted)
    for at in precision_at:
        scores[f"Pr@{at}"] = _divide((iou[~absent] >= at).sum(), targeted)
    return {name: 100 * score for name, score in scores.items()}


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
        distributed: gather over all processes.

    Raises:
        ValueError: unknown resolution; later, a prediction that cannot be scored.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        generalised: bool = False,
        threshold: float = 0.5,
        no_target_below: int = 50,
        resolution: str = "image",
        distributed: bool = True,
    ):
        if resolution not in ("image", "network"):
            raise ValueError(f"resolution must be 'image' or 'network', got '{resolution}'")
        self._samples = Samples(dataset_name, distributed=distributed)
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
            self._samples.add(record, np.column_stack([counts.cpu(), absent, said]))

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


def strict_precision(
    counts: np.ndarray, thresholds: Optional[Sequence[float]] = None
) -> Dict[str, float]:
    """CRIS's variant, for comparison with its tables only.

    iou' = I / (U + 1e-6) must be strictly greater than the float32 threshold, so that an iou of
    exactly X counts for LAVT and not here.

    Args:
        counts: (N, 2) int64, I and U.
        thresholds: X; None = 0.5 to 0.9.

    Returns:
        Percent: "mIoU", "Pr@X".
    """
    inter, union = np.asarray(counts, dtype=np.float64).reshape(-1, 2).T
    iou = inter / (union + 1e-6)
    scores = {"mIoU": 100 * _divide(iou.sum(), len(iou))}
    for at in thresholds or PRECISION_AT:
        above = iou > float(np.float32(at))
        scores[f"Pr@{at}"] = 100 * _divide(above.sum(), len(iou))
    return scores
