"""Detections take their true instances by the rules of pycocotools and lvis.

D detections and G true instances of one image; T = 10 IoU thresholds, A = 4 ranges of area. What
happens at each of the A T combinations is one bit of a whole number, bit a T + t, so that one
operation answers for all of them.
"""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Name of each range of area and its ends in square pixels, both inclusive.
AREAS = (("all", 0.0, 1e10), ("s", 0.0, 32.0**2), ("m", 32.0**2, 96.0**2), ("l", 96.0**2, 1e10))
_T, _A = len(IOU_THRESHOLDS), len(AREAS)
_EVERY_AREA = sum(1 << (a * _T) for a in range(_A))
# Number of thresholds reached -> the bits of these thresholds, in every range of area.
_REACHED = np.array([_EVERY_AREA * ((1 << n) - 1) for n in range(_T + 1)], np.uint64)
# Bits of ranges of area -> the bits of these ranges, at every threshold.
_OF_AREAS = np.array(
    [
        sum((1 << _T) - 1 << (a * _T) for a in range(_A) if areas >> a & 1)
        for areas in range(1 << _A)
    ],
    np.uint64,
)


class NearPairs(NamedTuple):
    """Pairs of one class whose IoU reaches the lowest threshold; all others cannot match."""

    detections: np.ndarray  # (M,) indices, lower ones choose first
    true: np.ndarray  # (M,) indices
    ious: np.ndarray  # (M,) float64


class Matches(NamedTuple):
    """What the detections of some `NearPairs` took, as bits."""

    detections: np.ndarray  # (n,) indices, ascending
    counted: np.ndarray  # (n,) uint64: a true instance that counts
    ignored: np.ndarray  # (n,) uint64: one that is ignored, or outside of the range of area


def _outside_table() -> Tuple[np.ndarray, np.ndarray]:
    """Returns the ends of all ranges, and bits for each place between and on them, in turns."""
    ends = np.unique([end for _, low, high in AREAS for end in (low, high)])
    between = [ends[0] - 1, *(ends[:-1] + ends[1:]) / 2, ends[-1] + 1]
    places = [between[0]]
    for end, after in zip(ends, between[1:]):
        places += [end, after]
    bits = [
        sum(1 << a for a, (_, low, high) in enumerate(AREAS) if not low <= area <= high)
        for area in places
    ]
    return ends, np.array(bits, np.uint8)


_ENDS, _OUTSIDE = _outside_table()


def outside(areas: np.ndarray) -> np.ndarray:
    """Returns which of N areas lie outside of each range: (N,) uint8, a bit per range."""
    return _OUTSIDE[_ENDS.searchsorted(areas) + _ENDS.searchsorted(areas, side="right")]


def of_areas(areas: np.ndarray) -> np.ndarray:
    """Returns (N,) uint64: ranges of area, a bit each, at every threshold."""
    return _OF_AREAS[areas]


def unpacked(bits: np.ndarray) -> np.ndarray:
    """(N,) uint64 -> (A, T, N) bool."""
    octets = bits.astype("<u8").view(np.uint8).reshape(-1, 8)
    flags = np.unpackbits(octets, axis=1, count=_A * _T, bitorder="little")
    return np.ascontiguousarray(flags.T).view(bool).reshape(_A, _T, -1)


def match(pairs: NearPairs, ignored: np.ndarray, crowd: np.ndarray) -> Matches:
    """Matches detections to true instances, greedily.

    A detection takes the free true instance with the highest IoU at or above the threshold, of
    equal ones the last; one that is ignored only where no other is left. A crowd stays free.

    Args:
        pairs: in any order.
        ignored: (G,) uint8: the ranges of area, a bit each, in which an instance does not count.
        crowd: (G,) bool; a crowd must be ignored in every range.
    """
    order = np.lexsort((-pairs.true, -pairs.ious, pairs.detections))
    rows, true = pairs.detections[order], pairs.true[order].tolist()
    thresholds = IOU_THRESHOLDS.searchsorted(pairs.ious[order], side="right")
    reached = _REACHED[thresholds].tolist()
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    starts = first.tolist()
    not_counted = of_areas(ignored)
    free = (~not_counted & _REACHED[-1]).tolist(), not_counted.tolist()
    stays = crowd.tolist()
    counted, on_ignored = [], []
    for start, end in zip(starts, [*starts[1:], len(true)]):
        candidates = true[start:end], reached[start:end]
        taken = _take(*candidates, free[0], stays, 0)
        counted.append(taken)
        on_ignored.append(_take(*candidates, free[1], stays, taken))
    return Matches(rows[first], np.array(counted, np.uint64), np.array(on_ignored, np.uint64))


def _take(
    true: Sequence[int],
    reached: Sequence[int],
    free: List[int],
    stays: Sequence[bool],
    without: int,
) -> int:
    """One detection takes what is free, best first.

    Args:
        true: candidates.
        reached: bits of the thresholds that the IoU to each of them reaches.
        free: bits at which each true instance may be taken; changed in place.
        stays: true instances that stay free.
        without: bits at which the detection has taken something already.

    Returns:
        The bits at which it took something.
    """
    taken = 0
    for candidate, reach in zip(true, reached):
        bits = reach & free[candidate] & ~(without | taken)
        if bits:
            taken |= bits
            if not stays[candidate]:
                free[candidate] &= ~bits
    return taken
