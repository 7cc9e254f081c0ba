"""Tracks: the frames of one video under one expression, in the order of time."""

import re
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from segplugins.evaluation.sample_identity import describe

Track = Tuple[str, str]  # video, expression


def frame_names(record: Mapping[str, Any]) -> Tuple[str, str, str]:
    """Returns video, expression and frame of a record, as text."""
    return str(record["video_id"]), str(record["expression_id"]), str(record["frame"])


def frame_order(name: str) -> Tuple:
    """Returns a key that sorts names of frames: numbers in them by value, the rest as text.

    Example:
        >>> sorted(["frame10", "frame9", "frame010b"], key=frame_order)
        ['frame9', 'frame10', 'frame010b']
    """
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts if part)


class Tracks:
    """The tracks of a data set.

    Args:
        records: frames of the catalog, in any order.

    Raises:
        ValueError: two records are the same frame of a track.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]):
        self._members: Dict[Track, List[int]] = {}
        names = [frame_names(record) for record in records]
        for row, (video, expression, _) in enumerate(names):
            self._members.setdefault((video, expression), []).append(row)
        for members in self._members.values():
            members.sort(key=lambda row: frame_order(names[row][2]))
            for one, other in zip(members, members[1:]):
                if frame_order(names[one][2]) == frame_order(names[other][2]):
                    raise ValueError(
                        f"{describe(records[one])} and {describe(records[other])} are the same "
                        "frame; name the frames of a video by different numbers"
                    )

    def rows(self, rows: Any) -> Dict[Track, Any]:
        """Returns the rows of each track, frames in the order of time.

        Args:
            rows: one per record, in the order of the records: a list, or an array, of which the
                tracks are parts.
        """
        return {
            track: [rows[i] for i in members] if isinstance(rows, list) else rows[members]
            for track, members in self._members.items()
        }
