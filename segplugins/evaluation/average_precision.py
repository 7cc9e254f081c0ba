"""Average precision as COCO and LVIS define it, from detections of all images and classes.

N detections and G true instances of one image; K classes, T = 10 IoU thresholds, A = 4 ranges of
area, R = 101 recall points.
"""

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np
from pycocotools import mask as coco_mask

from segplugins.evaluation.matching import AREAS, IOU_THRESHOLDS, Pair, match, outside

RECALLS = np.linspace(0.0, 1.0, 101)
# Images whose detections are matched together.
_CHUNK = 256
_BITS = (1 << np.arange(len(IOU_THRESHOLDS))).astype(np.uint16)
_ALL_BITS = np.uint16(_BITS.sum())


class ImageDetections(NamedTuple):
    """What one image contributes. Shapes are RLE dicts, or (n, 4) boxes as x, y, width, height."""

    classes: np.ndarray  # (N,) int64
    scores: np.ndarray  # (N,) float64
    areas: np.ndarray  # (N,) float64, square pixels
    shapes: Sequence
    true_classes: np.ndarray  # (G,) int64
    true_areas: np.ndarray  # (G,) float64
    true_shapes: Sequence
    ignored: np.ndarray  # (G,) bool: never counted as missed
    crowd: np.ndarray  # (G,) bool: ignored too, and may match many detections
    lenient: Sequence[int] = ()  # classes whose unmatched detections are not counted as wrong


class Curves(NamedTuple):
    """Precision and recall of all classes; NaN where a class has no true instance that counts."""

    precision: np.ndarray  # (K, A, T, R): made falling, read at the recall points
    recall: np.ndarray  # (K, A, T): of all detections
    recall_at: Dict[int, np.ndarray]  # most detections per image -> (K, T), any area


class _Ranked:
    """Detections of all images, one entry each; the T results of an entry are the bits of a uint16.

    (Bools would take ten times the memory: LVIS has six million detections.)
    """

    def __init__(self, num_classes: int):
        self.positives = np.zeros((num_classes, len(AREAS)), np.int64)
        self.classes: List[np.ndarray] = []
        self.scores: List[np.ndarray] = []
        self.ranks: List[np.ndarray] = []
        self.matched: List[np.ndarray] = []
        self.disregarded: List[np.ndarray] = []

    def add(self, images: Sequence[ImageDetections], max_per_class: int) -> None:
        """Matches the detections of several images and keeps the results."""
        pairs, places = [], []
        for image in images:
            image, ranks = _sorted(image, max_per_class)
            self._count_positives(image)
            beyond = outside(image.areas) | np.isin(image.classes, list(image.lenient))
            entry = [np.zeros(beyond.shape, np.uint16), np.where(beyond, _ALL_BITS, np.uint16(0))]
            for of in np.intersect1d(image.classes, image.true_classes):
                mine, true = np.flatnonzero(image.classes == of), image.true_classes == of
                pairs.append(_pair(image, mine, np.flatnonzero(true)))
                places.append((entry, mine, beyond[:, mine]))
            self.classes.append(image.classes)
            self.scores.append(image.scores)
            self.ranks.append(ranks)
            self.matched.append(entry[0])
            self.disregarded.append(entry[1])
        for (entry, mine, beyond), (matched, on_ignored) in zip(places, match(pairs)):
            entry[0][:, mine] = _to_bits(matched)
            entry[1][:, mine] = _to_bits(on_ignored | (~matched & beyond[:, None]))

    def _count_positives(self, image: ImageDetections) -> None:
        counted = ~(image.ignored | image.crowd | outside(image.true_areas))
        np.add.at(self.positives, image.true_classes, counted.T.astype(np.int64))


def _sorted(image: ImageDetections, max_per_class: int) -> Tuple[ImageDetections, np.ndarray]:
    """Returns the image with its best detections by class and falling score, and their ranks."""
    order = np.lexsort((-image.scores, image.classes))  # stable: equal scores keep their order
    classes = image.classes[order]
    first = np.searchsorted(classes, classes, side="left")
    ranks = np.arange(len(classes)) - first
    order, ranks = order[ranks < max_per_class], ranks[ranks < max_per_class]
    shapes = image.shapes
    kept = image._replace(
        classes=image.classes[order],
        scores=image.scores[order],
        areas=image.areas[order],
        shapes=shapes[order] if isinstance(shapes, np.ndarray) else [shapes[i] for i in order],
    )
    return kept, ranks


def _pair(image: ImageDetections, mine: np.ndarray, true: np.ndarray) -> Pair:
    def chosen(shapes: Sequence, rows: np.ndarray) -> Sequence:
        return shapes[rows] if isinstance(shapes, np.ndarray) else [shapes[i] for i in rows]

    crowd = image.crowd[true]
    ious = coco_mask.iou(
        chosen(image.shapes, mine), chosen(image.true_shapes, true), crowd.astype(int).tolist()
    )
    return Pair(ious, image.areas[mine], image.true_areas[true], image.ignored[true], crowd)


def _to_bits(results: np.ndarray) -> np.ndarray:
    """(A, T, N) bool -> (A, N) uint16."""
    return (results * _BITS[:, None]).sum(axis=1, dtype=np.uint16)


def _from_bits(bits: np.ndarray) -> np.ndarray:
    """(A, N) uint16 -> (A, T, N) bool."""
    return (bits[:, None] & _BITS[:, None]) != 0


