"""Metrics of semantic segmentation from a matrix of whole numbers.

K evaluated classes.
"""

from typing import Dict, Optional, Sequence, Tuple

import numpy as np

from segplugins.evaluation.boundary_bands import boundary_ious


def semantic_metrics(
    confusion: np.ndarray,
    classes: Sequence[str],
    boundary_confusion: Optional[np.ndarray] = None,
    background: Optional[int] = None,
    *,
    boundary_rule: str = "paper",
) -> Dict[str, float]:
    """Computes the metrics of detectron2's `SemSegEvaluator`, and the mean of mmsegmentation.

    With tp_c = N[c, c], gt_c = the sum of column c, pred_c = the sum of row c over the first K
    columns (so predictions on ignored pixels do not count):

        IoU_c = tp_c / (gt_c + pred_c - tp_c)      ACC_c = tp_c / gt_c

    - mIoU, mACC: mean over the classes that occur in the truth. One that is predicted but never
      true is left out; its pixels already count against the classes they were taken from.
    - mIoU_union: mean over the classes that occur in the truth or in the predictions, where a
      class that is never true counts 0 (mmsegmentation; detectron2 before July 2022).
    - fwIoU: IoU weighted with gt_c. pACC: share of right pixels.

    Args:
        confusion: (K + 1, K + 1) int64 pixel counts, row = prediction, column = truth. The last
            column holds ignored pixels, the last row predictions outside the evaluated classes.
        classes: the K names.
        boundary_confusion: the same for the bands along boundaries, see `boundary_rule`.
        background: a class that "mIoU_foreground" leaves out of the mean; its pixels still count
            against the others.
        boundary_rule: "paper": the bands are those of `banded_classes`; "detectron2": of
            `boundary_labels`, which depend on the numbers of the classes.

    Returns:
        Percent: the means of `mean_metrics`, and per class "IoU-<name>" and "ACC-<name>". With
        boundaries "mBoundaryIoU" and "BoundaryIoU-<name>"; by detectron2's rule
        "BoundaryIoU_detectron2-<name>" and "min(IoU, B-Iou)-<name>". NaN for a class that never
        occurs in the truth.

    Raises:
        ValueError: a matrix does not fit the classes.

    Example:
        >>> # Of 4 pixels of a cat one was called dog; 2 pixels of a dog are right.
        >>> confusion = np.array([[3, 0, 0], [1, 2, 0], [0, 0, 0]])
        >>> metrics = semantic_metrics(confusion, ("cat", "dog"))
        >>> {name: round(value, 1) for name, value in metrics.items() if name.startswith("IoU")}
        {'IoU-cat': 75.0, 'IoU-dog': 66.7}
    """
    size = len(classes) + 1
    for matrix in (confusion, boundary_confusion):
        if matrix is not None and matrix.shape != (size, size):
            raise ValueError(
                f"confusion matrix is {matrix.shape}, expected {(size, size)}: {len(classes)} "
                "classes and one row and column for all else"
            )
    counts = class_counts(confusion)
    result = mean_metrics(counts, background)
    iou, accuracy = _class_scores(counts)
    columns = {"IoU": iou, "ACC": accuracy}
    if boundary_confusion is not None and boundary_rule == "detectron2":
        tp, gt, pred = class_counts(boundary_confusion)
        boundary = _ratio(tp, gt + pred - tp, gt + pred - tp > 0)
        columns["BoundaryIoU_detectron2"] = boundary
        # Where one is unknown this is IoU, as in detectron2: a class never true has none.
        columns["min(IoU, B-Iou)"] = np.where(boundary < iou, boundary, iou)
    elif boundary_confusion is not None:
        boundary = columns["BoundaryIoU"] = boundary_ious(boundary_confusion)
        result["mBoundaryIoU"] = 100 * _mean(boundary[~np.isnan(boundary)])
    for metric, values in columns.items():
        result.update((f"{metric}-{name}", 100 * float(v)) for name, v in zip(classes, values))
    return result


def mean_metrics(counts: np.ndarray, background: Optional[int] = None) -> Dict[str, float]:
    """Computes the metrics over all classes; `semantic_metrics` defines them.

    Args:
        counts: (3, K) true positives, pixels in the truth, pixels in the predictions.
        background: a class that "mIoU_foreground" leaves out of the mean.

    Returns:
        Percent: "mIoU", "fwIoU", "mACC", "pACC", "mIoU_union", with a background
        "mIoU_foreground". Without any labelled pixel all is NaN but fwIoU, an empty sum, 0.
    """
    tp, gt, pred = counts
    union = gt + pred - tp
    true, present = gt > 0, union > 0
    iou, accuracy = _class_scores(counts)
    result = {
        "mIoU": _mean(iou[true]),
        "fwIoU": float((iou[true] * (gt[true] / max(gt.sum(), 1))).sum()),
        "mACC": _mean(accuracy[true]),
        "pACC": float(tp.sum() / gt.sum()) if true.any() else float("nan"),
        "mIoU_union": _mean(tp[present] / union[present]),
    }
    if background is not None:
        result["mIoU_foreground"] = _mean(np.delete(iou, background)[np.delete(true, background)])
    return {name: 100 * value for name, value in result.items()}


def _class_scores(counts: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns IoU and accuracy, (K,) each, NaN for a class that never occurs in the truth."""
    tp, gt, pred = counts
    return _ratio(tp, gt + pred - tp, gt > 0), _ratio(tp, gt, gt > 0)


def class_counts(confusion: np.ndarray) -> np.ndarray:
    """Returns true positives, pixels in the truth and in the predictions, (3, K) float64."""
    labelled = confusion[:, :-1].astype(np.float64)
    return np.stack([labelled.diagonal(), labelled.sum(axis=0), labelled[:-1].sum(axis=1)])


def pair_class_counts(
    rows: np.ndarray, columns: np.ndarray, pixels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Returns `class_counts` of a matrix that is given as its nonzero cells.

    Args:
        rows: (R,) predicted class, K for none of them.
        columns: (R,) true class, K for ignored pixels.
        pixels: (R,) counts.
        num_classes: K.
    """
    size = num_classes + 1
    right = np.flatnonzero(rows == columns)
    # Cells come in the order of the true classes: a few sums over neighbours, then their classes.
    starts = np.flatnonzero(np.diff(columns, prepend=-1))
    true_pixels = np.add.reduceat(pixels, starts) if len(starts) else pixels
    weights = pixels * (columns < num_classes)
    return np.stack(
        [
            np.bincount(columns[right], pixels[right], size),
            np.bincount(columns[starts], true_pixels, size),
            np.bincount(rows, weights, size),
        ]
    )[:, :num_classes].astype(np.float64, copy=False)


def _ratio(part: np.ndarray, whole: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=valid)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
