"""The endless stream of training samples, the same for any number of processes and workers."""

import random
from bisect import bisect_right
from itertools import accumulate
from typing import Callable, Iterable, Iterator, Optional, Sequence

from detectron2.utils import comm
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from segplugins.data.draws import draws_of

_TRIES = 100  # records that may be skipped in a row
_DRAWS = 10_000  # of records in search of one with the same task


class TrainingStream(IterableDataset):
    """Sample n of a run: which image, and every draw of its augmentation, follow from (seed, n).

    So one process and two, no worker and eight, an uninterrupted and a resumed run see the same
    samples. Sample n belongs to process n % processes.

    Args:
        dataset: catalog dicts by index.
        mapper: catalog dict -> record, or None to skip it: another image of the same data set and
            task takes its place.
        make_sampler: seed -> endless indices of this process, as detectron2's samplers give them.
        batch_size: samples per batch of this process; a loader worker takes whole batches.
        seed: of the run.
        sizes: images per data set, in the order of the dataset; None = all are of one.
    """

    def __init__(
        self,
        dataset: Dataset,
        mapper: Callable[[dict], Optional[dict]],
        make_sampler: Callable[[int], Iterable[int]],
        *,
        batch_size: int,
        seed: int,
        sizes: Optional[Sequence[int]] = None,
    ):
        self._ends = list(accumulate(sizes or [len(dataset)]))
        self._dataset, self._mapper = dataset, mapper
        self._make_sampler = make_sampler
        self._batch_size = batch_size
        self._rank, self._processes = comm.get_rank(), comm.get_world_size()
        self.seek(seed, 0)

    def seek(self, seed: int, start: int) -> None:
        """Makes iterators that are created from now on start at sample `start` of run `seed`.

        Raises:
            ValueError: `start` is not a multiple of the number of processes.
        """
        if start % self._processes:
            raise ValueError(
                f"cannot continue at sample {start} with {self._processes} processes; "
                "SOLVER.IMS_PER_BATCH must be a multiple of them"
            )
        self._seed, self._start = seed, start // self._processes

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for position, index in enumerate(self._make_sampler(self._seed)):
            behind = position - self._start
            if behind < 0 or behind // self._batch_size % workers != worker:
                continue
            with draws_of(self._seed, position * self._processes + self._rank):
                record = self._record(index)
            yield record

    def report_faults(self) -> None:
        """Logs which records the mapper has left out, where it keeps count of them."""
        report = getattr(self._mapper, "report", None)
        if report is not None:
            report()

    def _record(self, index: int) -> dict:
        source = self._dataset[index]
        record = self._mapper(source)
        if record is not None:
            return record
        place = bisect_right(self._ends, index)
        start, stop = self._ends[place - 1] if place else 0, self._ends[place]
        task = _task(source)
        skipped = 1
        for _ in range(_DRAWS):
            other = self._dataset[random.randrange(start, stop)]
            if _task(other) != task:
                continue
            record = self._mapper(other)
            if record is not None:
                return record
            skipped += 1
            if skipped == _TRIES:
                break
        name = source.get("dataset", "") if isinstance(source, dict) else ""
        raise RuntimeError(
            f"{skipped} records of data set '{name}'{f' and task {task}' if task else ''} were "
            "skipped in a row; is anything in it usable? tools/check_dataset.py lists its faults"
        )


def _task(source: object) -> Optional[str]:
    """Returns the task of a catalog record; None where its data set decides."""
    return source.get("task") if isinstance(source, dict) else None
