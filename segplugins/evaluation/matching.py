"""Detections find their true instances by the rules of pycocotools and lvis.

D detections and G true instances of one image and class (a "pair"); T = 10 IoU thresholds, A = 4
ranges of area. The greedy matching, which those packages do with loops over images, classes, areas,
thresholds, detections and truths, runs here over arrays of pairs, areas and thresholds.
"""

from typing import Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Name of each range of area and its ends in square pixels, both inclusive.
AREAS = (("all", 0.0, 1e10), ("s", 0.0, 32.0**2), ("m", 32.0**2, 96.0**2), ("l", 96.0**2, 1e10))
_LOW = np.array([low for _, low, _ in AREAS])
_HIGH = np.array([high for _, _, high in AREAS])
# Entries of the largest table of a batch of pairs: bounds the memory of matching.
_BATCH = 4_000_000


class Pair(NamedTuple):
    """The detections and true instances of one class in one image.

    Detections stand in falling order of score.
    """

    ious: np.ndarray  # (D, G) float64
    areas: np.ndarray  # (D,) of the detections, in square pixels
    true_areas: np.ndarray  # (G,)
    ignored: np.ndarray  # (G,) bool: never counted as missed
    crowd: np.ndarray  # (G,) bool: ignored too, and may match many detections


def outside(areas: np.ndarray) -> np.ndarray:
    """Returns (A, N) bool: which of N areas lie outside of each range."""
    return (areas < _LOW[:, None]) | (areas > _HIGH[:, None])


def match(pairs: Sequence[Pair]) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Matches detections to true instances, greedily in falling order of score.

    A detection takes the free true instance with the highest IoU at or above the threshold, of
    equal ones the last; one that is ignored (or outside the range of area) only where no other
    is left.

    Args:
        pairs: any number; they do not influence each other.

    Returns:
        Per pair: matched (A, T, D) bool, and disregarded (A, T, D) bool: matched to an ignored
        instance, so neither right nor wrong.
    """
    shape = len(AREAS), len(IOU_THRESHOLDS)
    results = [
        (np.zeros((*shape, len(p.areas)), bool), np.zeros((*shape, len(p.areas)), bool))
        for p in pairs
    ]
    # Most detections come near no true instance at all.
    near = [np.flatnonzero((p.ious >= IOU_THRESHOLDS[0]).any(axis=1)) for p in pairs]
    for batch in _batches([p.ious.shape[1] for p in pairs], [len(rows) for rows in near]):
        _match_batch(
            [pairs[i] for i in batch], [near[i] for i in batch], [results[i] for i in batch]
        )
    return results


def _batches(num_true: Sequence[int], num_near: Sequence[int]) -> Iterator[List[int]]:
    """Gives the indices of pairs that have something to match, those of like size together."""
    batch: List[int] = []
    largest = 0
    for i in sorted(range(len(num_true)), key=lambda i: (num_true[i], num_near[i])):
        if not num_near[i]:
            continue
        largest = max(largest, num_true[i] * (len(AREAS) * len(IOU_THRESHOLDS) + num_near[i]))
        if batch and largest * (len(batch) + 1) > _BATCH:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _match_batch(
    pairs: Sequence[Pair],
    near: Sequence[np.ndarray],
    results: Sequence[Tuple[np.ndarray, np.ndarray]],
) -> None:
    """Fills `results`; all pairs take their first near detection together, then their second..."""
    order = sorted(range(len(pairs)), key=lambda i: -len(near[i]))
    steps = np.array([len(near[i]) for i in order])
    most = max(p.ious.shape[1] for p in pairs)
    n, shape = len(pairs), (len(AREAS), len(IOU_THRESHOLDS))
    ious = np.full((n, steps[0], most), -1.0)
    ignored = np.ones((n, len(AREAS), most), bool)
    crowd = np.zeros((n, most), bool)
    for row, i in enumerate(order):
        count = pairs[i].ious.shape[1]
        ious[row, : steps[row], :count] = pairs[i].ious[near[i]]
        ignored[row, :, :count] = pairs[i].ignored | outside(pairs[i].true_areas)
        crowd[row, :count] = pairs[i].crowd
    free = np.ones((n, *shape, most), bool)
    taken, on_ignored = np.zeros((2, n, *shape, steps[0]), bool)
    for step in range(steps[0]):
        a = np.count_nonzero(steps > step)  # those that go on come first, thanks to the order
        taken[:a, :, :, step], on_ignored[:a, :, :, step] = _take(
            ious[:a, step], ignored[:a], crowd[:a], free[:a]
        )
    for row, i in enumerate(order):
        matched, disregarded = results[i]
        matched[:, :, near[i]] = taken[row, :, :, : steps[row]]
        disregarded[:, :, near[i]] = on_ignored[row, :, :, : steps[row]]


def _take(
    ious: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, free: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """One detection of each pair chooses, and marks what it takes in `free`.

    Args:
        ious: (n, G).
        ignored: (n, A, G).
        crowd: (n, G).
        free: (n, A, T, G), changed in place.

    Returns:
        Took one, took an ignored one: (n, A, T) bool each.
    """
    allowed = free & (ious[:, None] >= IOU_THRESHOLDS[:, None])[:, None]
    counted = allowed & ~ignored[:, :, None]
    any_counted = counted.any(axis=-1)
    choice = np.where(any_counted[..., None], counted, allowed)
    any_allowed = choice.any(axis=-1)
    # The last of the highest: argmax gives the first, so it looks from the end.
    values = np.where(choice, ious[:, None, None], -1.0)[..., ::-1]
    best = ious.shape[1] - 1 - values.argmax(axis=-1)
    pair, area, threshold = np.nonzero(any_allowed)
    chosen = best[pair, area, threshold]
    free[pair, area, threshold, chosen] = crowd[pair, chosen]
    return any_allowed, any_allowed & ~any_counted
