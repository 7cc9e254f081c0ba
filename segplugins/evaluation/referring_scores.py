"""Referring segmentation: one phrase, one mask; generalised: several targets, or none.

p the predicted mask, g the true one, I = |p & g|, U = |p | g| in pixels. Protocols of LAVT (single
targets) and ReLA (generalised, gRefCOCO); oIoU is also called cIoU or overall IoU, mIoU gIoU.
"""

from typing import Dict, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

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

    Example:
        >>> scores = referring_scores(np.array([[1, 2], [9, 10]]), precision_at=[0.9])
        >>> {name: round(value, 1) for name, value in scores.items()}
        {'oIoU': 83.3, 'mIoU': 70.0, 'Pr@0.9': 50.0}
    """
    return referring_metrics(referring_sums(counts, precision_at).sum(axis=0), precision_at)


def referring_sums(counts: np.ndarray, precision_at: Sequence[float] = PRECISION_AT) -> np.ndarray:
    """Returns what `referring_metrics` needs the sums of: (N, 4 + X) 1, I, U, I / U, hit per X."""
    counts = np.asarray(counts, dtype=np.int64).reshape(-1, 2)
    iou = sample_iou(counts)
    hits = [iou >= at for at in precision_at]
    return np.column_stack([np.ones(len(iou)), counts, iou, *hits])


def referring_metrics(
    sums: np.ndarray, precision_at: Sequence[float] = PRECISION_AT
) -> Dict[str, float]:
    """Returns `referring_scores` from the sums (4 + X,) of `referring_sums`."""
    count, inter, union, iou, *hits = sums.tolist()
    # Nothing marked and nothing there in any sample: a union of 0 is a score of 0, as per sample.
    overall = _divide(inter, union) if union else (0.0 if count else float("nan"))
    scores = {"oIoU": 100 * overall, "mIoU": 100 * _divide(iou, count)}
    for at, hit in zip(precision_at, hits):
        scores[f"Pr@{at}"] = 100 * _divide(hit, count)
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

    Example:
        >>> right = generalised_counts(0, 0, truly_absent=True, said_absent=True)
        >>> half = generalised_counts(5, 10, truly_absent=False, said_absent=False)
        >>> scores = generalised_scores([right, half])
        >>> {name: scores[name] for name in ("gIoU", "cIoU", "N_acc")}
        {'gIoU': 75.0, 'cIoU': 50.0, 'N_acc': 100.0}
    """
    return generalised_metrics(generalised_sums(samples, precision_at).sum(axis=0), precision_at)


def generalised_sums(
    samples: Sequence[GeneralisedCounts],
    precision_at: Sequence[float] = GENERALISED_PRECISION_AT,
) -> np.ndarray:
    """Returns what `generalised_metrics` needs the sums of.

    Returns:
        (N, 7 + X): 1, I, U, iou, truly absent, recognised as absent, a target not taken for
        absent, and per X the targets with an iou of at least X.
    """
    rows = [
        (
            1,
            sample.inter,
            sample.union,
            sample.iou,
            sample.truly_absent,
            sample.truly_absent and sample.said_absent,
            not sample.truly_absent and not sample.said_absent,
            *(not sample.truly_absent and sample.iou >= at for at in precision_at),
        )
        for sample in samples
    ]
    return np.array(rows, np.float64).reshape(-1, 7 + len(precision_at))


def generalised_metrics(
    sums: np.ndarray, precision_at: Sequence[float] = GENERALISED_PRECISION_AT
) -> Dict[str, float]:
    """Returns `generalised_scores` from the sums (7 + X,) of `generalised_sums`."""
    count, inter, union, iou, absent, recognised, kept, *hits = sums.tolist()
    targeted = count - absent
    scores = {"gIoU": _divide(iou, count), "cIoU": _divide(inter, union)}
    if count and not absent:
        scores.update(N_acc=0.0, T_acc=0.0)
    else:
        scores.update(N_acc=_divide(recognised, absent), T_acc=_divide(kept, targeted))
    for at, hit in zip(precision_at, hits):
        scores[f"Pr@{at}"] = _divide(hit, targeted)
    return {name: 100 * score for name, score in scores.items()}


def strict_precision(
    counts: np.ndarray, thresholds: Optional[Sequence[float]] = None
) -> Dict[str, float]:
    """Returns CRIS's variant of the scores, for comparison with its tables only.

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
