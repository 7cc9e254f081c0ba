"""Average precision as COCO and LVIS define it, from the matches of all images and classes.

K classes, T = 10 IoU thresholds, A = 4 ranges of area, R = 101 recall points; N detections of all
images, n of them near a true instance.
"""

from typing import Dict, Iterable, NamedTuple, Sequence, Tuple

import numpy as np

from segplugins.evaluation.detections import ImageMatches, uncounted_areas
from segplugins.evaluation.instance_truth import TrueImage
from segplugins.evaluation.matching import AREAS, IOU_THRESHOLDS, unpacked

RECALLS = np.linspace(0.0, 1.0, 101)


class Curves(NamedTuple):
    """Precision and recall of all classes; NaN where a class has no true instance that counts."""

    precision: np.ndarray  # (K, A, T, R): made falling, read at the recall points
    recall: np.ndarray  # (K, A, T): of all detections
    recall_at: Dict[int, np.ndarray]  # most detections per image -> (K, T), any area


def count_positives(
    images: Iterable[TrueImage], num_classes: int, *, one_class: bool = False
) -> np.ndarray:
    """Returns how many true instances of each class count in each range of area: (K, A) int64.

    Args:
        images: the truth.
        num_classes: K.
        one_class: all classes count as one; K is then 1.
    """
    positives = np.zeros((num_classes, len(AREAS)), np.int64)
    for image in images:
        uncounted = uncounted_areas(image)
        if len(uncounted):
            counted = 1 - np.unpackbits(
                uncounted[:, None], axis=1, count=len(AREAS), bitorder="little"
            ).astype(np.int64)
            classes = [0 if one_class else i.category for i in image.instances]
            np.add.at(positives, classes, counted)
    return positives


class _Ranked(NamedTuple):
    """The detections of all images by class and falling score."""

    ends: np.ndarray  # (K + 1,): where the detections of each class begin
    beyond: np.ndarray  # (N,) uint8
    near: np.ndarray  # (n,) rows of those near a true instance, ascending
    near_ends: np.ndarray  # (K + 1,): where those of each class begin
    ranks: np.ndarray  # (n,)
    right: np.ndarray  # (n,) uint64
    neither: np.ndarray  # (n,) uint64


def _ranked(images: Sequence[ImageMatches], num_classes: int) -> _Ranked:
    classes = np.concatenate([image.classes for image in images])
    scores = np.concatenate([image.scores for image in images])
    sizes = [len(image.classes) for image in images]
    starts = np.repeat(np.cumsum([0, *sizes[:-1]]), [len(image.near) for image in images])
    # Stable: equal scores keep the order of the images.
    order = np.lexsort((-scores, classes))
    ends = np.searchsorted(classes[order], np.arange(num_classes + 1))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    near = place[np.concatenate([image.near for image in images]) + starts]
    by_place = np.argsort(near)
    beyond = np.concatenate([image.beyond for image in images])[order]
    columns = (
        np.concatenate([getattr(image, name) for image in images])[by_place]
        for name in ("ranks", "right", "neither")
    )
    near = near[by_place]
    return _Ranked(ends, beyond, near, np.searchsorted(near, ends), *columns)


def rank_detections(
    images: Sequence[ImageMatches], positives: np.ndarray, *, recall_at: Sequence[int] = (1, 10)
) -> Curves:
    """Ranks the detections of each class over all images.

    Args:
        images: in a fixed order: detections of equal score keep it.
        positives: (K, A), see `count_positives`.
        recall_at: smaller numbers of detections per image for which the recall is wanted too.
    """
    num_classes = len(positives)
    shape = num_classes, len(AREAS), len(IOU_THRESHOLDS)
    precision, recall = np.full((*shape, len(RECALLS)), np.nan), np.full(shape, np.nan)
    limited = {limit: np.full((num_classes, shape[2]), np.nan) for limit in recall_at}
    if not images:
        return Curves(precision, recall, limited)
    ranked = _ranked(images, num_classes)
    for label in np.flatnonzero(positives.any(axis=1)):
        near_rows = slice(ranked.near_ends[label], ranked.near_ends[label + 1])
        right, neither = unpacked(ranked.right[near_rows]), unpacked(ranked.neither[near_rows])
        wrong_before = _wrong_before(ranked, label, neither)
        precision[label], recall[label] = _curve(right, wrong_before, positives[label])
        if positives[label, 0]:
            for limit, values in limited.items():
                hits = right[0][:, ranked.ranks[near_rows] < limit].sum(axis=1)
                values[label] = hits / positives[label, 0]
    return Curves(precision, recall, limited)


