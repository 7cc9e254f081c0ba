"""Faults of a data set, and the policies that say what a reader does when it meets one.

Every reader takes a policy, calls `policy.report(fault)` and then goes on without the faulty entry:

    strict   the first fault is raised, before anything is computed from the file
    skip     faults are counted; the caller reports the counts
    collect  faults are kept, which is what the checker prints
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Hashable, List, Mapping, Optional, Protocol, Tuple

__all__ = [
    "STRICT",
    "Collect",
    "Fault",
    "FaultError",
    "FaultPolicy",
    "FileFaults",
    "InRecord",
    "MissingFile",
    "Skip",
]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a data set.

    Args:
        kind: one or two words to count by, such as "polygon" or "image-size".
        message: what was got, what was expected and the next step, in one line.
        file: the file that holds it.
        record: id of the image in the source; "" if the whole file is concerned.
        field: the part of the record, such as "annotation 17, bbox".
        position: index of the record among those loaded, -1 if it is no single record.
        entry: where the faulty entry stands in the file, for the cleaned copy: the keys and
            indices that lead to it, such as ("annotations", 17); faults that only the picture
            shows have the id or index of the annotation, segment or region instead.
        mend: key and right value, if the cleaned copy can hold it.
        remark: reading goes on with the right value; worth a look nevertheless.
    """

    kind: str
    message: str
    file: str = ""
    record: str = ""
    field: str = ""
    position: int = -1
    entry: Optional[Hashable] = None
    remark: bool = False
    mend: Optional[Tuple[str, Any]] = None

    def __str__(self) -> str:
        place = [part for part in (self.file, self.record and f"record {self.record}") if part]
        place += [self.field] if self.field else []
        return f"{', '.join(place)}: {self.message}" if place else self.message


class FaultError(ValueError):
    """A fault that stops reading.

    Args:
        fault: what is wrong.
        hint: the next step, if the message of the fault does not give it.
    """

    def __init__(self, fault: Fault, hint: str = ""):
        super().__init__(f"{fault}; {hint}" if hint else str(fault))
        self.fault = fault


class MissingFile(FaultError, FileNotFoundError):
    """A fault of kind "missing": a file is not there."""


class FaultPolicy(Protocol):
    """Receives the faults that readers meet."""

    def report(self, fault: Fault) -> None:
        """Raises, counts or keeps the fault; the reader leaves the entry out if this returns."""
        ...


class Strict:
    """Raises at the first fault. Remarks pass."""

    def report(self, fault: Fault) -> None:
        if not fault.remark:
            raise MissingFile(fault) if fault.kind == "missing" else FaultError(fault)


class Skip:
    """Counts faults by kind, and keeps the first `keep` of them for the report.

    `left_out` counts those for which an annotation, a region or a file is left out: not those that
    are mended, and not images and categories, whose annotations are counted one by one.

    Args:
        keep: number of faults kept; memory stays bounded however faulty a set is.
    """

    def __init__(self, keep: int = 100):
        self.counts: Counter = Counter()
        self.left_out = 0
        self.first: List[Fault] = []
        self._keep = keep

    def report(self, fault: Fault) -> None:
        if fault.remark:
            return
        self.counts[fault.kind] += 1
        above = fault.entry[0] if isinstance(fault.entry, tuple) and fault.entry else None
        if fault.mend is None and above not in ("images", "categories"):
            self.left_out += 1
        if len(self.first) < self._keep:
            self.first.append(fault)


class Collect:
    """Keeps every fault and remark."""

    def __init__(self) -> None:
        self.faults: List[Fault] = []

    def report(self, fault: Fault) -> None:
        self.faults.append(fault)


class InRecord:
    """Hands faults on to a policy with the record that they belong to.

    Args:
        policy: what receives them.
        record: id of the image in the source.
        position: index of the record among those loaded, -1 if unknown.
    """

    def __init__(self, policy: FaultPolicy, record: str, position: int = -1):
        self._policy, self._record, self._position = policy, record, position

    def report(self, fault: Fault) -> None:
        self._policy.report(replace(fault, record=self._record, position=self._position))


STRICT = Strict()


@dataclass(frozen=True)
class FileFaults:
    """Reports faults of one file.

    Args:
        file: path of the file.
        policy: receives them.
    """

    file: str
    policy: FaultPolicy

    def report(
        self,
        kind: str,
        message: str,
        *,
        record: object = "",
        field: str = "",
        entry: Optional[Hashable] = None,
        mend: Optional[Tuple[str, Any]] = None,
        remark: bool = False,
    ) -> None:
        """Reports one fault; see `Fault`. The caller leaves the entry out if this returns."""
        self.policy.report(
            Fault(
                kind,
                message,
                self.file,
                str(record),
                field,
                entry=entry,
                mend=mend,
                remark=remark,
            )
        )

    def entries(
        self, content: Any, key: str, *, above: Tuple[Hashable, ...] = ()
    ) -> List[Tuple[int, Mapping[str, Any]]]:
        """Returns (position, entry) of the mappings in a list; anything else is a fault.

        Args:
            content: mapping that holds the list.
            key: of the list.
            above: keys and indices that lead to the mapping.
        """
        listed = content.get(key) if isinstance(content, Mapping) else None
        if not isinstance(listed, (list, tuple)):
            self.report("form", f"'{key}' is {listed!r:.60}, expected a list", field=key)
            return []
        entries = []
        for position, entry in enumerate(listed):
            if isinstance(entry, Mapping):
                entries.append((position, entry))
            else:
                message = f"got {entry!r:.60}, expected a mapping"
                self.report(
                    "form", message, field=f"{key}[{position}]", entry=(*above, key, position)
                )
        return entries
