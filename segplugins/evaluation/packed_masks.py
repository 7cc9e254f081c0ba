"""Masks as bits, 64 pixels of a row in one number.

Behind each row stand zero bits, at least as many as a shift is long: so it may run over the whole
array as if it were one row. Leading dimensions are free. H W pixels, V words a row.
"""

from typing import NamedTuple

import numpy as np

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


def shift(words: np.ndarray, pixels: int) -> np.ndarray:
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


def unpack(words: np.ndarray, width: int) -> np.ndarray:
    """Returns the first `width` bits of each row: (..., H, V) -> (..., H, width) bool."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=width, bitorder="little").view(bool)


def all_in_window(words: np.ndarray, before: int, after: int) -> np.ndarray:
    """Keeps the bits around which a square is set; outside of the image nothing is.

    Args:
        words: (..., H, V) with at least `before` + `after` zero bits behind each row.
        before: rows above and columns to the left that the square reaches.
        after: rows below and columns to the right.

    Returns:
        (..., H, V).
    """
    side = before + after + 1
    kept, reach = words, 1  # bit x now says that x to x + reach - 1 are set
    while reach < side:
        step = min(reach, side - reach)
        kept = kept & shift(kept, -step)
        reach += step
    kept = shift(kept, before)
    reach = 1
    while reach < side:
        step = min(reach, side - reach)
        kept = kept & _upward(kept, step)
        reach += step
    return _downward(kept, before)


def _upward(words: np.ndarray, rows: int) -> np.ndarray:
    moved = np.zeros_like(words)
    if rows < words.shape[-2]:
        moved[..., : words.shape[-2] - rows, :] = words[..., rows:, :]
    return moved


def _downward(words: np.ndarray, rows: int) -> np.ndarray:
    moved = np.zeros_like(words)
    if rows < words.shape[-2]:
        moved[..., rows:, :] = words[..., : words.shape[-2] - rows, :]
    return moved
