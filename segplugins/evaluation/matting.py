"""Errors of alpha mattes in the unknown band of a trimap: SAD, MSE and Grad.

H W pixels. The measures of the matting benchmarks (Rhemann et al., CVPR 2009).
"""

from typing import Dict, Optional

import numpy as np
from scipy import ndimage

_SIGMA = 1.4  # of the derivative filters, in pixels


def matting_errors(
    alpha: np.ndarray, truth: np.ndarray, unknown: Optional[np.ndarray] = None
) -> Dict[str, float]:
    """Returns "SAD", "MSE" and "Grad" of an alpha matte; smaller is better.

        SAD = sum |a - a*| / 1000,   MSE = mean (a - a*)^2,
        Grad = sum (|grad a| - |grad a*|)^2 / 1000

    Args:
        alpha: a, (H, W) in [0, 1].
        truth: a*, likewise.
        unknown: (H, W) bool, the pixels that count; None = all. If it is empty all errors are NaN.

    Raises:
        ValueError: sizes differ, or values are no numbers in [0, 1].

    Example:
        >>> truth = np.zeros((4, 5))
        >>> errors = matting_errors(np.full((4, 5), 0.5), truth)
        >>> errors["SAD"], errors["MSE"], errors["Grad"]
        (0.01, 0.25, 0.0)
    """
    alpha, truth = _checked("alpha", alpha), _checked("truth", truth)
    counted = np.ones(truth.shape, dtype=bool) if unknown is None else np.asarray(unknown, bool)
    if not alpha.shape == truth.shape == counted.shape:
        raise ValueError(
            f"alpha {alpha.shape}, truth {truth.shape} and the unknown band {counted.shape} must "
            "have one size"
        )
    if not counted.any():
        return dict.fromkeys(("SAD", "MSE", "Grad"), float("nan"))
    difference = (alpha - truth)[counted]
    slopes = (gradient_magnitude(alpha) - gradient_magnitude(truth))[counted]
    return {
        "SAD": float(np.abs(difference).sum() / 1000),
        "MSE": float(np.square(difference).mean()),
        "Grad": float(np.square(slopes).sum() / 1000),
    }


def gradient_magnitude(alpha: np.ndarray) -> np.ndarray:
    """Returns (H, W): length of the gradient, by first derivatives of a Gaussian of sigma 1.4."""
    down, right = (
        ndimage.gaussian_filter(alpha, _SIGMA, order=order, mode="nearest")
        for order in ((1, 0), (0, 1))
    )
    return np.hypot(down, right)


def _checked(name: str, matte: np.ndarray) -> np.ndarray:
    matte = np.asarray(matte, dtype=np.float64)
    # NaN fails both comparisons.
    if matte.ndim != 2 or not ((matte >= 0) & (matte <= 1)).all():
        raise ValueError(f"{name} must be (H, W) with values in [0, 1], got shape {matte.shape}")
    return matte
