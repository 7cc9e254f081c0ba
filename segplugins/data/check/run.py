"""Checking a whole data set, in processes that may die without taking the check along."""

import faulthandler
import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from segplugins.data.catalog import dataset_metadata
from segplugins.data.check.images import record_id
from segplugins.data.check.label_meaning import label_remarks, name_remarks
from segplugins.data.check.load import LoadedSet, load_with_faults
from segplugins.data.check.record import Findings, check_record
from segplugins.data.read_regions import label_coding
from segplugins.files.faults import Fault
from segplugins.processes import end_with_parent
from segplugins.structures.vocabulary import get_vocabulary

_CHUNK = 8
_SECONDS = 60.0


@dataclass
class Checked:
    """Result of `check_dataset`.

    Args:
        loaded: the records and where they come from.
        findings: what they hold, and all faults: of the files, then of the records in order.
        classes: names of the classes; empty for free text.
    """

    loaded: LoadedSet
    findings: Findings
    classes: Sequence[str]

    @property
    def faults(self) -> List[Fault]:
        """All that is wrong, without remarks."""
        return [fault for fault in self.findings.faults if not fault.remark]

    @property
    def remarks(self) -> List[Fault]:
        """What training copes with."""
        return [fault for fault in self.findings.faults if fault.remark]


def check_dataset(
    name: str,
    *,
    workers: int = 0,
    limit: Optional[int] = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
    seconds: float = _SECONDS,
) -> Checked:
    """Reads every record of a data set as training would.

    Args:
        name: of a registered data set.
        workers: processes that read; 0 = this one, which a decoder's crash would then end.
        limit: only so many records, evenly spread; None = all.
        advance: called with (records done, records in all).
        seconds: with workers, a record that takes longer is a fault.

    Raises:
        KeyError: no data set has that name.
        FileNotFoundError: its folders or its annotation file are not there.
    """
    loaded = load_with_faults(name)
    records = loaded.records
    positions = list(range(len(records)))
    if limit is not None and limit < len(records):
        positions = [len(records) * i // limit for i in range(limit)]
    reader = _Reader(records, _metadata(name, loaded), _annotation_file(loaded))
    parts: Dict[int, Findings] = {}
    run = (
        _in_processes(reader, positions, workers, seconds) if workers else _here(reader, positions)
    )
    for position, results in run:
        parts[position] = results
        advance(len(parts), len(positions))
    total = Findings(faults=list(loaded.faults))
    for position in positions:
        total.add(parts[position])
    classes = _classes(name, loaded)
    total.faults += label_remarks(total.labels, label_coding(reader.metadata), classes)
    if getattr(reader.metadata, "vocabulary", None):
        total.faults += name_remarks(get_vocabulary(reader.metadata.vocabulary))
    return Checked(loaded, total, classes)


def _metadata(name: str, loaded: LoadedSet) -> Any:
    try:
        return dataset_metadata(name)
    except (ValueError, KeyError, TypeError, AttributeError):
        if loaded.records:
            raise
        return None  # the file that says what its classes are cannot be read; nor were its records


def _annotation_file(loaded: LoadedSet) -> str:
    """The file that regions stand in; of several the one with the masks."""
    return "" if loaded.source is None else loaded.source.regions or loaded.source.path


def _classes(name: str, loaded: LoadedSet) -> Sequence[str]:
    metadata = _metadata(name, loaded)
    vocabulary = getattr(metadata, "vocabulary", None)
    names = getattr(metadata, "stuff_classes", None) or getattr(metadata, "thing_classes", None)
    return names or (get_vocabulary(vocabulary).classes if vocabulary else ())


@dataclass
class _Reader:
    records: Sequence[dict]
    metadata: Any
    annotation_file: str

    def __call__(self, position: int) -> Findings:
        record = self.records[position]
        return check_record(record, self.metadata, position, self.annotation_file)


def _here(reader: _Reader, positions: Sequence[int]) -> Iterator:
    return ((position, reader(position)) for position in positions)


def _in_processes(
    reader: _Reader, positions: Sequence[int], workers: int, seconds: float
) -> Iterator:
    """Yields (position, findings) as they come.

    Where a process dies, the records that were under way are read again one by one, each in a
    process that nobody else needs, and those at which it dies again are faults.
    """
    waiting = [list(positions[i : i + _CHUNK]) for i in range(0, len(positions), _CHUNK)][::-1]
    while waiting:
        suspects: List[int] = []
        with _pool(reader, workers, seconds) as pool:
            under_way: Dict[Future, List[int]] = {}
            while waiting or under_way:
                while waiting and len(under_way) < 2 * workers and not suspects:
                    chunk = waiting.pop()
                    under_way[pool.submit(_read, chunk)] = chunk
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    chunk = under_way.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        suspects += chunk
                    else:
                        yield from zip(chunk, future.result())
                if suspects and not under_way:
                    break
        for position in suspects:
            yield position, _alone(reader, position, seconds)


def _alone(reader: _Reader, position: int, seconds: float) -> Findings:
    with _pool(reader, 1, seconds) as pool:
        try:
            return pool.submit(_read, [position]).result()[0]
        except BrokenProcessPool:
            record = reader.records[position]
            message = (
                f"reading it kills the process or takes over {seconds:g} s; take the record out of "
                "the data set before training on it"
            )
            file = record.get("file_name", "")
            return Findings([Fault("deadly", message, file, record_id(record), "", position)])


def _pool(reader: _Reader, workers: int, seconds: float) -> ProcessPoolExecutor:
    # Forked, workers share the records; spawned, they get a copy.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    return ProcessPoolExecutor(workers, context, _start, (reader, seconds))


_OF_WORKER: Dict[str, Any] = {}


def _start(reader: _Reader, seconds: float) -> None:
    end_with_parent()
    _OF_WORKER.update(reader=reader, seconds=seconds)


def _read(positions: Sequence[int]) -> List[Findings]:
    results = []
    for position in positions:
        # A thread outside of Python: it ends the process even where a decoder never comes back.
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            faulthandler.dump_traceback_later(_OF_WORKER["seconds"], exit=True, file=nowhere)
            try:
                results.append(_OF_WORKER["reader"](position))
            finally:
                faulthandler.cancel_dump_traceback_later()
    return results
