"""J and F of masks: how well regions and their boundaries agree (DAVIS).

Masks stand packed, 64 pixels of a row in one number, so that a dilation by a disk is a few dozen
shifts of a small array. Behind each row stand zero bits, at least as many as the tolerance: so a
shift may run over the whole array as if it were one row. Leading dimensions (frames, objects) are
free and broadcast. H W pixels, V words a row.
"""

import math
from typing import NamedTuple, Optional, Tuple

import numpy as np

BOUND_TH = 0.008
BAND_RATIO = 0.02
_WORD = np.dtype("<u8")
_BYTE_COUNTS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


class Packed(NamedTuple):
    """Masks as bits; the bits beyond the width are 0."""

    words: np.ndarray  # (..., H, V) uint64, bit b of word v is pixel 64 v + b
    width: int


def pack(masks: np.ndarray, spare: int = 1) -> Packed:
    """Packs masks (..., H, W) bool, with at least `spare` >= 1 zero bits behind each row."""
    width = masks.shape[-1]
    bits = np.packbits(np.asarray(masks, dtype=bool), axis=-1, bitorder="little")
    octets = -(-(width + spare) // 64) * _WORD.itemsize
    packed = np.zeros((*bits.shape[:-1], octets), np.uint8)
    packed[..., : bits.shape[-1]] = bits
    return Packed(packed.view(_WORD), width)


def count(words: np.ndarray) -> np.ndarray:
    """Returns how many bits are set in each mask: (..., H, V) -> (...) int64."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(words).sum(axis=(-2, -1), dtype=np.int64)
    octets = np.ascontiguousarray(words).view(np.uint8)
    return _BYTE_COUNTS[octets].sum(axis=(-2, -1), dtype=np.int64)


def _shift(words: np.ndarray, pixels: int) -> np.ndarray:
    """Moves all bits to the right by `pixels` (to the left where negative), over the row ends."""
    row, moved = words.reshape(-1), np.zeros(words.size, words.dtype)
    whole, rest = divmod(abs(pixels), 64)
    if whole >= row.size:
        return moved.reshape(words.shape)
    if pixels >= 0:
        here, next_one = moved[whole:], moved[whole + 1 :]
        np.left_shift(row[: here.size], np.uint64(rest), out=here)
        if rest:
            next_one |= row[: next_one.size] >> np.uint64(64 - rest)
    else:
        here, next_one = moved[: row.size - whole], moved[: max(row.size - whole - 1, 0)]
        np.right_shift(row[whole:], np.uint64(rest), out=here)
        if rest:
            next_one |= row[whole + 1 :] << np.uint64(64 - rest)
    return moved.reshape(words.shape)


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
    right = words ^ _shift(words, -1)
    marked = right.copy()
    below = words[..., 1:, :]
    marked[..., :-1, :] |= words[..., :-1, :] ^ _shift(below, -1)
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
            row = row | _shift(row, step) | _shift(row, -step)
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
    found = count(prediction.boundary & truth.near)
    covered = count(truth.boundary & prediction.near)
    predicted, true = np.broadcast_arrays(count(prediction.boundary), count(truth.boundary))
    precision = np.divide(found, predicted, out=np.zeros(found.shape), where=predicted > 0)
    recall = np.divide(covered, true, out=np.zeros(found.shape), where=true > 0)
    total = precision + recall
    score = np.divide(2 * precision * recall, total, out=np.zeros(found.shape), where=total > 0)
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


def band_width(size: Tuple[int, int], ratio: float = BAND_RATIO) -> int:
    """Returns the width of the band along a boundary, in pixels, at least 1.

    Args:
        size: (H, W).
        ratio: share of the diagonal.
    """
    return max(1, round(ratio * math.sqrt(size[0] ** 2 + size[1] ** 2)))


def mask_bands(masks: np.ndarray, ratio: float = BAND_RATIO) -> np.ndarray:
    """Returns the pixels of each mask that lie near its boundary: Boundary IoU's G_d and G.

    A pixel of the mask belongs to the band if a pixel outside of the mask, or outside of the
    image, is at most `band_width` rows and columns away: the mask minus its erosion, as many
    times by a square of 3 x 3, of the code beside "Boundary IoU" (Cheng et al., CVPR 2021).

    Args:
        masks: (..., H, W) bool.
        ratio: width of the band by the diagonal.

    Returns:
        (..., H, V) words.
    """
    width = band_width(masks.shape[-2:], ratio)
    words = pack(masks, spare=width).words
    return words & ~_eroded_columns(_eroded_rows(words, width), width)


def _eroded_rows(words: np.ndarray, width: int) -> np.ndarray:
    """Keeps the bits whose `width` neighbours on both sides in the row are set.

    Behind each row stand at least `width` zero bits, which also end the row that follows.
    """
    kept, reach = words, 0
    while reach < width:
        step = min(width - reach, 2 * reach + 1)
        kept = kept & _shift(kept, step) & _shift(kept, -step)
        reach += step
    return kept


def _eroded_columns(words: np.ndarray, width: int) -> np.ndarray:
    """Keeps the bits whose `width` neighbours above and below are set."""
    kept, reach = words, 0
    while reach < width:
        step = min(width - reach, 2 * reach + 1)
        above, below = np.zeros_like(kept), np.zeros_like(kept)
        above[..., step:, :] = kept[..., :-step, :]
        below[..., :-step, :] = kept[..., step:, :]
        kept = kept & above & below
        reach += step
    return kept
