"""Areas and IoU of boxes and of masks as COCO RLE, as pycocotools computes them.

D detections and G true instances of one image.
"""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from segplugins.evaluation.boundary_bands import mask_bands
from segplugins.evaluation.matching import IOU_THRESHOLDS, NearPairs
from segplugins.evaluation.packed_masks import count

# pycocotools.mask.area keeps the number of masks in 8 bits and fails beyond (numpy 2).
_AREAS_AT_ONCE = 255
# An IoU of 1/2 needs areas that differ by a factor of 2 at most; a little less for rounding.
_LEAST_RATIO = IOU_THRESHOLDS[0] - 1e-6


_NONE = np.zeros(0, np.int64)


class Shapes(NamedTuple):
    """Boxes or masks of one image with their classes."""

    classes: np.ndarray  # (N,) integers
    boxes: Optional[np.ndarray]  # (N, 4) float64: x, y, width, height
    masks: Optional[Sequence[dict]]  # N RLEs

    def of_rows(self, rows: np.ndarray, classes: Optional[np.ndarray] = None) -> "Shapes":
        """Returns the shapes of these rows, in their order; with these classes instead."""
        boxes = None if self.boxes is None else self.boxes[rows]
        masks = None if self.masks is None else [self.masks[i] for i in rows.tolist()]
        return Shapes(self.classes[rows] if classes is None else classes, boxes, masks)


def mask_areas(masks: Sequence[dict]) -> np.ndarray:
    """Returns the pixels of each RLE, (N,) float64."""
    parts = [
        coco_mask.area(list(masks[start : start + _AREAS_AT_ONCE]))
        for start in range(0, len(masks), _AREAS_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def near_pairs(
    task: str, shapes: Shapes, areas: np.ndarray, true: Shapes, crowd: np.ndarray
) -> NearPairs:
    """Returns the pairs of one class whose IoU is 0.5 or more.

    The IoU to a crowd is the share of the detection that lies inside of it.

    Args:
        task: "bbox", "segm", or "boundary": the smaller one of mask IoU and boundary IoU, where
            the IoU to a crowd is that of the masks.
        shapes: the D detections, sorted by class.
        areas: (D,) float64, in square pixels.
        true: the G true instances.
        crowd: (G,) bool.
    """
    if task == "bbox":
        detections, rows = np.nonzero(shapes.classes[:, None] == true.classes)
        ious = _box_ious(shapes.boxes[detections], true.boxes[rows], crowd[rows])
        near = ious >= IOU_THRESHOLDS[0]
        return NearPairs(detections[near], rows[near], ious[near])
    pairs = _near_masks(shapes, areas, true, crowd)
    if task == "boundary" and len(pairs.ious):
        ious = np.minimum(pairs.ious, _boundary_ious(pairs, shapes.masks, true.masks))
        ious = np.where(crowd[pairs.true], pairs.ious, ious)
        near = ious >= IOU_THRESHOLDS[0]
        pairs = NearPairs(pairs.detections[near], pairs.true[near], ious[near])
    return pairs


def _box_ious(boxes: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Returns the IoU of M pairs of boxes (M, 4), or the share inside of a crowd: (M,)."""
    low = np.maximum(boxes[:, :2], true[:, :2])
    sides = np.minimum(boxes[:, :2] + boxes[:, 2:], true[:, :2] + true[:, 2:]) - low
    inter = sides[:, 0] * sides[:, 1]
    area = boxes[:, 2] * boxes[:, 3]
    union = np.where(crowd, area, area + true[:, 2] * true[:, 3] - inter)
    meet = (sides > 0).all(axis=1)
    return np.divide(inter, union, out=np.zeros(len(boxes)), where=meet)


def _near_masks(shapes: Shapes, areas: np.ndarray, true: Shapes, crowd: np.ndarray) -> NearPairs:
    true_areas = mask_areas(true.masks)
    labels = true.classes.tolist()
    pairs = [(_NONE, _NONE, np.zeros(0))]
    for label in sorted(set(labels)):
        start, end = shapes.classes.searchsorted([label, label + 1]).tolist()
        if start == end:
            continue
        columns = np.array([i for i, other in enumerate(labels) if other == label])
        areas_here, true_areas_here = areas[start:end, None], true_areas[columns]
        possible = np.minimum(areas_here, true_areas_here) >= _LEAST_RATIO * np.maximum(
            areas_here, true_areas_here
        )
        rows = start + (possible | crowd[columns]).any(axis=1).nonzero()[0]
        if rows.size:
            ious = coco_mask.iou(
                [shapes.masks[i] for i in rows.tolist()],
                [true.masks[i] for i in columns.tolist()],
                crowd[columns].astype(int).tolist(),
            )
            row, column = (ious >= IOU_THRESHOLDS[0]).nonzero()
            pairs.append((rows[row], columns[column], ious[row, column]))
    return NearPairs(*(np.concatenate(parts) for parts in zip(*pairs)))


def _boundary_ious(
    pairs: NearPairs, masks: Sequence[dict], true_masks: Sequence[dict]
) -> np.ndarray:
    """Returns the boundary IoU of each pair, (M,); the bands of a mask are made once."""
    ours, row = np.unique(pairs.detections, return_inverse=True)
    theirs, column = np.unique(pairs.true, return_inverse=True)
    bands, true_bands = (
        _bands([all_masks[i] for i in chosen])
        for all_masks, chosen in ((masks, ours), (true_masks, theirs))
    )
    sizes, true_sizes = count(bands), count(true_bands)
    inter = np.array([count(bands[i] & true_bands[j]) for i, j in zip(row, column)], np.float64)
    union = sizes[row] + true_sizes[column] - inter
    return np.divide(inter, union, out=np.zeros(len(inter)), where=union > 0)


def _bands(masks: List[dict]) -> np.ndarray:
    # Columns of the image as rows: so pycocotools decodes, and a band is the same either way.
    return np.stack([mask_bands(coco_mask.decode(mask).T) for mask in masks])
