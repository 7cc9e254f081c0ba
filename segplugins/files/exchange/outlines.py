"""Masks as polygons along the edges of pixels, without loss.

Drawn again, such a polygon covers the same pixels. Coordinates are pixel edges: the pixel in row y
and column x reaches from (x, y) to (x + 1, y + 1).
"""

from typing import List, NamedTuple

import numpy as np


class Outline(NamedTuple):
    """A closed line around pixels or around a hole.

    Args:
        points: (N, 2) x, y of its corners; the last is joined to the first.
        is_hole: whether it surrounds pixels that do not belong to the mask.
    """

    points: np.ndarray
    is_hole: bool


def outlines(mask: np.ndarray) -> List[Outline]:
    """Returns the outlines of a mask, from top to bottom; pixels that touch at a corner stay apart.

    Args:
        mask: (H, W) bool.

    Example:
        >>> [each.points.tolist() for each in outlines(np.array([[False, True]]))]
        [[[1, 0], [2, 0], [2, 1], [1, 1]]]
    """
    pixels = np.pad(np.asarray(mask, bool), 1)
    above_left, above_right = pixels[:-1, :-1], pixels[:-1, 1:]
    below_left, below_right = pixels[1:, :-1], pixels[1:, 1:]
    count = above_left.astype(np.int8) + above_right + below_left + below_right
    crossing = (count == 2) & (above_left == below_right)
    rows, columns = np.nonzero((count % 2 == 1) | crossing)
    # Where pixels touch at a corner, two corners lie on one point: one joins the edges of the upper
    # pixel, one those of the lower. `first_in_row` says whose edge goes to the left.
    twice = crossing[rows, columns]
    upper_is_left = above_left[rows, columns]
    y, x = np.r_[rows, rows[twice]], np.r_[columns, columns[twice]]
    is_lower = np.r_[np.zeros(len(rows), bool), np.ones(twice.sum(), bool)]
    in_row = np.where(np.r_[upper_is_left, upper_is_left[twice]], is_lower, ~is_lower)
    in_row &= np.r_[twice, twice[twice]]
    beside = _partners(np.lexsort((in_row, x, y)))
    below = _partners(np.lexsort((is_lower, y, x)))
    return _walk(np.stack([x, y], axis=1), beside, below, pixels)


def _partners(order: np.ndarray) -> np.ndarray:
    """Returns per corner the other end of its edge: in order, corners pair up two by two."""
    partner = np.empty(len(order), np.int64)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner


def _walk(
    points: np.ndarray, beside: np.ndarray, below: np.ndarray, pixels: np.ndarray
) -> List[Outline]:
    rings, used = [], np.zeros(len(points), bool)
    steps = beside.tolist(), below.tolist()
    for start in np.lexsort((points[:, 0], points[:, 1])).tolist():
        if used[start]:
            continue
        ring, corner, turn = [], start, 0
        while not ring or corner != start:
            ring.append(corner)
            corner, turn = steps[turn][corner], 1 - turn
        used[ring] = True
        x, y = points[start]  # the highest corner, and of these the left one
        rings.append(Outline(points[ring], not pixels[y + 1, x + 1]))
    return rings


def one_polygon(mask: np.ndarray) -> List[float]:
    """Returns a mask as one flat polygon [x, y, x, y, ...] that covers the same pixels.

    Parts and holes are joined by lines that are run through twice and cover nothing.

    Args:
        mask: (H, W) bool, not empty.
    """
    rings = [outline.points for outline in outlines(mask)]
    joined, rest = rings[0], rings[1:]
    while rest:
        nearest = [_bridge(joined, ring) for ring in rest]
        chosen = int(np.argmin([distance for distance, _, _ in nearest]))
        _, i, j = nearest[chosen]
        ring = rest.pop(chosen)
        joined = np.concatenate([joined[: i + 1], ring[j:], ring[: j + 1], joined[i:]])
    return joined.astype(float).ravel().tolist()


def _bridge(a: np.ndarray, b: np.ndarray) -> tuple:
    """Returns the smallest distance between corners of two rings, and which corners they are."""
    best = (np.inf, 0, 0)
    for start in range(0, len(a), 256):  # bounded memory for long outlines
        part = a[start : start + 256, None].astype(np.int64)
        distances = np.abs(part - b[None]).sum(axis=-1)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        if distances[i, j] < best[0]:
            best = (distances[i, j], start + int(i), int(j))
    return best
