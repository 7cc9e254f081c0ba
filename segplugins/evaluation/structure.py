"""The two measures of salient objects that depend on where pixels are: S and weighted F.

q the prediction, 0-1 float64, g the target, bool; both (H, W).
"""

import logging
import math
from functools import cache
from typing import Dict, List, NamedTuple, Tuple

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


def _offsets(reach: int) -> Dict[int, List[Tuple[int, int]]]:
    """Returns squared distance to the (row, column) steps of it, from left to right and down.

    Args:
        reach: rows and columns; the nearest object pixel may lie further off, in the same row for
            instance, but not further than the corner of this square.
    """
    longest = 2 * reach * reach
    side = math.isqrt(longest)
    offsets: Dict[int, List[Tuple[int, int]]] = {}
    for x in range(-side, side + 1):
        for y in range(-side, side + 1):
            if 0 < x * x + y * y <= longest:
                offsets.setdefault(x * x + y * y, []).append((y, x))
    return offsets


_OFFSETS = _offsets(_WINDOW // 2)


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
    squared = _squared_distance(g)
    on = np.minimum(_smoothed(error, g, squared), error[g])
    true_positives = positives - on.sum()
    false_positives = np.vdot(error, _false_weights(squared))
    recall = 1 - on.mean()
    precision = true_positives / (true_positives + false_positives + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))


def _smoothed(error: np.ndarray, g: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """Returns the smoothed errors of the object's pixels, (number of them,).

    Args:
        error: (H, W) float64.
        g: (H, W) bool, not empty.
        squared: (H, W), see `_squared_distance`.
    """
    rows, columns = np.flatnonzero(g.any(axis=1)), np.flatnonzero(g.any(axis=0))
    reach = _WINDOW // 2  # nothing further away is ever looked at
    box = tuple(slice(max(at[0] - reach, 0), at[-1] + reach + 1) for at in (rows, columns))
    spread = _spread(error[box], g[box], squared[box])
    window = _gaussian()
    smooth = cv2.sepFilter2D(spread, cv2.CV_64F, window, window, borderType=cv2.BORDER_CONSTANT)
    return smooth[g[box]]


def _spread(error: np.ndarray, g: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """Returns the errors, where a background pixel in reach takes that of the nearest object pixel.

    Of several object pixels at the same distance the leftmost counts, in a column the upper one:
    so SciPy's distance transform decides, on which the reference relies.
    """
    margin = max(max(offset) for offsets in _OFFSETS.values() for offset in offsets)
    on = np.pad(g, margin)
    padded = np.pad(error, margin)
    window = np.ones((_WINDOW, _WINDOW), np.uint8)
    band = cv2.dilate(g.astype(np.uint8), window).view(bool) > g
    places, distances = np.flatnonzero(np.pad(band, margin)), squared[band]
    flat, errors = on.reshape(-1), padded.reshape(-1)
    for distance, offsets in _OFFSETS.items():
        here = places[distances == distance]
        if here.size:
            steps = np.array([y * on.shape[1] + x for y, x in offsets])
            first = flat[here[:, None] + steps].argmax(axis=1)
            errors[here] = errors[here + steps[first]]
    return padded[margin:-margin, margin:-margin]


def _squared_distance(g: np.ndarray) -> np.ndarray:
    """Returns the squared distance to the nearest object pixel, (H, W) whole numbers."""
    if g.shape[0] ** 2 + g.shape[1] ** 2 < _EXACT:
        distance = cv2.distanceTransform((~g).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distance *= distance
        return np.rint(distance, out=distance).astype(np.int32)
    return np.rint(ndimage.distance_transform_edt(~g) ** 2).astype(np.int64)


def _false_weights(squared: np.ndarray) -> np.ndarray:
    """Returns 2 - exp(ln(0.5) / 5 * distance) of squared distances, and 0 inside of the object."""
    if squared.max(initial=0) < _TABLE:
        return _weight_table().take(squared)
    return _weights(squared)


@cache
def _weight_table() -> np.ndarray:
    """Returns the weights of squared distances below `_TABLE`, faster looked up than computed."""
    return _weights(np.arange(_TABLE))


def _weights(squared: np.ndarray) -> np.ndarray:
    return np.where(squared > 0, 2 - np.exp(_FALL * np.sqrt(squared)), 0.0)
