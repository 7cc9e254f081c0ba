"""Notes: how the sieves write down what is wrong with one annotation file."""

import math
from dataclasses import dataclass, field
from typing import Any, Hashable, List, Mapping, Optional

from segplugins.files.faults import Fault


@dataclass
class Notes:
    """Faults of one file.

    Args:
        file: path of the file.
        faults: what was noted so far.
    """

    file: str
    faults: List[Fault] = field(default_factory=list)

    def note(
        self,
        kind: str,
        message: str,
        *,
        record: object = "",
        field: str = "",
        entry: Optional[Hashable] = None,
        remark: bool = False,
    ) -> None:
        """Adds one fault; see `Fault`."""
        self.faults.append(
            Fault(kind, message, self.file, str(record), field, entry=entry, remark=remark)
        )

    def entries(self, content: Mapping[str, Any], key: str) -> List[Mapping[str, Any]]:
        """Returns the mappings that stand in a list of the file; what is none is noted."""
        listed = content.get(key)
        if not isinstance(listed, list):
            self.note("form", f"'{key}' is {listed!r:.60}, expected a list", field=key)
            return []
        kept = []
        for position, entry in enumerate(listed):
            if isinstance(entry, Mapping):
                kept.append(entry)
            else:
                self.note(
                    "form", f"got {entry!r:.60}, expected a mapping", field=f"{key}[{position}]"
                )
        return kept


def is_id(value: object) -> bool:
    """Whether a value can tell entries apart: a whole number or text."""
    return isinstance(value, (int, str)) and not isinstance(value, bool) and value != ""


def is_number(value: object) -> bool:
    """Whether a value is a finite number of ordinary size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**53 and math.isfinite(value)


def is_size(value: object) -> bool:
    """Whether a value is a number of pixels that a side of an image can have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**20
