"""Semantic segmentation: IoU and accuracy from one matrix of whole numbers.

K evaluated classes, P classes that the model answers with, H W pixels.
"""

from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from segplugins.evaluation.counts import SharedCounts, add_cells
from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.label_maps import (
    best_class,
    boundary_labels,
    paired_runs,
)
from segplugins.evaluation.samples import Samples, check_size, describe, output_of
from segplugins.files.label_maps import read_label_map


def semantic_metrics(
    confusion: np.ndarray,
    classes: Sequence[str],
    boundary_confusion: Optional[np.ndarray] = None,
    background: Optional[int] = None,
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
        boundary_confusion: the same for the labels of `boundary_labels`.
        background: a class that "mIoU_foreground" leaves out of the mean; its pixels still count
            against the others.

    Returns:
        Percent: "mIoU", "fwIoU", "mACC", "pACC", "mIoU_union", with a background
        "mIoU_foreground", and per class "IoU-<name>" and "ACC-<name>", with boundaries
        "BoundaryIoU-<name>", "min(IoU, B-Iou)-<name>"; NaN for a class that never occurs in the
        truth. Without any labelled pixel all is NaN but fwIoU, an empty sum, 0.

    Raises:
        ValueError: a matrix does not fit the classes.
    """
    size = len(classes) + 1
    for matrix in (confusion, boundary_confusion):
        if matrix is not None and matrix.shape != (size, size):
            raise ValueError(
                f"confusion matrix is {matrix.shape}, expected {(size, size)}: {len(classes)} "
                "classes and one row and column for all else"
            )
    tp, gt, pred = _counts(confusion)
    union = gt + pred - tp
    true, present = gt > 0, union > 0
    iou, accuracy = _ratio(tp, union, true), _ratio(tp, gt, true)
    result = {
        "mIoU": _mean(iou[true]),
        "fwIoU": float((iou[true] * (gt[true] / max(gt.sum(), 1))).sum()),
        "mACC": _mean(accuracy[true]),
        "pACC": float(tp.sum() / gt.sum()) if true.any() else float("nan"),
        "mIoU_union": _mean(tp[present] / union[present]),
    }
    if background is not None:
        result["mIoU_foreground"] = _mean(np.delete(iou, background)[np.delete(true, background)])
    columns = {"IoU": iou, "ACC": accuracy}
    if boundary_confusion is not None:
        tp, gt, pred = _counts(boundary_confusion)
        boundary = _ratio(tp, gt + pred - tp, gt + pred - tp > 0)
        columns["BoundaryIoU"] = boundary
        # Where one is unknown this is IoU, as in detectron2: a class never true has none.
        columns["min(IoU, B-Iou)"] = np.where(boundary < iou, boundary, iou)
    for metric, values in columns.items():
        result.update((f"{metric}-{name}", float(v)) for name, v in zip(classes, values))
    return {name: 100 * value for name, value in result.items()}


def _counts(confusion: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns: true positives, pixels in the truth and in the predictions, (K,) float64 each."""
    labelled = confusion[:, :-1].astype(np.float64)
    return labelled.diagonal(), labelled.sum(axis=0), labelled[:-1].sum(axis=1)


def _ratio(part: np.ndarray, whole: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=valid)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def confusion_matrix(pairs: Iterable[Tuple[np.ndarray, np.ndarray]], fold: ClassFold) -> np.ndarray:
    """Counts label maps that are in memory; `SemanticEvaluator` counts those of a data set.

    Args:
        pairs: prediction and truth, (H, W) integers each.
        fold: from their labels to K classes.

    Returns:
        (K + 1, K + 1) int64; see `semantic_metrics`.

    Raises:
        ValueError: two maps differ in size, or hold a label without a meaning.
    """
    matrix = np.zeros((fold.num_classes + 1,) * 2, np.int64)
    for position, (prediction, truth) in enumerate(pairs):
        record = {"file_name": f"pair {position}", "sem_seg_file_name": "the truth"}
        check_size(record, "the prediction (height, width)", prediction.shape, truth.shape)
        add_cells(matrix, *_runs(record, prediction, truth, fold))
    return matrix


def _runs(
    record: Mapping[str, Any], prediction: np.ndarray, truth: np.ndarray, fold: ClassFold
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns: evaluated class of prediction and of truth, and pixels of each run."""
    predicted, true, pixels = paired_runs(prediction, truth)
    return (*fold(record, predicted, true), pixels)


class SemanticEvaluator(DatasetEvaluator):
    """Compares label maps with the label files of a data set.

    What is decided per pixel is decided on the device of the prediction; the label map then comes
    to the host, where counting it takes less than reading the label file. Memory does not grow
    with the number of images.

    Args:
        dataset_name: registered; its records name image and label file ("sem_seg_file_name").
        classes: the K evaluated names; label files hold their indices.
        fold: from labels to these classes. None: the model answers with them, 255 is ignored.
        background_threshold: pixels where no score reaches it hold `fold.below_threshold`.
        none_class: one of the P that is not in the running where there is a threshold.
        background: evaluated class that "mIoU_foreground" leaves out. None: no such metric.
        boundary: compare boundaries too; three times slower.
        gallery: keeps the best and worst pictures.
        read_truth: label file to (H, W) integers.
        distributed: join what all processes counted.

    Raises:
        ValueError: a record names no label file; the fold is of another number of classes, or has
            no background for a threshold.
    """

    reads = frozenset({"sem_seg"})

    def __init__(
        self,
        dataset_name: str,
        classes: Sequence[str],
        *,
        fold: Optional[ClassFold] = None,
        background_threshold: Optional[float] = None,
        none_class: Optional[int] = None,
        background: Optional[int] = None,
        boundary: bool = False,
        gallery: Optional[Gallery] = None,
        read_truth: Callable[[str], np.ndarray] = read_label_map,
        distributed: bool = True,
    ):
        self.classes = tuple(classes)
        self.fold = fold or ClassFold(len(self.classes))
        self.gallery = gallery
        self._threshold = background_threshold
        self._none_class = none_class if background_threshold is not None else None
        self._background = background
        self._boundary = boundary
        self._read_truth = read_truth
        self._distributed = distributed
        self._samples = Samples(dataset_name, distributed=distributed, gallery=gallery)
        for record in self._samples.records:
            if "sem_seg_file_name" not in record:
                raise ValueError(
                    f"'{dataset_name}': {describe(record)} names no label file; semantic "
                    "evaluation needs 'sem_seg_file_name' in every record"
                )
        if self.fold.num_classes != len(self.classes):
            raise ValueError(
                f"'{dataset_name}': {len(self.classes)} classes, but a fold to "
                f"{self.fold.num_classes}"
            )
        if background_threshold is not None and (
            len(self.fold.prediction) == self.fold.num_predicted
        ):
            raise ValueError(
                f"'{dataset_name}': background_threshold {background_threshold} needs an evaluated "
                "class that stands for background"
            )
        self.reset()

    def reset(self) -> None:
        """Forgets everything that was counted."""
        layers = 1 + self._boundary
        self._counts = SharedCounts(layers, len(self.classes) + 1, self._distributed)
        self._samples.reset()

    @property
    def confusion(self) -> np.ndarray:
        """(K + 1, K + 1) int64, row = prediction, column = truth; see `semantic_metrics`."""
        return self._counts.matrices[0]

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Counts the predictions of a batch.

        Args:
            inputs: records of the data set.
            outputs: per record {"sem_seg": (P, H, W) float scores or (H, W) integer labels}, at the
                size of the label file, on any device.

        Raises:
            ValueError: a prediction that is missing, given twice, of another size, NaN or outside
                the P classes; a label outside the K classes. Each names the image.
        """
        for _, record, output in self._samples.pairs(inputs, outputs):
            self._samples.add(record, None)
            prediction = torch.as_tensor(output_of(record, output, "sem_seg"))
            labels = self._label_map(record, prediction)
            truth = self._read_truth(record["sem_seg_file_name"])
            check_size(record, "the prediction (height, width)", labels.shape, truth.shape)
            self._count(record, labels, truth)

    def _label_map(self, record: Mapping[str, Any], prediction: Tensor) -> np.ndarray:
        if prediction.dim() == 2 and not prediction.is_floating_point():
            if self._threshold is not None:
                raise ValueError(
                    f"{describe(record)}: the prediction is a label map, but the background "
                    f"threshold {self._threshold} needs scores: set TEST.LABEL_MAPS False"
                )
            return prediction.cpu().numpy()
        classes = self.fold.num_predicted
        if prediction.dim() != 3 or not prediction.is_floating_point():
            raise ValueError(
                f"{describe(record)}: the prediction is {prediction.dtype} "
                f"{tuple(prediction.shape)}, expected float scores (K, H, W) or integer labels "
                "(H, W)"
            )
        if len(prediction) != classes:
            raise ValueError(
                f"{describe(record)}: the prediction has {len(prediction)} channels, the "
                f"vocabulary {classes} classes"
            )
        labels, tops = best_class(prediction, self._none_class)
        if not bool((tops > -torch.inf).all()):
            raise ValueError(f"{describe(record)}: the scores hold NaN, or a pixel has none")
        if self._threshold is not None:
            labels[tops < self._threshold] = self.fold.below_threshold
        # Narrow numbers: less to bring from a device and to compare.
        return labels.to(torch.int16 if classes < 2**15 else torch.int32).cpu().numpy()

    def _count(self, record: Mapping[str, Any], prediction: np.ndarray, truth: np.ndarray) -> None:
        rows, columns, pixels = _runs(record, prediction, truth, self.fold)
        layers = [(rows, columns, pixels)]
        if self._boundary:
            maps = self.fold(record, prediction, truth)
            layers.append(paired_runs(*(boundary_labels(labels) for labels in maps)))
        self._counts.add(describe(record), layers)
        if self.gallery is not None:
            labelled = columns < len(self.classes)
            right, of = pixels[labelled & (rows == columns)].sum(), pixels[labelled].sum()
            score = 100 * int(right) / int(of) if of else float("nan")

            def thinned(step: int) -> Tuple[np.ndarray, np.ndarray]:
                return self.fold(record, prediction[::step, ::step], truth[::step, ::step])

            told = "{} % of the pixels right"
            self._samples.show(record, score, told, self.classes, truth.shape, thinned)

    def evaluate(self) -> Optional[Dict[str, Dict[str, float]]]:
        """Joins what all processes counted.

        Returns:
            {"sem_seg": `semantic_metrics`} on the main process, where `confusion` then holds the
            matrix of the whole data set; None on the others.

        Raises:
            ValueError: images of the data set were not predicted.
        """
        self._counts.join([describe(record) for record in self._samples.repeated()])
        if self._samples.gather() is None:
            return None
        boundary = self._counts.matrices[1] if self._boundary else None
        return {
            "sem_seg": semantic_metrics(self.confusion, self.classes, boundary, self._background)
        }
