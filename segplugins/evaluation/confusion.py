"""Pairs of evaluated classes that meet in label maps, and the confusion matrix of maps in memory.

K evaluated classes, H W pixels.
"""

from typing import Any, Iterable, Mapping, Tuple

import numpy as np

from segplugins.evaluation.counts import add_cells
from segplugins.evaluation.folding import ClassFold, whole_labels
from segplugins.evaluation.label_maps import pair_counts
from segplugins.evaluation.output_checks import check_size


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
        add_cells(matrix, *class_pairs(record, prediction, truth, fold))
    return matrix


def class_pairs(
    record: Mapping[str, Any], prediction: np.ndarray, truth: np.ndarray, fold: ClassFold
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns evaluated class of prediction and of truth, and pixels of each pair of labels."""
    maps = whole_labels(record, "prediction", prediction), whole_labels(record, "truth", truth)
    predicted, true, pixels = pair_counts(*maps)
    return (*fold(record, predicted, true), pixels)
