"""From the numbers in label maps to the classes that are evaluated.

K evaluated classes, P classes that the model answers with. They differ where a data set folds
several names into one class (59 names asked for, 20 classes and background evaluated), or where a
user brings a vocabulary of their own.
"""

from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np

from segplugins.evaluation.sample_identity import describe


class ClassFold:
    """Maps predicted and true labels to 0..K-1, or to K where they are none of these.

    Args:
        num_classes: K.
        class_map: (P,) the evaluated class that each of the model's classes counts as, K for none
            of them: always wrong. None: P = K, each as itself.
        ignore_label: of pixels that do not count. It may be larger than K, or a class.
        unanswerable: evaluated classes that the model has no name for: their pixels do not count.
        background: evaluated class of pixels where no score is high enough. None: there are none.

    Raises:
        ValueError: a class outside the K.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        class_map: Optional[Sequence[int]] = None,
        ignore_label: int = 255,
        unanswerable: Sequence[int] = (),
        background: Optional[int] = None,
    ):
        table = np.arange(num_classes) if class_map is None else np.asarray(class_map)
        if table.dtype.kind not in "iu" or table.ndim != 1:
            raise ValueError(f"class_map must be a list of whole numbers, got {class_map!r:.80}")
        for what, indices, limit in (
            ("class_map", table, num_classes + 1),
            ("unanswerable", np.asarray(unanswerable, np.int64), num_classes),
            ("background", np.asarray([background or 0]), num_classes),
        ):
            if ((indices < 0) | (indices >= limit)).any():
                raise ValueError(
                    f"{what} holds {indices.min()} to {indices.max()}, expected 0 to {limit - 1}: "
                    f"there are {num_classes} evaluated classes"
                )
        self.num_classes = num_classes
        self.num_predicted = len(table)
        # Index P is what `below_threshold` pixels hold.
        self.prediction = table if background is None else np.append(table, background)
        self.truth = np.full(max(num_classes, ignore_label + 1), -1)
        self.truth[:num_classes] = np.arange(num_classes)
        self.truth[list(unanswerable)] = num_classes
        if ignore_label >= 0:
            self.truth[ignore_label] = num_classes

    @property
    def below_threshold(self) -> int:
        """The label, P, that a prediction holds where no score is high enough."""
        return self.num_predicted

    def __call__(
        self, record: Mapping[str, Any], predicted: np.ndarray, true: np.ndarray
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Checks and maps labels.

        Args:
            record: where they come from, for messages.
            predicted: labels of a prediction, any shape.
            true: labels of a label file.

        Returns:
            Both as evaluated classes, 0 to K, int64.

        Raises:
            ValueError: a label that has no meaning; names the image and the label file.
        """
        predicted = whole_labels(record, "prediction", predicted)
        true = whole_labels(record, "truth", true)
        wrong = _outside(predicted, len(self.prediction))
        if wrong is not None:
            raise ValueError(
                f"{describe(record)}: the prediction holds class {wrong}, expected 0 to "
                f"{self.num_predicted - 1}: the vocabulary has {self.num_predicted} classes"
            )
        wrong = _outside(true, len(self.truth))
        if wrong is None:
            classes = self.truth[true]
            if classes.size and classes.min() < 0:
                wrong = true[classes < 0][0]
        if wrong is not None:
            raise ValueError(
                f"{describe(record)}: {record['sem_seg_file_name']} holds label {wrong}, which is "
                f"neither one of the {self.num_classes} classes nor ignored"
            )
        return self.prediction[predicted], classes


def whole_labels(record: Mapping[str, Any], what: str, labels: np.ndarray) -> np.ndarray:
    """Returns labels as whole numbers: as an index, bool would mean something else."""
    if labels.dtype.kind not in "biu":
        raise ValueError(
            f"{describe(record)}: the labels of the {what} are {labels.dtype}, expected whole "
            "numbers"
        )
    return labels.astype(np.uint8) if labels.dtype.kind == "b" else labels


def _outside(labels: np.ndarray, limit: int) -> Optional[int]:
    """Returns a label that is not in 0..limit-1, or None."""
    if not labels.size or (labels.min() >= 0 and labels.max() < limit):
        return None
    return int(labels[(labels < 0) | (labels >= limit)][0])