def rank_detections(
    images: Iterable[ImageDetections],
    num_classes: int,
    *,
    max_per_class: int = 100,
    recall_at: Sequence[int] = (1, 10),
) -> Curves:
    """Matches all detections and ranks those of each class over all images.

    Args:
        images: in a fixed order: detections of equal score keep it. Read one after the other.
        num_classes: K.
        max_per_class: detections that count per image and class, the highest scores.
        recall_at: smaller limits for which the recall is wanted too.
    """
    ranked = _Ranked(num_classes)
    chunk: List[ImageDetections] = []
    for image in images:
        chunk.append(image)
        if len(chunk) == _CHUNK:
            ranked.add(chunk, max_per_class)
            chunk = []
    ranked.add(chunk, max_per_class)
    return _curves(ranked, num_classes, recall_at)


def _curves(ranked: _Ranked, num_classes: int, recall_at: Sequence[int]) -> Curves:
    shape = num_classes, len(AREAS), len(IOU_THRESHOLDS)
    precision, recall = np.full((*shape, len(RECALLS)), np.nan), np.full(shape, np.nan)
    limited = {limit: np.full((num_classes, shape[2]), np.nan) for limit in recall_at}
    if not ranked.classes:
        return Curves(precision, recall, limited)
    classes, scores = np.concatenate(ranked.classes), np.concatenate(ranked.scores)
    ranks = np.concatenate(ranked.ranks)
    matched = np.concatenate(ranked.matched, axis=1)
    disregarded = np.concatenate(ranked.disregarded, axis=1)
    order = np.lexsort((-scores, classes))  # stable: equal scores keep the order of the images
    ends = np.searchsorted(classes[order], np.arange(num_classes + 1))
    for of in np.flatnonzero(ranked.positives.any(axis=1)):
        mine = order[ends[of] : ends[of + 1]]
        hits, out = _from_bits(matched[:, mine]), _from_bits(disregarded[:, mine])
        positives = ranked.positives[of]
        precision[of], recall[of] = _curve(hits & ~out, ~hits & ~out, positives)
        if positives[0]:
            for limit, values in limited.items():
                counted = (hits & ~out)[0][:, ranks[mine] < limit]
                values[of] = counted.sum(axis=1) / positives[0]
    return Curves(precision, recall, limited)


def _curve(
    right: np.ndarray, wrong: np.ndarray, positives: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Right and wrong (A, T, N) bool by falling score -> precision (A, T, R) and recall (A, T)."""
    right = np.cumsum(right, axis=2, dtype=np.float64)
    wrong = np.cumsum(wrong, axis=2, dtype=np.float64)
    precision = np.zeros((*right.shape[:2], len(RECALLS)))
    recall = np.zeros(right.shape[:2])
    count = right.shape[2]
    if count:
        heights = right / (right + wrong + np.spacing(1))
        heights = np.maximum.accumulate(heights[:, :, ::-1], axis=2)[:, :, ::-1]
        recalls = right / np.maximum(positives, 1)[:, None, None]
        recall = recalls[:, :, -1].copy()
        for area, threshold in np.ndindex(recall.shape):
            at = np.searchsorted(recalls[area, threshold], RECALLS, side="left")
            reached = at < count
            precision[area, threshold, reached] = heights[area, threshold, at[reached]]
    precision[positives == 0], recall[positives == 0] = np.nan, np.nan
    return precision, recall


def percent(values: np.ndarray) -> float:
    """Returns the mean over all entries that are not NaN, in percent; NaN where all are."""
    values = values[~np.isnan(values)]
    return 100 * float(values.mean()) if values.size else float("nan")


def coco_scores(curves: Curves) -> Dict[str, float]:
    """Returns COCO's numbers in percent, under detectron2's names.

    AP AP50 AP75 APs APm APl, and AR at most detections, for instance AR1 AR10 AR100 ARs ARm ARl.
    """
    scores = _precisions(curves)
    for limit, values in curves.recall_at.items():
        scores[f"AR{limit}"] = percent(values)
    scores["AR100"] = percent(curves.recall[:, 0])
    scores.update({f"AR{AREAS[a][0]}": percent(curves.recall[:, a]) for a in (1, 2, 3)})
    return scores


def lvis_scores(curves: Curves, frequency: Sequence[str]) -> Dict[str, float]:
    """Returns LVIS's numbers in percent.

    Args:
        curves: of K classes.
        frequency: "r", "c" or "f" of each class.

    Returns:
        AP AP50 AP75 APs APm APl, APr APc APf, AR@300 ARs@300 ARm@300 ARl@300.
    """
    scores = _precisions(curves)
    groups = np.array(list(frequency))
    for group in "rcf":
        scores[f"AP{group}"] = percent(curves.precision[groups == group, 0])
    scores["AR@300"] = percent(curves.recall[:, 0])
    scores.update({f"AR{AREAS[a][0]}@300": percent(curves.recall[:, a]) for a in (1, 2, 3)})
    return scores


def _precisions(curves: Curves) -> Dict[str, float]:
    precision = curves.precision
    scores = {"AP": percent(precision[:, 0])}
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        at = int(np.argmin(np.abs(IOU_THRESHOLDS - threshold)))
        scores[name] = percent(precision[:, 0, at])
    scores.update({f"AP{AREAS[a][0]}": percent(precision[:, a]) for a in (1, 2, 3)})
    return scores
