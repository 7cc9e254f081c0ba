"""Segments of a panoptic map: the list beside it, and whether both name the same ids.

H W pixels; id 0 in a map is void. A segment is a dict with "id", "category_id" (index of the
category) and, in the truth, optionally "iscrowd". Areas are counted from the map.
"""

from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

VOID = 0


class Segments(NamedTuple):
    """A checked list of S segments."""

    ids: np.ndarray  # (S,) int64
    categories: np.ndarray  # (S,) int64
    is_crowd: np.ndarray  # (S,) bool


def read_segments(segments: Sequence[Mapping], num_categories: int, owner: str) -> Segments:
    """Returns a list of segments as arrays.

    Args:
        segments: "id", "category_id" and optionally "iscrowd" of each.
        num_categories: K.
        owner: "true" or "predicted", for messages.

    Raises:
        ValueError: an id or a category is missing or no whole number, an id stands twice or is
            that of void, a category is none of 0..K-1, or iscrowd is neither 0 nor 1.
    """
    columns = {key: _column(segments, key, owner) for key in ("id", "category_id", "iscrowd")}
    ids, categories, crowds = (np.array(values, np.int64) for values in columns.values())
    if len(set(columns["id"])) < len(ids) or VOID in columns["id"]:
        raise ValueError(
            f"segments_info must hold each id but {VOID} once, got the {owner} ids "
            f"{columns['id'][:20]}"
        )
    for wrong, key, limit in (
        ((categories < 0) | (categories >= num_categories), "category_id", num_categories),
        ((crowds < 0) | (crowds > 1), "iscrowd", 2),
    ):
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"{owner} segment {ids[at]} has {key} {columns[key][at]}, expected 0..{limit - 1}"
            )
    return Segments(ids, categories, crowds.astype(bool))


def _column(segments: Sequence[Mapping], key: str, owner: str) -> List[int]:
    """Returns one entry of all segments as whole numbers."""
    default = 0 if key == "iscrowd" else None
    try:
        values = [segment.get(key, default) for segment in segments]
    except (AttributeError, TypeError):
        raise ValueError(
            f"a {owner} segment is no dict with 'id' and 'category_id': {segments!r:.120}"
        ) from None
    if all(type(value) is int for value in values):  # nearly always
        return values
    return [_whole_number(value, key, owner, segment) for value, segment in zip(values, segments)]


def _whole_number(value: Any, key: str, owner: str, segment: Mapping) -> int:
    is_flag = isinstance(value, (bool, np.bool_))
    try:
        if int(value) == value and (key == "iscrowd" or not is_flag):
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass  # said below
    raise ValueError(f"a {owner} segment needs a whole number as '{key}', got {segment!r:.120}")


def check_ids(map_ids: np.ndarray, segments: Segments, owner: str) -> None:
    """Checks that a map and its list of segments name the same ids.

    Args:
        map_ids: all ids of the map, repeated or not.
        segments: its list.
        owner: "true" or "predicted", for messages.

    Raises:
        ValueError: an id but void's is in the one and not in the other.
    """
    in_map, in_list = set(map_ids.tolist()) - {VOID}, set(segments.ids.tolist())
    if in_map != in_list:
        raise ValueError(
            f"the {owner} map and its segments_info differ: ids {sorted(in_map - in_list)[:5]} are "
            f"in the map alone, ids {sorted(in_list - in_map)[:5]} in the list alone"
        )


def positions(ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns where labels stand in a list of segments: 0 for void, 1 + index for a segment."""
    order = np.argsort(ids)
    ranked = order[np.minimum(ids[order].searchsorted(labels), len(ids) - 1)] + 1 if len(ids) else 0
    return np.where(labels == VOID, 0, ranked)


def table_of(
    cells: Tuple[np.ndarray, np.ndarray, np.ndarray], predicted: Segments, true: Segments
) -> np.ndarray:
    """Returns the pixels that segments share, (P + 1, T + 1) int64; row and column 0 are void.

    Args:
        cells: predicted id, true id and pixels of each pair that occurs.
        predicted: P segments.
        true: T segments.
    """
    table = np.zeros((len(predicted.ids) + 1, len(true.ids) + 1), np.int64)
    table[positions(predicted.ids, cells[0]), positions(true.ids, cells[1])] = cells[2]
    return table
