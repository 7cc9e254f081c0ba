"""Annotations that are in normal form as they are written, recognised many at a time.

Nearly all annotations of nearly all files are. They are tested by columns, which takes a quarter of
the time that looking at one after the other takes; what fails the test is only looked at closely.
"""

from itertools import chain
from typing import Any, Container, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from segplugins.files.masks import flat_values
from segplugins.files.values import LARGEST, Id

_INTEGER, _NUMBER, _LIST = frozenset({int}), frozenset({int, float}), frozenset({list})
_NOTHING = type(None)
_FLAGS = frozenset({0, 1})


class References(NamedTuple):
    """What annotations of a file may refer to.

    Args:
        sizes: (height, width) by image id; only ids that stand for themselves.
        categories: ids that stand for themselves; None: classes do not matter.
    """

    sizes: Mapping[Id, Tuple[int, int]]
    categories: Optional[Container[Id]]


class Plain(NamedTuple):
    """Which of N annotations are in normal form, and what these K have.

    Args:
        rows: (N,) bool.
        sizes: (K, 2) int64, height, width of their images.
        boxes: (K, 4) float64, x, y, width, height.
        values: of their polygons, float64, one behind the other; None: not at hand.
    """

    rows: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    values: Optional[np.ndarray]


def plain_annotations(
    annotations: Sequence[Any], references: References, *, boxes_only: bool = False
) -> Plain:
    """Returns which annotations are in normal form as they are written.

    Their ids may nevertheless stand twice, and their masks may not fit their pictures. RLEs are
    never among them, nor annotations of which the box or a flag is null.

    Args:
        annotations: N entries as decoded.
        references: images and categories that they may have.
        boxes_only: masks do not matter.
    """
    rows = np.ones(len(annotations), bool)
    rows[_odd_values(annotations, references)] = False
    chosen = _of(annotations, rows)
    sizes = image_sizes(chosen, references.sizes)
    boxes, plain = _plain_places(chosen, sizes, boxes_only)
    values = None
    if not boxes_only:
        masked, values = _plain_masks([annotation.segmentation for annotation in chosen], plain)
        plain &= masked
    rows[np.flatnonzero(rows)[~plain]] = False
    return Plain(rows, sizes[plain], boxes[plain], values)


def _of(annotations: Sequence[Any], rows: np.ndarray) -> List[Any]:
    return [annotations[index] for index in np.flatnonzero(rows).tolist()]


def _odd_values(annotations: Sequence[Any], references: References) -> List[int]:
    """Returns the annotations whose ids, flags or score need a closer look."""
    odd = _others([a.id for a in annotations], _INTEGER | {_NOTHING})
    images = [a.image_id for a in annotations]
    odd += _others(images, _INTEGER, references.sizes)
    if references.categories is not None:
        odd += _others([a.category_id for a in annotations], _INTEGER, references.categories)
    odd += _others([a.iscrowd for a in annotations], _INTEGER, _FLAGS)
    odd += _others([a.ignore for a in annotations], _INTEGER, _FLAGS)
    odd += _others([a.score for a in annotations], frozenset({_NOTHING}))
    odd += _others([a.area for a in annotations], _NUMBER | {_NOTHING})
    return odd + _others([a.bbox for a in annotations], _LIST)


def _others(
    column: Sequence[Any], kinds: frozenset, values: Optional[Container[Any]] = None
) -> List[int]:
    """Returns the positions of values that are of no such type, or none of the values."""
    plain = kinds.issuperset(map(type, column))
    if plain and (values is None or all(map(values.__contains__, column))):
        return []
    return [
        index
        for index, value in enumerate(column)
        if type(value) not in kinds or (values is not None and value not in values)
    ]


def _plain_places(
    annotations: Sequence[Any], sizes: np.ndarray, boxes_only: bool
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the boxes, (N, 4) float64, and which annotations have a plain area and box."""
    areas = _numbers([0 if a.area is None else a.area for a in annotations])
    plain = (areas >= 0) & (areas <= sizes.prod(axis=1))
    boxes = [annotation.bbox for annotation in annotations]
    if not {4}.issuperset(map(len, boxes)):
        plain &= np.fromiter((len(box) == 4 for box in boxes), bool, len(boxes))
        boxes = [box if len(box) == 4 else (0, 0, 0, 0) for box in boxes]
    values = _numbers(list(chain.from_iterable(boxes))).reshape(-1, 4)
    plain &= (np.abs(values) < LARGEST).all(axis=1)  # False for NaN
    flat = ~(values[:, 2:] > 0).all(axis=1)
    for index in np.flatnonzero(flat & plain).tolist():
        # Where there is a mask, it says where the object is.
        plain[index] = bool(annotations[index].segmentation) and not boxes_only
    return values, plain


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Returns numbers as float64; NaN for what is none, truth values included."""
    try:
        if _NUMBER.issuperset(map(type, values)):
            return np.fromiter(values, np.float64, len(values))
    except OverflowError:
        pass
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value) if type(value) in _NUMBER else float("nan")
    except OverflowError:
        return float("nan")


def image_sizes(annotations: Sequence[Any], sizes: Mapping[Id, Tuple[int, int]]) -> np.ndarray:
    """Returns (N, 2) height, width of the images of annotations."""
    numbers = chain.from_iterable([sizes[a.image_id] for a in annotations])
    return np.fromiter(numbers, np.int64, 2 * len(annotations)).reshape(-1, 2)


def _plain_masks(masks: Sequence[Any], rows: np.ndarray) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """Returns which masks are None, or lists of flat polygons of 3 points or more.

    Args:
        masks: N values of any kind.
        rows: (N,) bool, those that are asked for.

    Returns:
        (N,) bool, and the values of the polygons of all masks asked for, numbers of any size or
        NaN; None where one of the masks is not such a list.
    """
    if rows.all():
        lists = [mask for mask in masks if mask is not None]
        if _LIST.issuperset(map(type, lists)) and all(lists):
            polygons = list(chain.from_iterable(lists))
            values = _flat_numbers(polygons) if _LIST.issuperset(map(type, polygons)) else None
            if values is not None:
                return np.ones(len(masks), bool), values
    return np.array([mask is None or _is_plain(mask) for mask in masks], bool), None


def _flat_numbers(polygons: Sequence[List[Any]]) -> Optional[np.ndarray]:
    """Returns the values of polygons; None if one has not 3 points or holds anything else."""
    lengths = np.fromiter(map(len, polygons), np.int64, len(polygons))
    if (lengths < 6).any() or (lengths % 2).any():
        return None
    try:
        values = flat_values(polygons)
    except (TypeError, OverflowError):
        return None
    # Truth values pass for 0 and 1; there alone types have to be looked at.
    flags = np.flatnonzero((values == 0) | (values == 1))
    rows = np.unique(np.searchsorted(np.cumsum(lengths), flags, "right")).tolist()
    plain = all(_NUMBER.issuperset(map(type, polygons[row])) for row in rows)
    return values if plain else None


def _is_plain(mask: Any) -> bool:
    if type(mask) is not list:
        return False
    for polygon in mask:
        if type(polygon) is not list or len(polygon) < 6 or len(polygon) % 2:
            return False
        if not _NUMBER.issuperset(map(type, polygon)):
            return False
    return bool(mask)
