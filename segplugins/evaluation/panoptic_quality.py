"""Panoptic quality by the rules of panopticapi, which no package index has.

K categories, H W pixels; id 0 in a map of segments is void. Unlike in panopticapi the area of a
true segment is counted from its map: what a file says of it is not read.
"""

from typing import Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from segplugins.evaluation.label_maps import area_counts
from segplugins.evaluation.panoptic_segments import (
    Segments,
    check_ids,
    read_segments,
    table_of,
)

QUALITIES = ("PQ", "SQ", "RQ")


def panoptic_counts(
    prediction: np.ndarray,
    predicted_segments: Sequence[Mapping],
    truth: np.ndarray,
    true_segments: Sequence[Mapping],
    num_categories: int,
) -> np.ndarray:
    """Matches the segments of one image.

    Args:
        prediction: (H, W) segment ids, 0 = void.
        predicted_segments: "id" and "category_id" of each.
        truth: (H, W) segment ids, 0 = void.
        true_segments: "id", "category_id" and "iscrowd" of each.
        num_categories: K.

    Returns:
        (n, 5) float64, one row for each category that occurs: category, sum of the IoU of its
        matches, true positives, false positives, false negatives.

    Raises:
        ValueError: the maps differ in shape, or a map and its list differ, see
            `panoptic_segments`.

    Example:
        >>> truth, prediction = np.array([[1, 1, 1, 2]]), np.array([[1, 1, 2, 2]])
        >>> segments = [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 1}]
        >>> # Segment 1: 2 of 3 pixels, a match. Segment 2: 1 of 2, not above half.
        >>> panoptic_counts(prediction, segments, truth, segments, 2).round(3).tolist()
        [[0.0, 0.667, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 1.0]]
    """
    return count_segments(
        *overlaps(prediction, predicted_segments, truth, true_segments, num_categories),
        num_categories,
    )


def overlaps(
    prediction: np.ndarray,
    predicted_segments: Sequence[Mapping],
    truth: np.ndarray,
    true_segments: Sequence[Mapping],
    num_categories: int,
) -> Tuple[np.ndarray, Segments, Segments]:
    """Returns the pixels that the P predicted and T true segments share, and both lists, checked.

    Args, Raises: see `panoptic_counts`.

    Returns:
        (P + 1, T + 1) int64, row and column 0 = void; predicted; true segments.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    predicted = read_segments(predicted_segments, num_categories, "predicted")
    true = read_segments(true_segments, num_categories, "true")
    cells = area_counts(prediction, truth)
    for ids, segments, owner in ((cells[0], predicted, "predicted"), (cells[1], true, "true")):
        check_ids(ids, segments, owner)
    return table_of(cells, predicted, true), predicted, true


def count_segments(
    table: np.ndarray, predicted: Segments, true: Segments, num_categories: int
) -> np.ndarray:
    """Returns `panoptic_counts` from what `overlaps` returns."""
    predicted_area, true_area = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
    void, shared = table[1:, 0], table[1:, 1:]
    union = (predicted_area - void)[:, None] + true_area - shared
    iou = shared / np.maximum(union, 1)
    same = (predicted.categories[:, None] == true.categories) & ~true.is_crowd
    matches = same & (iou > 0.5)  # strictly: so no segment can have two matches
    # A crowd excuses what lies in it; of several of a category the last, as panopticapi does.
    crowd_column = np.zeros(num_categories, np.int64)
    crowd_column[true.categories[true.is_crowd]] = np.flatnonzero(true.is_crowd) + 1
    crowd = crowd_column[predicted.categories]
    in_crowd = np.where(crowd > 0, table[np.arange(1, len(table)), crowd], 0)
    outside = (void + in_crowd) / np.maximum(predicted_area, 1) > 0.5
    false = ~matches.any(axis=1) & ~outside
    missed = ~matches.any(axis=0) & ~true.is_crowd
    rows, columns = np.nonzero(matches)
    counts = np.stack(
        [
            np.bincount(predicted.categories[rows], iou[rows, columns], num_categories),
            np.bincount(predicted.categories[rows], minlength=num_categories),
            np.bincount(predicted.categories[false], minlength=num_categories),
            np.bincount(true.categories[missed], minlength=num_categories),
        ],
        axis=1,
    ).astype(np.float64)  # whole numbers where nothing matches
    occurring = np.flatnonzero(counts[:, 1:].any(axis=1))
    return np.column_stack([occurring, counts[occurring]])


def panoptic_quality(counts: np.ndarray, among: Optional[np.ndarray] = None) -> Dict[str, float]:
    """Turns counts into scores.

    Args:
        counts: (K, 4): sum of IoU, true positives, false positives, false negatives.
        among: (K,) bool, the categories to average over; None = all.

    Returns:
        Percent: PQ, SQ, RQ, means over the categories with at least one count. NaN where there is
        none (panopticapi divides by zero).
    """
    iou, tp, fp, fn = counts.T
    total = tp + (fp + fn) / 2
    chosen = total > 0 if among is None else (total > 0) & among
    if not chosen.any():
        return dict.fromkeys(QUALITIES, float("nan"))
    iou, tp, total = iou[chosen], tp[chosen], total[chosen]
    sq = np.divide(iou, tp, out=np.zeros_like(iou), where=tp > 0)
    scores = {"PQ": iou / total, "SQ": sq, "RQ": tp / total}
    return {name: 100 * float(values.mean()) for name, values in scores.items()}


def grouped_quality(counts: np.ndarray, is_thing: np.ndarray) -> Dict[str, float]:
    """Returns PQ, SQ, RQ of all categories, then of things ("PQ_th") and of stuff ("PQ_st").

    Args:
        counts: (K, 4), see `panoptic_quality`.
        is_thing: (K,) bool.
    """
    scores = dict(panoptic_quality(counts))
    for suffix, group in (("th", is_thing), ("st", ~is_thing)):
        quality = panoptic_quality(counts, group)
        scores.update({f"{name}_{suffix}": value for name, value in quality.items()})
    return scores


def summed(rows: Sequence[np.ndarray], num_categories: int) -> np.ndarray:
    """Adds up what `panoptic_counts` returns for several images.

    Args:
        rows: (n, 5) each.
        num_categories: K.

    Returns:
        (K, 4): sum of IoU, true positives, false positives, false negatives.
    """
    counts = np.zeros((num_categories, 4))
    for row in rows:
        counts[row[:, 0].astype(np.int64)] += row[:, 1:]
    return counts
