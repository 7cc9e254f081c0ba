"""Predicted instances of one image, and what their match with the truth leaves for ranking."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from segplugins.evaluation.instance_truth import TrueImage
from segplugins.evaluation.matching import AREAS, match, of_areas, outside
from segplugins.evaluation.overlap import Shapes, mask_areas, near_pairs

LVIS_LIMIT = 300  # detections per image, over all classes
COCO_LIMIT = 100  # detections per image and class
_EVERY_RANGE = np.uint8((1 << len(AREAS)) - 1)


class Detections(NamedTuple):
    """The predictions of one image."""

    classes: np.ndarray  # (N,) integers, index of the true category
    scores: np.ndarray  # (N,) float32 or float64
    boxes: Optional[np.ndarray]  # (N, 4) float64: x, y, width, height in pixels
    masks: Optional[List[dict]]  # N RLEs with bytes


class Rules(NamedTuple):
    """Whose rules, and how many detections count."""

    federated: bool  # LVIS: images name only some of the classes that they show or do not show
    limit: int  # highest scores that count: of an image (LVIS), of a class in an image (COCO)


class ImageMatches(NamedTuple):
    """What one image contributes to average precision: some 15 bytes a detection.

    N detections by class and falling score; n of them come near a true instance. At a range of
    area and an IoU threshold a detection is right, or neither right nor wrong, or else wrong; see
    matching.py for the bits. Detections that are near nothing are never right.
    """

    classes: np.ndarray  # (N,) int32
    scores: np.ndarray  # (N,) float32 or float64
    beyond: np.ndarray  # (N,) uint8: ranges of area in which it is not wrong either, a bit each
    near: np.ndarray  # (n,) int32 rows, ascending
    ranks: np.ndarray  # (n,) int32: place among the detections of its class in the image
    right: np.ndarray  # (n,) uint64
    neither: np.ndarray  # (n,) uint64


def true_shapes(image: TrueImage) -> Shapes:
    """Returns boxes, masks and classes of the true instances."""
    instances = image.instances
    return Shapes(
        np.array([i.category for i in instances], np.int64),
        np.array([i.box for i in instances], np.float64).reshape(-1, 4),
        [i.mask for i in instances],
    )


def uncounted_areas(image: TrueImage) -> np.ndarray:
    """Returns the ranges of area in which each true instance is not counted: (G,) uint8."""
    ignored = np.array([i.ignored or i.crowd for i in image.instances], bool)
    areas = np.array([i.area for i in image.instances], np.float64)
    return np.where(ignored, _EVERY_RANGE, outside(areas))


def match_image(
    image: TrueImage, detections: Detections, task: str, rules: Rules, *, one_class: bool = False
) -> ImageMatches:
    """Matches the detections of an image with its true instances.

    Args:
        image: the truth.
        detections: any number.
        task: "bbox", "segm" or "boundary", see `overlap.near_pairs`.
        rules: COCO's or LVIS's.
        one_class: all classes count as one; of equal scores the lower class comes first.
    """
    areas = _areas(detections, task)
    true, uncounted = true_shapes(image), uncounted_areas(image)
    crowd = np.array([i.crowd for i in image.instances], bool)
    if one_class:
        order = np.argsort(true.classes, kind="stable")
        true, uncounted, crowd = true.of_rows(order), uncounted[order], crowd[order]
        true = true._replace(classes=np.zeros_like(true.classes))
    rows, classes, ranks = _ranked(detections, areas, image, rules, one_class)
    shapes = Shapes(classes, detections.boxes, detections.masks).of_rows(rows, classes)
    beyond = outside(areas[rows])
    if image.not_exhaustive:
        lenient = np.isin(detections.classes[rows], list(image.not_exhaustive))
        beyond = np.where(lenient, _EVERY_RANGE, beyond)
    matches = match(near_pairs(task, shapes, areas[rows], true, crowd), uncounted, crowd)
    near = matches.detections
    unmatched = ~(matches.counted | matches.ignored)
    return ImageMatches(
        classes=classes.astype(np.int32),
        scores=detections.scores[rows],
        beyond=beyond,
        near=near.astype(np.int32),
        ranks=ranks[near].astype(np.int32),
        right=matches.counted,
        neither=matches.ignored | (unmatched & of_areas(beyond[near])),
    )


def _ranked(
    detections: Detections, areas: np.ndarray, image: TrueImage, rules: Rules, one_class: bool
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the detections that count by class and falling score: rows, classes and ranks."""
    rows, classes = np.arange(len(areas)), detections.classes
    if rules.federated:
        rows = _federated(detections, areas, image, rules.limit)
    if one_class:
        rows = rows[np.argsort(classes[rows], kind="stable")]
        classes = np.zeros_like(classes)
    # Stable: equal scores keep their order.
    rows = rows[np.lexsort((-detections.scores[rows], classes[rows]))]
    classes = classes[rows]
    ranks = np.arange(len(rows)) - classes.searchsorted(classes)
    kept = ranks < rules.limit
    return rows[kept], classes[kept], ranks[kept]


def _areas(detections: Detections, task: str) -> np.ndarray:
    if task == "bbox":
        return detections.boxes[:, 2] * detections.boxes[:, 3]
    return mask_areas(detections.masks)


def _federated(
    detections: Detections, areas: np.ndarray, image: TrueImage, limit: int
) -> np.ndarray:
    """LVIS: the best `limit` of the image, of classes that it is known to show or not to show."""
    order = np.argsort(-detections.scores, kind="stable")[:limit]
    keep = np.isin(detections.classes[order], list(known_classes(image)))
    keep &= areas[order] > 0  # lvis never sees an empty detection
    return np.sort(order[keep])


def known_classes(image: TrueImage) -> Sequence[int]:
    """Returns the classes that an image of LVIS is known to show or not to show."""
    return sorted({instance.category for instance in image.instances} | image.absent)
