"""Semantic segmentation: IoU and accuracy from one matrix of whole numbers.

K evaluated classes, P classes that the model answers with, H W pixels.
"""

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from segplugins.evaluation.boundary_bands import banded_classes
from segplugins.evaluation.calibration import expected_calibration_error
from segplugins.evaluation.confusion import class_pairs
from segplugins.evaluation.counts import SharedCounts
from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.image_statistics import ImageStatistics, sparse_rows
from segplugins.evaluation.label_maps import boundary_labels, pair_counts
from segplugins.evaluation.output_checks import check_size, tensor_of
from segplugins.evaluation.pixel_decision import PixelDecision, confidence_sums
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.semantic_scores import pair_class_counts, semantic_metrics
from segplugins.files.label_maps import read_label_map


class _Row(NamedTuple):
    """What is kept of an image besides its share of the confusion matrix."""

    classes: np.ndarray  # (n,) int64: those that occur in the truth or in the prediction
    counts: np.ndarray  # (3, n): see `semantic_scores.class_counts`
    calibration: Optional[np.ndarray]  # see `calibration_sums`


class SemanticEvaluator(SampleEvaluator):
    """Compares label maps with the label files of a data set.

    What is decided per pixel is decided on the device of the prediction; the label map then comes
    to the host, where counting it takes less than reading the label file. Of each image the counts
    of its classes are kept, some hundred bytes.

    Reads of an output: "sem_seg", (P, H, W) float scores, of which the highest counts, or (H, W)
    whole labels or bool, at the size of the label file.

    Args:
        dataset_name: registered; its records name image and label file ("sem_seg_file_name").
        classes: the K evaluated names; label files hold their indices.
        fold: from labels to these classes. None: the model answers with them, 255 is ignored.
        background_threshold: pixels where no score reaches it hold `fold.below_threshold`.
        none_class: one of the P that is not in the running where there is a threshold.
        background: evaluated class that "mIoU_foreground" leaves out. None: no such metric.
        boundary: compare bands along boundaries too: True = as the paper of Boundary IoU has it,
            see boundary_bands.py; "detectron2" = its variant, see `boundary_labels`.
        calibration: adds "ECE", the expected calibration error of scores 0-1.
        gallery: keeps the best and worst pictures.
        read_truth: label file to (H, W) integers.
        distributed: join what all processes counted.

    Raises:
        ValueError: a record names no label file; the fold is of another number of classes, or has
            no background for a threshold; a threshold and calibration together. Later, a prediction
            that is missing, given twice, of another size, NaN or outside the P classes, or a label
            outside the K classes; each names the image.

    Example:
        >>> records = [{"file_name": "image.jpg", "sem_seg_file_name": "labels.png"}]
        >>> DatasetCatalog.register("two_classes", lambda: records)
        >>> truth = np.array([[0, 0, 1, 1]])
        >>> evaluator = SemanticEvaluator(
        ...     "two_classes", ("cat", "dog"), read_truth={"labels.png": truth}.get
        ... )
        >>> evaluator.process(records, [{"sem_seg": torch.tensor([[0, 1, 1, 1]])}])
        >>> scores = evaluator.evaluate()["sem_seg"]
        >>> {name: round(scores[name], 1) for name in ("mIoU", "IoU-cat", "IoU-dog")}
        {'mIoU': 58.3, 'IoU-cat': 50.0, 'IoU-dog': 66.7}
    """

    task = "sem_seg"
    reads = frozenset({"sem_seg"})
    required = ("sem_seg_file_name",)

    def __init__(
        self,
        dataset_name: str,
        classes: Sequence[str],
        *,
        fold: Optional[ClassFold] = None,
        background_threshold: Optional[float] = None,
        none_class: Optional[int] = None,
        background: Optional[int] = None,
        boundary: Union[bool, str] = False,
        calibration: bool = False,
        gallery: Optional[Gallery] = None,
        read_truth: Callable[[str], np.ndarray] = read_label_map,
        distributed: bool = True,
    ):
        super().__init__(dataset_name, gallery=gallery, distributed=distributed)
        self.classes = tuple(classes)
        self.fold = fold or ClassFold(len(self.classes))
        self._decision = PixelDecision(self.fold, background_threshold, none_class, calibration)
        self._background = background
        if boundary not in (False, True, "detectron2"):
            raise ValueError(
                f"'{dataset_name}': boundary must be True, False or 'detectron2', got {boundary!r}"
            )
        self._boundary = boundary
        self._calibration = calibration
        self._read_truth = read_truth
        self._distributed = distributed
        self._check(dataset_name)
        self.reset()

    def _check(self, dataset_name: str) -> None:
        if self.fold.num_classes != len(self.classes):
            raise ValueError(
                f"'{dataset_name}': {len(self.classes)} classes, but a fold to "
                f"{self.fold.num_classes}"
            )
        threshold = self._decision.threshold
        if threshold is None:
            return
        if len(self.fold.prediction) == self.fold.num_predicted:
            raise ValueError(
                f"'{dataset_name}': background_threshold {threshold} needs an evaluated "
                "class that stands for background"
            )
        if self._calibration:
            raise ValueError(
                f"'{dataset_name}': no calibration with background_threshold {threshold}: "
                "background has no score of its own"
            )

    def check_truth(self) -> None:
        """Reads the first label file, and raises ValueError if it holds labels without a class."""
        for record in self._samples.records[:1]:
            truth = self._read_truth(record["sem_seg_file_name"])
            self.fold(record, np.zeros_like(truth), truth)

    def reset(self) -> None:
        """Forgets everything that was counted."""
        super().reset()
        layers = 1 + bool(self._boundary)
        self._counts = SharedCounts(layers, len(self.classes) + 1, self._distributed)
        self._joined: Optional[np.ndarray] = None

    @property
    def confusion(self) -> np.ndarray:
        """(K + 1, K + 1) int64, row = prediction, column = truth; see `semantic_metrics`.

        After `evaluate` it is that of all processes.
        """
        return (self._counts.matrices if self._joined is None else self._joined)[0]

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> _Row:
        labels, confidence = self._decision.label_map(record, tensor_of(record, output, "sem_seg"))
        truth = self._read_truth(record["sem_seg_file_name"])
        check_size(record, "the prediction (height, width)", labels.shape, truth.shape)
        pairs = class_pairs(record, labels, truth, self.fold)
        layers = [pairs]
        if self._boundary:
            maps = self.fold(record, labels, truth)
            if self._boundary == "detectron2":
                bands = tuple(boundary_labels(classes) for classes in maps)
            else:
                bands = banded_classes(*maps, len(self.classes))
            layers.append(pair_counts(*bands))
        counts = pair_class_counts(*pairs, len(self.classes))
        calibration = None
        if self._calibration:
            calibration = confidence_sums(record, confidence, labels, truth, self.fold)
        self._show(record, labels, truth, counts)
        self._counts.add(describe(record), layers)  # last: from here on the image counts
        occurring = np.flatnonzero(counts.any(axis=0))
        return _Row(occurring, counts[:, occurring], calibration)

    def _show(
        self, record: dict, labels: np.ndarray, truth: np.ndarray, counts: np.ndarray
    ) -> None:
        right, labelled = counts[0].sum(), counts[1].sum()
        score = 100 * float(right / labelled) if labelled else float("nan")

        def thinned(step: int) -> Tuple[np.ndarray, np.ndarray]:
            return self.fold(record, labels[::step, ::step], truth[::step, ::step])

        caption = "{} % of the pixels right"
        self._samples.show(record, score, caption, self.classes, truth.shape, thinned)

    def _scores(self, rows: List[_Row]) -> Dict[str, float]:
        boundary = self._joined[1] if self._boundary else None
        scores = semantic_metrics(
            self.confusion,
            self.classes,
            boundary,
            self._background,
            boundary_rule="detectron2" if self._boundary == "detectron2" else "paper",
        )
        if self._calibration:
            sums = sum(row.calibration for row in rows) if rows else None
            scores["ECE"] = expected_calibration_error(sums)
        size = len(self.classes)
        self.image_statistics = ImageStatistics(
            self.task,
            "semantic",
            self._samples.names,
            sparse_rows(
                [np.concatenate([row.classes + size * k for k in range(3)]) for row in rows],
                [row.counts.reshape(-1) for row in rows],
                3 * size,
            ),
            {"background": self._background, "classes": list(self.classes)},
        )
        return scores

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Joins what all processes counted.

        Returns:
            {"sem_seg": `semantic_metrics`}, with calibration "ECE", on the main process;
            {} on the others.

        Raises:
            ValueError: images of the data set were not predicted.
        """
        repeated = [describe(record) for record in self._samples.repeated()]
        self._joined = self._counts.joined(repeated)
        return super().evaluate()
