"""Whether a model says of each class if an image shows it, and then finds its instances.

The classification-gated F1 of SA-Co ("SAM 3: Segment Anything with Concepts", Meta, 2025), for
sets with a vocabulary: a sample is an image with one class. A prediction counts from a score of
0.5, as if the model were used.

    cgF1 = pmF1 * IL_MCC

- pmF1, positive micro F1: over the samples that show their class, 2 TP / (2 TP + FP + FN), mean of
  the ten IoU thresholds. Predictions are assigned to true instances so that their IoU sums highest.
- IL_MCC: Matthews correlation of "something was predicted" with "something is there", of all
  samples.

The reference adds 1e-4 to denominators; here they are exact. It knows no crowds: a class with a
crowd or an ignored instance in an image is no sample. Of LVIS only those pairs are samples of which
the file tells.
"""

import math
from typing import Dict

import numpy as np
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from segplugins.evaluation.detections import Detections, known_classes, true_shapes
from segplugins.evaluation.instance_truth import TrueImage
from segplugins.evaluation.matching import IOU_THRESHOLDS
from segplugins.evaluation.overlap import Shapes

LEAST_SCORE = 0.5
_T = len(IOU_THRESHOLDS)


def presence_counts(
    image: TrueImage, detections: Detections, task: str, num_classes: int, *, federated: bool
) -> np.ndarray:
    """Returns the counts of one image; those of images add up.

    Args:
        image: the truth.
        detections: of the image.
        task: "bbox" or "segm": what is compared.
        num_classes: K.
        federated: LVIS, whose images tell of some classes only.

    Returns:
        (16,) int64: true positives at the ten thresholds; in samples that show their class the
        predictions and the true instances; samples that show their class and have predictions,
        that have predictions only, that show their class only, and neither.
    """
    confident = np.flatnonzero(detections.scores >= LEAST_SCORE)
    shapes = Shapes(detections.classes, detections.boxes, detections.masks).of_rows(confident)
    true = true_shapes(image)
    sample = np.ones(num_classes, bool)
    if federated:
        sample[:] = False
        sample[list(known_classes(image))] = True
        sample[list(image.not_exhaustive)] = False
    sample[[i.category for i in image.instances if i.ignored or i.crowd]] = False
    predicted = np.bincount(shapes.classes, minlength=num_classes) * sample
    present = np.bincount(true.classes, minlength=num_classes) * sample
    counts = np.zeros(_T + 6, np.int64)
    for label in np.flatnonzero((predicted > 0) & (present > 0)):
        detected = shapes.of_rows(np.flatnonzero(shapes.classes == label))
        true_of_class = true.of_rows(np.flatnonzero(true.classes == label))
        ious = _ious(detected, true_of_class, task)
        matched = ious[linear_sum_assignment(-ious)]
        counts[:_T] += (matched[:, None] >= IOU_THRESHOLDS).sum(axis=0)
    counts[_T] = predicted[present > 0].sum()
    counts[_T + 1] = present.sum()
    is_predicted, is_present = predicted[sample] > 0, present[sample] > 0
    counts[_T + 2 :] = [
        np.count_nonzero(cell)
        for cell in (
            is_predicted & is_present,
            is_predicted & ~is_present,
            ~is_predicted & is_present,
            ~is_predicted & ~is_present,
        )
    ]
    return counts


def _ious(ours: Shapes, theirs: Shapes, task: str) -> np.ndarray:
    no_crowd = [0] * len(theirs.classes)
    if task == "bbox":
        return coco_mask.iou(ours.boxes, theirs.boxes, no_crowd)
    return coco_mask.iou(list(ours.masks), list(theirs.masks), no_crowd)


def presence_scores(counts: np.ndarray) -> Dict[str, float]:
    """Returns cgF1 and its two factors in percent.

    Args:
        counts: sum of `presence_counts` over the images.

    Returns:
        "cgF1", "pmF1", "IL_MCC". pmF1 is NaN where no sample shows its class; IL_MCC is NaN where
        all samples or none do, and 0 for a model that always or never predicts something.
    """
    total = int(counts[_T] + counts[_T + 1])
    positive_f1 = float((2 * counts[:_T] / total).mean()) if total else math.nan
    true_positive, false_positive, false_negative, true_negative = (
        int(count) for count in counts[_T + 2 :]
    )
    correlation = math.nan
    if true_positive + false_negative and false_positive + true_negative:
        spread = (
            (true_positive + false_positive)
            * (true_positive + false_negative)
            * (true_negative + false_positive)
            * (true_negative + false_negative)
        )
        product = true_positive * true_negative - false_positive * false_negative
        correlation = product / math.sqrt(spread) if spread else 0.0
    scores = {"cgF1": positive_f1 * correlation, "pmF1": positive_f1, "IL_MCC": correlation}
    return {name: 100 * value for name, value in scores.items()}
