"""Calibration: whether a score of 0.8 is right in 80 % of the pixels (Guo et al., 2017, eq. 3)."""

from typing import Optional

import numpy as np
import torch
from torch import Tensor

BINS = 15


def calibration_sums(confidence: Tensor, right: Tensor, bins: int = BINS) -> np.ndarray:
    """Sums up the pixels of an image by their confidence.

    Args:
        confidence: (N,) scores 0-1 of the classes that were chosen.
        right: (N,) bool, the chosen class is the true one.
        bins: equal intervals of 0-1, each with its upper end; 0 belongs to the first.

    Returns:
        (3, bins) float64: number of pixels, of right pixels, sum of the confidence.
    """
    confidence = confidence.double()
    index = ((confidence * bins).ceil().long() - 1).clamp_(0, bins - 1)
    sums = [
        torch.bincount(index, weights=weights, minlength=bins)
        for weights in (torch.ones_like(confidence), right.double(), confidence)
    ]
    return torch.stack(sums).cpu().numpy()


def expected_calibration_error(sums: Optional[np.ndarray]) -> float:
    """Returns sum over bins of n_b / N |accuracy_b - mean confidence_b| in percent.

    Args:
        sums: (3, bins), added up over images; None = no image.

    Returns:
        NaN without a pixel.

    Example:
        >>> # Ten pixels of confidence 0.8, of which seven are right.
        >>> sums = calibration_sums(torch.full((10,), 0.8), torch.arange(10) < 7)
        >>> round(expected_calibration_error(sums), 3)
        10.0
    """
    if sums is None or not sums[0].sum():
        return float("nan")
    pixels, right, confidence = sums
    return 100 * float(np.abs(right - confidence).sum() / pixels.sum())
