"""Masks and boxes of annotations against the size of their picture, many at a time.

Polygons are compared without drawing them: by numbers alone, in arrays over many annotations.
"""

from array import array
from itertools import chain
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from segplugins.structures.regions import check_polygons, check_runs, rle_counts

TOLERANCE = 2.0  # pixels by which a box may differ from that of its mask
_REACH = 8  # picture sides, as in structures/regions.py
_FAR = 10**300
_LONG = 100_000  # pixels of an outline from which on it is measured

_EMPTY = "the mask covers no pixel of the image"

Extent = Tuple[float, float, float, float]


class MaskChecks(NamedTuple):
    """What is known of N masks without drawing them.

    Args:
        extents: (N, 4) float64 x0, y0, x1, y1 in pixels, cut at the picture.
        faults: by index kind and message of what is wrong with a mask; its extent means nothing.
    """

    extents: np.ndarray
    faults: Dict[int, Tuple[str, str]]


class MaskError(ValueError):
    """A mask that does not fit its picture, with the kind of its fault."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def check_masks(
    masks: Sequence[Any], sizes: np.ndarray, values: Optional[np.ndarray] = None
) -> MaskChecks:
    """Compares masks with the pictures that they belong to.

    Args:
        masks: N masks in the normal form of `as_mask`.
        sizes: (N, 2) height, width.
        values: of all polygons, one behind the other, if the caller has them; see `flat_values`.

    Returns:
        Extents and faults: run lengths and points that do not fit the picture.
    """
    extents = np.zeros((len(masks), 4))
    faults: Dict[int, Tuple[str, str]] = {}
    drawn = [index for index, mask in enumerate(masks) if type(mask) is list]
    if drawn:
        polygons = [masks[index] for index in drawn]
        extents[drawn], polygon_faults = _check_polygons(polygons, sizes[drawn], values)
        faults.update((drawn[index], fault) for index, fault in polygon_faults.items())
    for index, mask in enumerate(masks):
        if type(mask) is not list:
            try:
                extents[index] = _check_rle(mask, *sizes[index].tolist())
            except ValueError as error:
                faults[index] = getattr(error, "kind", "rle"), str(error)
    return MaskChecks(extents, faults)


def _check_polygons(
    masks: Sequence[List[List[float]]], sizes: np.ndarray, flat: Optional[np.ndarray]
) -> Tuple[np.ndarray, Dict[int, Tuple[str, str]]]:
    polygons = list(chain.from_iterable(masks))
    lengths = np.fromiter(map(len, polygons), np.int64, len(polygons))
    if flat is None:
        try:
            flat = flat_values(polygons)
        except OverflowError:  # a whole number beyond what float64 holds
            flat = flat_values([[min(max(v, -_FAR), _FAR) for v in p] for p in polygons])
    points = flat.reshape(-1, 2)
    first_polygon = np.cumsum([0, *map(len, masks[:-1])])
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))[first_polygon] // 2
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
        farthest = np.maximum(np.abs(low), np.abs(high)).max(axis=1)
        # Longer than any outline through these points can be.
        bound = np.diff(np.append(starts, len(points))) * (high - low).max(axis=1)
        suspect = ~(farthest <= _REACH * sizes.max(axis=1)) | ~(bound <= _LONG)
    limits = sizes[:, ::-1]
    extents = np.concatenate([low.clip(0, limits), high.clip(0, limits)], axis=1)
    outside = (high <= 0).any(axis=1) | (low >= limits).any(axis=1)
    faults = dict.fromkeys(np.flatnonzero(outside).tolist(), ("empty-mask", _EMPTY))
    for index in np.flatnonzero(suspect).tolist():
        try:
            check_polygons([p for p in masks[index] if len(p) >= 6], *sizes[index].tolist())
        except ValueError as error:
            faults[index] = "polygon", str(error)
    return extents, faults


def flat_values(polygons: Sequence[List[Any]]) -> np.ndarray:
    """Returns the values of polygons one behind the other, (V,) float64.

    Raises:
        TypeError: a value is no number.
        OverflowError: a whole number is beyond what float64 holds.
    """
    values = array("d")
    for polygon in polygons:
        values.fromlist(polygon)
    return np.frombuffer(values)


def _check_rle(rle: Mapping[str, Any], height: int, width: int) -> Extent:
    size = rle.get("size")
    if size is not None and list(size) != [height, width]:
        raise ValueError(f"RLE has size {size}, expected [{height}, {width}]")
    runs = rle_counts(rle)
    check_runs(runs, height, width)
    if not runs[1::2].any():
        raise MaskError("empty-mask", _EMPTY)
    return _rle_extent(runs, height)


def _rle_extent(runs: np.ndarray, height: int) -> Extent:
    """Returns the box of the foreground of checked runs."""
    stops = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    starts = (stops - lengths)[lengths > 0]
    lasts = (stops - 1)[lengths > 0]
    first_columns, last_columns = starts // height, lasts // height
    if (first_columns != last_columns).any():  # a run that goes on in the next column
        top, bottom = 0, height
    else:
        top, bottom = int((starts % height).min()), int((lasts % height).max()) + 1
    return float(first_columns[0]), float(top), float(last_columns[-1] + 1), float(bottom)


def differing_boxes(boxes: np.ndarray, extents: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns which boxes are not those of their masks, (N,) bool.

    They may differ by 2 pixels a side, after both are cut at the picture: programs round, and
    count the last pixel or not.

    Args:
        boxes: (N, 4) x, y, width, height in pixels.
        extents: (N, 4) x0, y0, x1, y1 of the masks, see `MaskChecks`.
        sizes: (N, 2) height, width of the pictures.
    """
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    limits = sizes[:, [1, 0, 1, 0]]
    return np.abs(corners.clip(0, limits) - extents).max(axis=1) > TOLERANCE


def box_difference(box: Sequence[float], extent: Sequence[float]) -> str:
    """Returns the message for a box that is not its mask's; both as for `differing_boxes`."""
    x0, y0, x1, y1 = extent
    return (
        f"bbox is {_short(box)} (x, y, w, h), the mask has {_short([x0, y0, x1 - x0, y1 - y0])}; "
        "is bbox given as corners, or of another mask?"
    )


def _short(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
