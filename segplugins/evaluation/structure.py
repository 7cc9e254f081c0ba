"""The two measures of salient objects that depend on where pixels are: S and weighted F.

q the prediction, 0-1 float64, g the target, bool; both (H, W).
"""

import logging
from functools import cache
from typing import NamedTuple, Tuple

import cv2
import numpy as np
from scipy import ndimage

logger = logging.getLogger(__name__)

_TABLE = 2**20  # squared distances within 1,024 pixels
# OpenCV's distances are of 32 bits: squares below are whole numbers after rounding.
_EXACT = 2**22

EPS = float(np.spacing(1))
_ALPHA = 0.5  # weight of the object part of S
_WINDOW, _SIGMA = 7, 5.0  # of the Gaussian of the weighted F
_FALL = np.log(0.5) / 5  # the weight of a false pixel grows with its distance to the object


class Counts(NamedTuple):
    """A prediction and its target without the places of the pixels."""

    levels: np.ndarray  # (256,) float64: q of each grey value
    on: np.ndarray  # (256,) int64: pixels of the object with each grey value
    off: np.ndarray  # (256,) int64: pixels of the background


def structure_measure(q: np.ndarray, g: np.ndarray, counts: Counts) -> float:
    """Returns S = 0.5 S_object + 0.5 S_region, at least 0.

    Empty target: 1 - mean(q); full: mean(q).

    Args:
        q: (H, W) float64.
        g: (H, W) bool.
        counts: the same pixels by their value.
    """
    positives = counts.on.sum()
    if positives == 0:
        return float(1 - q.mean())
    if positives == g.size:
        return float(q.mean())
    share = positives / g.size
    inside, outside = _object(counts.levels, counts.on), _object(1 - counts.levels, counts.off)
    objects = share * inside + (1 - share) * outside
    return max(0.0, float(_ALPHA * objects + (1 - _ALPHA) * _regions(q, g)))


def _object(values: np.ndarray, counts: np.ndarray) -> float:
    """Returns 2 m / (m^2 + 1 + s): high where values are high and alike."""
    n = counts.sum()
    mean = counts @ values / n
    spread = np.sqrt(counts @ (values - mean) ** 2 / (n - 1)) if n > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + spread + EPS)


def _centre(g: np.ndarray) -> Tuple[int, int]:
    """Returns where the target's centroid cuts the image: (row, column), each one past it."""
    rows, columns = np.count_nonzero(g, axis=1), np.count_nonzero(g, axis=0)
    total = rows.sum()
    y = np.dot(rows, np.arange(len(rows))) / total
    x = np.dot(columns, np.arange(len(columns))) / total
    return int(np.round(y)) + 1, int(np.round(x)) + 1  # round half to even, as the reference


def _regions(q: np.ndarray, g: np.ndarray) -> float:
    """Returns the likeness of four blocks around the centroid, weighted by their areas."""
    height, width = g.shape
    y, x = _centre(g)
    weights = np.array([y * x, y * (width - x), (height - y) * x], np.float64) / g.size
    weights = np.append(weights, 1 - weights.sum())
    rows, columns = (slice(0, y), slice(y, None)), (slice(0, x), slice(x, None))
    blocks = [(row, column) for row in rows for column in columns]
    return float(sum(w * _likeness(q[at], g[at]) for w, at in zip(weights, blocks)))


def _likeness(q: np.ndarray, g: np.ndarray) -> float:
    """Returns the structural similarity of prediction and target in one block."""
    n = q.size
    if n == 0:
        # The centroid lies in the last row or column. The reference divides by 0 here, which makes
        # the whole data set NaN; the block weighs nothing.
        logger.info("S-measure: a block around the centroid is empty and counts 0")
        return 0.0
    positives = np.count_nonzero(g)
    x, y = q.mean(), positives / n
    # Not from histograms: whether a block of one value has a variance hangs on rounding, and the
    # reference's mean over pixels decides.
    dx = q - x
    var_x = np.vdot(dx, dx) / (n - 1 + EPS)
    var_y = (positives * (1 - y) ** 2 + (n - positives) * y**2) / (n - 1 + EPS)
    cov = np.vdot(dx, g - y) / (n - 1 + EPS)
    a, b = 4 * x * y * cov, (x * x + y * y) * (var_x + var_y)
    if a != 0:
        return a / (b + EPS)
    return 1.0 if b == 0 else 0.0


def _gaussian() -> np.ndarray:
    """Returns one side of the separable window, (7,), sum 1."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return weights / weights.sum()


def weighted_f(q: np.ndarray, g: np.ndarray) -> float:
    """Returns the F measure (beta 1) with errors weighed by where they are; 0 for an empty target.

    A background pixel takes the error of the nearest object pixel; errors are smoothed with a 7x7
    Gaussian; inside the object smoothing may only lower them; outside they weigh
    2 - exp(ln(0.5) / 5 * distance).
    """
    positives = np.count_nonzero(g)
    if positives == 0:
        return 0.0
    error = np.abs(q - g)
    on = np.minimum(_smoothed(error, g), error[g])
    weighted = error * _false_weights(_squared_distance(g))
    weighted[g] = 0
    true_positives, false_positives = positives - on.sum(), weighted.sum()
    recall = 1 - on.mean()
    precision = true_positives / (true_positives + false_positives + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))


def _smoothed(error: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Returns the smoothed errors of the object's pixels, (number of them,)."""
    rows, columns = np.flatnonzero(g.any(axis=1)), np.flatnonzero(g.any(axis=0))
    reach = _WINDOW // 2  # nothing further away is ever looked at
    box = tuple(slice(max(at[0] - reach, 0), at[-1] + reach + 1) for at in (rows, columns))
    nearest = ndimage.distance_transform_edt(~g[box], return_distances=False, return_indices=True)
    smooth = error[box][nearest[0], nearest[1]]
    for axis in (0, 1):
        smooth = ndimage.correlate1d(smooth, _gaussian(), axis=axis, mode="constant")
    return smooth[g[box]]


def _squared_distance(g: np.ndarray) -> np.ndarray:
    """Returns the squared distance to the nearest object pixel, (H, W) whole numbers."""
    if g.shape[0] ** 2 + g.shape[1] ** 2 < _EXACT:
        distance = cv2.distanceTransform((~g).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distance *= distance
        return np.rint(distance, out=distance).astype(np.int32)
    return np.rint(ndimage.distance_transform_edt(~g) ** 2).astype(np.int64)


def _false_weights(squared: np.ndarray) -> np.ndarray:
    """Returns 2 - exp(ln(0.5) / 5 * distance) of squared distances."""
    if squared.max(initial=0) < _TABLE:
        return _weight_table().take(squared)
    return 2 - np.exp(_FALL * np.sqrt(squared))


@cache
def _weight_table() -> np.ndarray:
    """Returns the weights of squared distances below `_TABLE`, faster looked up than computed."""
    return 2 - np.exp(_FALL * np.sqrt(np.arange(_TABLE)))