def _wrong_before(ranked: _Ranked, label: int, neither: np.ndarray) -> np.ndarray:
    """Returns, at each near detection of a class, those up to it that count, but right ones too.

    Args:
        ranked: all detections.
        label: the class.
        neither: (A, T, n) bool of its near detections.

    Returns:
        (A, T, n) int64; less the right ones, they are the wrong ones.
    """
    start, end = ranked.ends[label], ranked.ends[label + 1]
    rows = ranked.near[ranked.near_ends[label] : ranked.near_ends[label + 1]] - start
    beyond = ranked.beyond[start:end].copy()
    beyond[rows] = 0  # near ones say it for each threshold
    flags = np.unpackbits(beyond[:, None], axis=1, count=len(AREAS), bitorder="little")
    out = np.cumsum(flags, axis=0, dtype=np.int64)[rows].T
    return (rows + 1 - out)[:, None] - np.cumsum(neither, axis=2)


def _curve(
    right: np.ndarray, counted: np.ndarray, positives: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Reads the curves of a class.

    Only near detections are looked at: between them precision and recall do not rise.

    Args:
        right: (A, T, n) bool by falling score.
        counted: (A, T, n) right and wrong detections up to each.
        positives: (A,).

    Returns:
        Precision (A, T, R) and recall (A, T).
    """
    rows, count = len(AREAS) * len(IOU_THRESHOLDS), right.shape[2]
    precision = np.zeros((rows, len(RECALLS)))
    recall = np.zeros(right.shape[:2])
    if count:
        hits = np.cumsum(right, axis=2)
        heights = hits / (counted + np.spacing(1))
        heights = np.maximum.accumulate(heights[:, :, ::-1], axis=2)[:, :, ::-1]
        total = np.maximum(positives, 1)
        recall = hits[:, :, -1] / total[:, None]
        # Recall point r is reached at the hit number n with n / total >= r.
        needed = [(np.arange(t + 1) / t).searchsorted(RECALLS) for t in total.tolist()]
        needed = np.repeat(needed, len(IOU_THRESHOLDS), axis=0)
        row, place = np.nonzero(right.reshape(rows, count))
        hit_counts = np.bincount(row, minlength=rows)
        first = np.cumsum(hit_counts) - hit_counts
        reached = needed <= hit_counts[:, None]
        at = np.append(place, 0)[np.where(reached, first[:, None] + needed - 1, 0)]
        at[needed == 0] = 0
        heights = heights.reshape(rows, count)[np.arange(rows)[:, None], at]
        precision[reached] = heights[reached]
    precision = precision.reshape(*right.shape[:2], len(RECALLS))
    precision[positives == 0], recall[positives == 0] = np.nan, np.nan
    return precision, recall


def percent(values: np.ndarray) -> float:
    """Returns the mean over all entries that are not NaN, in percent; NaN where all are."""
    values = values[~np.isnan(values)]
    return 100 * float(values.mean()) if values.size else float("nan")


def coco_scores(curves: Curves, limit: int = 100) -> Dict[str, float]:
    """Returns COCO's numbers in percent, under detectron2's names.

    Args:
        curves: of K classes.
        limit: detections per class and image that they are of.

    Returns:
        AP AP50 AP75 APs APm APl, and AR at most detections, for instance AR1 AR10 AR100 ARs ARm
        ARl.
    """
    scores = _precisions(curves)
    for fewer, values in curves.recall_at.items():
        scores[f"AR{fewer}"] = percent(values)
    scores[f"AR{limit}"] = percent(curves.recall[:, 0])
    scores.update({f"AR{AREAS[a][0]}": percent(curves.recall[:, a]) for a in (1, 2, 3)})
    return scores


def lvis_scores(curves: Curves, frequency: Sequence[str], limit: int = 300) -> Dict[str, float]:
    """Returns LVIS's numbers in percent.

    Args:
        curves: of K classes.
        frequency: "r", "c" or "f" of each class.
        limit: detections per image that they are of.

    Returns:
        AP AP50 AP75 APs APm APl, APr APc APf, AR@300 ARs@300 ARm@300 ARl@300.
    """
    scores = _precisions(curves)
    groups = np.array(list(frequency))
    for group in "rcf":
        scores[f"AP{group}"] = percent(curves.precision[groups == group, 0])
    scores[f"AR@{limit}"] = percent(curves.recall[:, 0])
    scores.update({f"AR{AREAS[a][0]}@{limit}": percent(curves.recall[:, a]) for a in (1, 2, 3)})
    return scores


def _precisions(curves: Curves) -> Dict[str, float]:
    precision = curves.precision
    scores = {"AP": percent(precision[:, 0])}
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        at = int(np.argmin(np.abs(IOU_THRESHOLDS - threshold)))
        scores[name] = percent(precision[:, 0, at])
    scores.update({f"AP{AREAS[a][0]}": percent(precision[:, a]) for a in (1, 2, 3)})
    return scores
