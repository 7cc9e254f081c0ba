"""From the scores of a model to one class a pixel, and how sure the model is of it.

P classes that the model answers with, H W pixels.
"""

from typing import Any, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from segplugins.evaluation.calibration import calibration_sums
from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.label_maps import best_class
from segplugins.evaluation.sample_identity import describe


class PixelDecision(NamedTuple):
    """How a class is chosen for each pixel.

    Args:
        fold: knows P, and the label of pixels without a score that is high enough.
        threshold: pixels where no score reaches it hold `fold.below_threshold`. None: no threshold.
        none_class: one of the P that is not in the running where there is a threshold.
        calibration: the highest scores are needed, so that a label map is an error.
    """

    fold: ClassFold
    threshold: Optional[float]
    none_class: Optional[int]
    calibration: bool

    def label_map(
        self, record: Mapping[str, Any], prediction: Tensor
    ) -> Tuple[np.ndarray, Optional[Tensor]]:
        """Returns labels (H, W) on the host and, of scores, the highest of each pixel (H, W).

        Args:
            record: whose prediction it is, for messages.
            prediction: (P, H, W) float scores or (H, W) whole labels or bool.

        Raises:
            ValueError: it is neither, a score is not finite, or scores are needed and it holds
                none; names the image.
        """
        if prediction.dim() == 2 and not prediction.is_floating_point():
            self._check_labels_suffice(record)
            return prediction.cpu().numpy(), None
        self._check_form(record, prediction)
        none_class = None if self.threshold is None else self.none_class
        labels, highest = best_class(prediction, none_class)
        unread = prediction[:0] if none_class is None else prediction[none_class]
        if not bool(torch.isfinite(highest).all()) or bool(unread.isnan().any()):
            raise ValueError(
                f"{describe(record)}: the scores hold NaN or infinity, or a pixel has none"
            )
        highest = highest.to(torch.promote_types(highest.dtype, torch.float32))
        if self.threshold is not None:
            labels[highest < self.threshold] = self.fold.below_threshold
        # Narrow numbers: less to bring from a device and to compare.
        narrow = torch.int16 if self.fold.num_predicted < 2**15 else torch.int32
        return labels.to(narrow).cpu().numpy(), highest

    def _check_labels_suffice(self, record: Mapping[str, Any]) -> None:
        for is_needed, reader in (
            (self.threshold is not None, f"background threshold {self.threshold}"),
            (self.calibration, "calibration"),
        ):
            if is_needed:
                raise ValueError(
                    f"{describe(record)}: the prediction is a label map, but the {reader} needs "
                    "scores: set TEST.LABEL_MAPS False"
                )

    def _check_form(self, record: Mapping[str, Any], prediction: Tensor) -> None:
        if prediction.dim() != 3 or not prediction.is_floating_point():
            raise ValueError(
                f"{describe(record)}: the prediction is {prediction.dtype} "
                f"{tuple(prediction.shape)}, expected float scores (K, H, W) or integer labels "
                "(H, W)"
            )
        if len(prediction) != self.fold.num_predicted:
            raise ValueError(
                f"{describe(record)}: the prediction has {len(prediction)} channels, the "
                f"vocabulary {self.fold.num_predicted} classes"
            )


def confidence_sums(
    record: Mapping[str, Any],
    confidence: Tensor,
    labels: np.ndarray,
    truth: np.ndarray,
    fold: ClassFold,
) -> np.ndarray:
    """Returns `calibration_sums` of the pixels that have a true class.

    Args:
        record: whose prediction it is, for messages.
        confidence: (H, W) the highest score of each pixel, 0-1.
        labels: (H, W) predicted.
        truth: (H, W) of the label file.
        fold: from these labels to evaluated classes.

    Raises:
        ValueError: a score is below 0 or above 1; names the image.
    """
    low, high = (float(value) for value in torch.aminmax(confidence))
    if low < 0 or high > 1:
        raise ValueError(
            f"{describe(record)}: the highest scores range from {low:g} to {high:g}; the "
            "calibration needs probabilities 0-1 (a softmax or sigmoid)"
        )
    predicted, true = fold(record, labels, truth)
    labelled = torch.from_numpy(true < fold.num_classes).to(confidence.device)
    right = torch.from_numpy(predicted == true).to(confidence.device)
    return calibration_sums(confidence[labelled], right[labelled])
