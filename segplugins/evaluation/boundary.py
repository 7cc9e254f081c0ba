"""J and F of masks: how well regions and their boundaries agree (DAVIS).

Masks stand packed, see packed_masks.py, so that a dilation by a disk is a few dozen shifts of a
small array. Leading dimensions (frames, objects) are free and broadcast. H W pixels, V words a row.
"""

import math
from typing import NamedTuple, Optional, Tuple

import numpy as np

from segplugins.evaluation.packed_masks import Packed, count, pack, shift

BOUND_TH = 0.008


def _only(words: np.ndarray, pixels: int) -> np.ndarray:
    """Clears, in place, all but the first `pixels` of each row."""
    whole, rest = divmod(pixels, 64)
    if whole < words.shape[-1]:
        words[..., whole] &= np.uint64((1 << rest) - 1)
        words[..., whole + 1 :] = 0
    return words


def boundaries(masks: Packed) -> np.ndarray:
    """Marks the pixels that differ from their right, lower or lower right neighbour.

    In the last row only the right neighbour counts, in the last column only the lower one; the
    last pixel is never marked.

    Returns:
        (..., H, V) words.
    """
    words, width = masks.words, masks.width
    right = words ^ shift(words, -1)
    marked = right.copy()
    below = words[..., 1:, :]
    marked[..., :-1, :] |= words[..., :-1, :] ^ shift(below, -1)
    _only(marked, width - 1)
    marked[..., :-1, :] |= words[..., :-1, :] ^ below
    return marked


def dilate(words: np.ndarray, radius: int) -> np.ndarray:
    """Spreads each bit over the disk dx^2 + dy^2 <= radius^2.

    Args:
        words: (..., H, V) with at least `radius` zero bits behind each row.
        radius: in pixels.

    Returns:
        (..., H, V); bits behind the rows may be set.
    """
    height = words.shape[-2]
    grown = words.copy()
    row, reach = words, 0
    for dy in range(radius, -1, -1):  # the outermost rows of the disk are the shortest
        half = math.isqrt(radius * radius - dy * dy)
        while reach < half:
            # A run of 2 reach + 1 bits moved further than that would leave a gap.
            step = min(half - reach, 2 * reach + 1)
            row = row | shift(row, step) | shift(row, -step)
            reach += step
        if dy == 0:
            grown |= row
        elif dy < height:
            grown[..., dy:, :] |= row[..., :-dy, :]
            grown[..., :-dy, :] |= row[..., dy:, :]
    return grown


def bound_radius(size: Tuple[int, int], bound_th: float = BOUND_TH) -> int:
    """Returns how far apart two boundaries may lie, in pixels.

    Args:
        size: (H, W).
        bound_th: share of the diagonal, or the number of pixels itself where >= 1.
    """
    if bound_th >= 1:
        return math.ceil(bound_th)
    return math.ceil(bound_th * math.hypot(*size))


class Outline(NamedTuple):
    """What J and F need of masks: computed once, compared with many."""

    words: np.ndarray  # (..., H, V), void pixels cleared
    boundary: np.ndarray  # (..., H, V)
    near: np.ndarray  # (..., H, V): within the tolerance of the boundary


def outline(
    masks: np.ndarray, void: Optional[np.ndarray] = None, bound_th: float = BOUND_TH
) -> Outline:
    """Prepares masks for comparison.

    Args:
        masks: (..., H, W) bool.
        void: (..., H, W) bool, pixels that count nowhere; broadcasts.
        bound_th: see `bound_radius`.
    """
    radius = bound_radius(masks.shape[-2:], bound_th)
    packed = pack(masks, spare=max(radius, 1))
    if void is not None:
        words = packed.words & ~pack(void, spare=max(radius, 1)).words
        packed = Packed(words, packed.width)
    boundary = boundaries(packed)
    return Outline(packed.words, boundary, dilate(boundary, radius))


def region_similarity(prediction: Outline, truth: Outline) -> np.ndarray:
    """Returns J = |p & g| / |p | g|, 1 where both are empty: float64, leading dimensions."""
    inter = count(prediction.words & truth.words)
    union = count(prediction.words | truth.words)
    return np.divide(inter, union, out=np.ones(inter.shape), where=union > 0)


def contour_accuracy(prediction: Outline, truth: Outline) -> np.ndarray:
    """Returns F, the harmonic mean of the boundaries' precision and recall.

    Precision: share of the predicted boundary that lies near the true one; recall the other way
    round. Of two masks without boundary (empty, or full) F is 1; where one has none, 0.
    """
    predicted_hits = count(prediction.boundary & truth.near)
    true_hits = count(truth.boundary & prediction.near)
    predicted, true = np.broadcast_arrays(count(prediction.boundary), count(truth.boundary))
    precision = np.divide(
        predicted_hits, predicted, out=np.zeros(predicted_hits.shape), where=predicted > 0
    )
    recall = np.divide(true_hits, true, out=np.zeros(predicted_hits.shape), where=true > 0)
    total = precision + recall
    score = np.divide(
        2 * precision * recall, total, out=np.zeros(predicted_hits.shape), where=total > 0
    )
    return np.where((predicted == 0) & (true == 0), 1.0, score)


def j_and_f(
    prediction: np.ndarray,
    truth: np.ndarray,
    void: Optional[np.ndarray] = None,
    bound_th: float = BOUND_TH,
) -> Tuple[np.ndarray, np.ndarray]:
    """Scores masks against true masks, pair by pair.

    Args:
        prediction: (..., H, W) bool.
        truth: (..., H, W) bool.
        void: (..., H, W) bool, pixels that count nowhere.
        bound_th: see `bound_radius`.

    Returns:
        J and F, each (...) float64.

    Raises:
        ValueError: the sizes differ.
    """
    if prediction.shape[-2:] != truth.shape[-2:]:
        raise ValueError(
            f"prediction {prediction.shape} and truth {truth.shape} differ in height or width"
        )
    ours = outline(prediction, void, bound_th)
    theirs = outline(truth, void, bound_th)
    return region_similarity(ours, theirs), contour_accuracy(ours, theirs)
