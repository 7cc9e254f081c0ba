"""Pictures of instances: how well one image was answered, and what of it is shown.

Average precision is a number of many images; this one only chooses pictures.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from pycocotools import mask as coco_mask

from segplugins.evaluation.detections import Detections
from segplugins.evaluation.gallery import Thinned
from segplugins.evaluation.instance_truth import TrueImage
from segplugins.structures.regions import box_outline

# Detections of lower scores are neither counted nor shown.
SHOWN_FROM = 0.5
_LARGEST = 65535  # label that a gallery keeps


class _Shape(NamedTuple):
    category: int
    box: Sequence[float]  # x, y, width, height in pixels
    mask: Optional[dict]


def image_quality(image: TrueImage, detections: Detections, *, federated: bool = False) -> float:
    """Returns the panoptic quality of one image, all its instances taken together, in percent.

        sum of IoU over the matches / (TP + FP / 2 + FN / 2)

    A detection of a score from 0.5 takes, in falling order of scores, the free true instance of its
    class with the highest IoU, if that is above 0.5. Left out are true instances that are crowds or
    ignored, and detections more than half inside of one of its class.

    Args:
        image: the truth.
        detections: of the image; their boxes are compared where there are no masks.
        federated: LVIS, where classes that nobody looked for count for nothing.

    Returns:
        NaN without an instance on either side.
    """
    true = [i for i in image.instances if not (i.crowd or i.ignored)]
    others = [i for i in image.instances if i.crowd or i.ignored]
    detected = _shown_shapes(detections)
    if federated:
        judged = {i.category for i in image.instances} | image.absent
        detected = [shape for shape in detected if shape.category in judged]
    inside = _ious(detected, others, crowd=True).max(axis=1, initial=0) > 0.5
    detected = [shape for shape, excused in zip(detected, inside) if not excused]
    if not true and not detected:
        return float("nan")
    ious = _ious(detected, true, crowd=False)
    total, matched = 0.0, 0
    for row in ious:
        best = int(row.argmax()) if row.size else -1
        if best >= 0 and row[best] > 0.5:
            total, matched = total + row[best], matched + 1
            ious[:, best] = 0  # taken; rows of lower scores see it in the same table
    return 100 * total / (matched + (len(true) + len(detected) - 2 * matched) / 2)


def _shown_shapes(detections: Detections) -> List[_Shape]:
    """The detections of scores from 0.5, highest first."""
    order = np.argsort(-detections.scores, kind="stable")
    boxes, masks = detections.boxes, detections.masks
    return [
        _Shape(
            int(detections.classes[i]),
            None if boxes is None else boxes[i],
            None if masks is None else masks[i],
        )
        for i in order[detections.scores[order] >= SHOWN_FROM]
    ]


def _ious(detected: Sequence, true: Sequence, *, crowd: bool) -> np.ndarray:
    """(F, G) IoU of shapes of one class, 0 elsewhere; to a crowd the share of the detection."""
    if not detected or not true:
        return np.zeros((len(detected), len(true)))
    key = "mask" if detected[0].mask is not None and true[0].mask is not None else "box"
    shapes = [[getattr(s, key) for s in side] for side in (detected, true)]
    if key == "box":
        shapes = [np.array(boxes, np.float64) for boxes in shapes]
    same = np.equal.outer([s.category for s in detected], [s.category for s in true])
    return np.where(same, coco_mask.iou(*shapes, [int(crowd)] * len(true)), 0.0)


def thinned_instances(image: TrueImage, detections: Detections, count: int) -> Thinned:
    """Returns the function that thins both sides to label maps: masks, or outlines of boxes.

    Args:
        image: the truth.
        detections: of the image; those of scores from 0.5 are shown.
        count: K categories; the labels are category + (K + 1) * number of the instance, and K where
            there is none.
    """

    def thinned(step: int) -> Tuple[np.ndarray, np.ndarray]:
        sides = (_shown_shapes(detections), image.instances)
        return tuple(_painted(shapes, image, count, step)[::step, ::step] for shapes in sides)

    return thinned


def _painted(shapes: Sequence, image: TrueImage, count: int, step: int) -> np.ndarray:
    """(H, W) labels, small instances on top; lines are so thick that two pixels are kept."""
    labels = np.full((image.height, image.width), count, np.int64)
    masks = [_pixels(shape, image, 2 * step) for shape in shapes]
    for index in sorted(range(len(masks)), key=lambda index: -masks[index].sum()):
        number = index % max(1, _LARGEST // (count + 1))
        labels[masks[index]] = shapes[index].category + (count + 1) * number
    return labels


def _pixels(shape: _Shape, image: TrueImage, line: int) -> np.ndarray:
    if shape.mask is not None:
        return coco_mask.decode(shape.mask).astype(bool)
    x, y, width, height = shape.box
    return box_outline((x, y, x + width, y + height), image.height, image.width, line=line)
