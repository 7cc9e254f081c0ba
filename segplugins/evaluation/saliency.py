"""Salient objects: MAE, F, E, S and weighted F of grey maps, as PySODMetrics defines them.

v a grey value 0..255 of the prediction, g the true mask (bool), H W pixels. A map has 256 different
values at most, so that all measures but the two in structure.py follow from two histograms of v:
over the object and over the background. Scores are fractions, as that field prints them.
"""

from typing import Dict, NamedTuple, Sequence, Tuple

import numpy as np
import torch

from segplugins.evaluation.structure import Counts, structure_measure, weighted_f

BETA_SQUARED = 0.3
EPS = float(np.spacing(1))
LEVELS = 256


def normalised_levels(grey: np.ndarray) -> np.ndarray:
    """Returns q of each grey value, (256,) float64.

    q = v / 255, then stretched to 0-1 between the lowest and the highest value of the map; a
    constant map stays as it is.
    """
    levels = np.arange(LEVELS) / 255
    low, high = levels[grey.min()], levels[grey.max()]
    return levels if low == high else (levels - low) / (high - low)


def histograms(grey: np.ndarray, target: np.ndarray) -> Counts:
    """Counts grey values (H, W) uint8 over a target (H, W) bool and around it."""
    codes = (grey + target * np.int16(LEVELS)).reshape(-1)
    counts = torch.bincount(torch.from_numpy(codes), minlength=2 * LEVELS).numpy()
    return Counts(normalised_levels(grey), counts[LEVELS:], counts[:LEVELS])


def mean_absolute_error(counts: Counts) -> float:
    """Returns the mean of |q - g| over all pixels."""
    total = (counts.on * (1 - counts.levels)).sum() + (counts.off * counts.levels).sum()
    return float(total / (counts.on.sum() + counts.off.sum()))


def threshold_counts(counts: Counts) -> Tuple[np.ndarray, np.ndarray]:
    """Counts the pixels at or above each of 256 thresholds, from 255 down to 0.

    A pixel's level is floor(255 q): the reference truncates.

    Returns:
        true positives and false positives, (256,) int64 each.
    """
    level = (counts.levels.clip(0, 1) * 255).astype(np.uint8)  # clip: values that the map lacks
    per_level = (np.bincount(level, n, LEVELS) for n in (counts.on, counts.off))
    tp, fp = (np.cumsum(pixels[::-1]).astype(np.int64) for pixels in per_level)
    return tp, fp


def f_measure(tp: np.ndarray, fp: np.ndarray, positives: int) -> np.ndarray:
    """Returns (1 + b) P R / (b P + R) with b = 0.3, 0 where no object pixel is marked.

    Args:
        tp: true positives, any shape.
        fp: false positives.
        positives: pixels of the object.
    """
    tp, fp = np.asarray(tp, np.float64), np.asarray(fp, np.float64)
    precision = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=tp > 0)
    recall = tp / max(positives, 1)
    whole = BETA_SQUARED * precision + recall
    part = (1 + BETA_SQUARED) * precision * recall
    return np.divide(part, whole, out=np.zeros_like(tp), where=tp > 0)


def e_measure(tp: np.ndarray, fp: np.ndarray, positives: int, size: int) -> np.ndarray:
    """Returns the enhanced alignment of binary maps with the target.

    With b the map, u = b - mean(b), v = g - mean(g), A = 2 u v / (u^2 + v^2): the sum of
    (A + 1)^2 / 4 over pixels, by size - 1 (so a perfect map scores a little above 1). Only four
    kinds of pixels exist. Empty target: share of pixels not marked; full: share marked.

    Args:
        tp: true positives, any shape.
        fp: false positives.
        positives: pixels of the object.
        size: pixels of the map.
    """
    tp, fp = np.asarray(tp, np.float64), np.asarray(fp, np.float64)
    marked = tp + fp
    if positives == 0:
        total = size - marked
    elif positives == size:
        total = marked
    else:
        mean_b, mean_g = marked / size, positives / size
        total = np.zeros_like(tp)
        kinds = (
            (1 - mean_b, 1 - mean_g, tp),
            (1 - mean_b, -mean_g, fp),
            (-mean_b, 1 - mean_g, positives - tp),
            (-mean_b, -mean_g, size - positives - fp),
        )
        for u, v, count in kinds:
            alignment = 2 * u * v / (u * u + v * v + EPS)
            total = total + (alignment + 1) ** 2 / 4 * count
    return total / (size - 1 + EPS)


