"""Faults of a data set, and the gate through which readers hand what they have read.

Reading stops at the first fault: `sift` gives back what it got and `report` raises. Inside
`collecting` the same readers go on: `sift` takes the faulty entries out and `report` notes.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Hashable, Iterator, List, Optional, Protocol, Tuple


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a data set.

    Args:
        kind: a word or two to count by, such as "polygon" or "image-size".
        message: what was got and what was expected.
        file: in which it stands.
        record: id of the image in the source; "" where it concerns the whole file.
        field: what of the record, such as "annotation 17, bbox".
        position: of the record among those loaded, -1 = not of one.
        entry: id or position of the annotation, segment or region, for the cleaned copy.
        mend: key and right value, where the cleaned copy can hold it.
        remark: training goes on and does the right thing; worth a look nevertheless.
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
        where = [part for part in (self.file, self.record and f"record {self.record}") if part]
        where += [self.field] if self.field else []
        return f"{', '.join(where)}: {self.message}" if where else self.message


class Collector(Protocol):
    """Who gets the faults that readers meet; see check/load.py."""

    faults: List[Fault]

    def sift(self, kind: str, content: Any, path: str, **about: Any) -> Any:
        """Returns the content without its faulty entries, which it notes."""
        ...


_COLLECTOR: ContextVar[Optional[Collector]] = ContextVar("collector", default=None)


@contextmanager
def collecting(collector: Collector) -> Iterator[None]:
    """Readers that run inside hand their faults to the collector and go on."""
    token = _COLLECTOR.set(collector)
    try:
        yield
    finally:
        _COLLECTOR.reset(token)


def sift(kind: str, content: Any, path: object, **about: Any) -> Any:
    """Returns the content of an annotation file as it is, or, where faults are collected, cleaned.

    Args:
        kind: "instances", "panoptic", "refs" or "lines".
        content: parsed JSON (or lines of text).
        path: of the file.
        about: what the kind's sieve needs besides; see check/sieve_*.py.
    """
    collector = _COLLECTOR.get()
    return content if collector is None else collector.sift(kind, content, str(path), **about)


def report(fault: Fault, error: Exception) -> None:
    """Notes a fault where faults are collected; raises the error otherwise."""
    collector = _COLLECTOR.get()
    if collector is None:
        raise error
    collector.faults.append(fault)
