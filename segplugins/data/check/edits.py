"""Edits of a parsed annotation file that faults ask for: entries to leave out, values to set."""

from collections import Counter, defaultdict
from typing import Any, Callable, Dict, Iterable, List, Mapping, Set, Tuple

import numpy as np

from segplugins.files.faults import Fault

Place = Tuple[Any, ...]  # keys and indices that lead to an entry
SAME_AS = "same as"  # in a mend: the entry stands for another one

# Faults of a region; all others of a record concern the whole of it.
OF_REGION = ("polygon", "rle", "empty-mask", "box", "region", "sentence")


class Edits:
    """What the faults of a file ask for.

    Args:
        faults: of a check.
        file: path of the file.
    """

    def __init__(self, faults: Iterable[Fault], file: str):
        self.left_out: Set[Place] = set()
        self.values: Dict[Place, Dict[str, Any]] = defaultdict(dict)
        self.same: Dict[Place, Any] = {}
        self.records: Set[int] = set()
        self.regions: Set[Tuple[int, Any]] = set()
        self.region_values: Dict[Tuple[int, Any], Tuple[str, Any]] = {}
        for fault in faults:
            if fault.remark and fault.mend is None:
                continue
            if fault.position >= 0:
                self._add_of_record(fault)
            elif fault.file == file and isinstance(fault.entry, tuple):
                self._add_of_file(fault)

    def _add_of_file(self, fault: Fault) -> None:
        if fault.mend is None:
            self.left_out.add(fault.entry)
        elif fault.mend[0] == SAME_AS:
            self.same[fault.entry] = fault.mend[1]
            self.left_out.add(fault.entry)
        else:
            self.values[fault.entry][fault.mend[0]] = fault.mend[1]

    def _add_of_record(self, fault: Fault) -> None:
        place = (fault.position, fault.entry)
        if fault.mend is not None:
            self.region_values[place] = fault.mend
        elif fault.kind in OF_REGION and fault.entry is not None:
            self.regions.add(place)
        else:
            self.records.add(fault.position)

    def apply(self, entries: List[Any], *above: Any) -> List[Tuple[int, Any]]:
        """Returns (position, entry) of what stays of a list, values set.

        Args:
            entries: the list.
            above: keys and indices that lead to it.
        """
        kept = []
        for position, entry in enumerate(entries):
            place = (*above, position)
            if place in self.left_out or not isinstance(entry, Mapping):
                continue
            values = self.values.get(place, {})
            entry = {key: value for key, value in entry.items() if key not in values}
            entry.update({key: value for key, value in values.items() if value is not None})
            kept.append((position, entry))
        return kept

    def count(self) -> Counter:
        """Returns the number of values that are set or removed."""
        values = sum(map(len, self.values.values())) + len(self.region_values)
        return Counter({"values mended": values})


def normalised(
    entry: Dict[str, Any], forms: Mapping[str, Callable[[Any], Any]], done: Counter
) -> Dict[str, Any]:
    """Brings values of an entry to normal form; equal ones stay as they are written.

    Args:
        entry: changed in place.
        forms: by key what returns the normal form, or raises ValueError.
        done: counts the values that were written in another form.
    """
    for key, form in forms.items():
        if key not in entry:
            continue
        try:
            value = form(entry[key])
        except ValueError:
            continue  # of a part of the file that nobody reads
        given = entry[key]
        if type(value) is not type(given) or value != given:
            entry[key] = value
            done["values brought to normal form"] += 1
    return entry


def without_arrays(value: Any) -> Any:
    """Returns what a pickle holds in types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): without_arrays(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [without_arrays(each) for each in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return without_arrays(value.tolist())
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