class SaliencyScores(NamedTuple):
    """The measures of one image, fractions."""

    mae: float
    adaptive_f: float
    adaptive_e: float
    f_curve: np.ndarray  # (256,): threshold 255 first
    e_curve: np.ndarray  # (256,)
    binary: np.ndarray  # (5,): precision, recall, F, IoU, Dice at q > 0.5
    s: float
    weighted_f: float


BINARY = ("precision", "recall", "F", "IoU", "Dice")


def binary_scores(tp: int, fp: int, positives: int) -> np.ndarray:
    """Returns precision, recall, F(0.3), IoU and Dice of one binary map, x / 0 = 0."""
    scores = (
        tp / max(tp + fp, 1),
        tp / max(positives, 1),
        float(f_measure(tp, fp, positives)),
        tp / max(positives + fp, 1),
        2 * tp / max(positives + tp + fp, 1),
    )
    return np.array(scores)


def saliency_scores(grey: np.ndarray, target: np.ndarray) -> SaliencyScores:
    """Scores one map.

    Args:
        grey: (H, W) uint8.
        target: (H, W) bool.

    Raises:
        ValueError: they differ in size, or are empty.
    """
    if grey.shape != target.shape or grey.size == 0:
        raise ValueError(
            f"map {grey.shape} and target {target.shape}: expected one size, not empty"
        )
    counts = histograms(grey, target)
    positives, size = int(counts.on.sum()), grey.size
    tp, fp = threshold_counts(counts)
    mean = (counts.levels * (counts.on + counts.off)).sum() / size
    adaptive = counts.levels >= min(2 * mean, 1.0)
    adaptive_tp, adaptive_fp = counts.on[adaptive].sum(), counts.off[adaptive].sum()
    half = counts.levels > 0.5
    q = counts.levels[grey]
    return SaliencyScores(
        mae=mean_absolute_error(counts),
        adaptive_f=float(f_measure(adaptive_tp, adaptive_fp, positives)),
        adaptive_e=float(e_measure(adaptive_tp, adaptive_fp, positives, size)),
        f_curve=f_measure(tp, fp, positives),
        e_curve=e_measure(tp, fp, positives, size),
        binary=binary_scores(int(counts.on[half].sum()), int(counts.off[half].sum()), positives),
        s=structure_measure(q, target, counts),
        weighted_f=weighted_f(q, target),
    )


def dataset_scores(images: Sequence[SaliencyScores]) -> Dict[str, float]:
    """Averages over images; curves are averaged before their maximum and mean are taken.

    Returns:
        Fractions: "MAE", "maxF", "meanF", "adpF", "wF", "S", "maxE", "meanE", "adpE" and, at
        q > 0.5, "binary_precision", "binary_recall", "binary_F", "binary_IoU", "binary_Dice". NaN
        without an image.
    """
    return saliency_metrics(saliency_sums(images).sum(axis=0))


def saliency_sums(images: Sequence[SaliencyScores]) -> np.ndarray:
    """Returns what `saliency_metrics` needs the sums of: a 1 and all scores, one row an image."""
    rows = [
        np.concatenate(
            [
                [1.0, image.mae, image.adaptive_f, image.adaptive_e, image.s, image.weighted_f],
                image.binary,
                image.f_curve,
                image.e_curve,
            ]
        )
        for image in images
    ]
    return np.array(rows).reshape(-1, 6 + len(BINARY) + 2 * LEVELS)


def saliency_metrics(sums: np.ndarray) -> Dict[str, float]:
    """Returns `dataset_scores` from the sums of `saliency_sums`."""
    means = sums / sums[0] if sums[0] else np.full(sums.shape, np.nan)
    _, mae, adaptive_f, adaptive_e, s, weighted = means[:6]
    binary, curves = np.split(means[6:], [len(BINARY)])
    f_curve, e_curve = curves[:LEVELS], curves[LEVELS:]
    scores = {
        "MAE": mae,
        "maxF": f_curve.max(),
        "meanF": f_curve.mean(),
        "adpF": adaptive_f,
        "wF": weighted,
        "S": s,
        "maxE": e_curve.max(),
        "meanE": e_curve.mean(),
        "adpE": adaptive_e,
        **{f"binary_{name}": value for name, value in zip(BINARY, binary)},
    }
    return {name: float(value) for name, value in scores.items()}
