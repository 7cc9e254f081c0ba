"""The endless stream of training samples, the same for any number of processes and workers."""

import random
from typing import Callable, Iterable, Iterator, Optional

from detectron2.utils import comm
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from segplugins.data.draws import draws_of

_TRIES = 100  # images that may be skipped in a row


class TrainingStream(IterableDataset):
    """Sample n of a run: which image, and every draw of its augmentation, follow from (seed, n).

    So one process and two, no worker and eight, an uninterrupted and a resumed run see the same
    samples. Sample n belongs to process n % processes.

    Args:
        dataset: catalog dicts by index.
        mapper: catalog dict -> record, or None to skip it: another image takes its place.
        make_sampler: seed -> endless indices of this process, as detectron2's samplers give them.
        batch_size: samples per batch of this process; a loader worker takes whole batches.
        seed: of the run.
    """

    def __init__(
        self,
        dataset: Dataset,
        mapper: Callable[[dict], Optional[dict]],
        make_sampler: Callable[[int], Iterable[int]],
        *,
        batch_size: int,
        seed: int,
    ):
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
        for _ in range(_TRIES):
            record = self._mapper(self._dataset[index])
            if record is not None:
                return record
            index = random.randrange(len(self._dataset))
        raise RuntimeError(
            f"the mapper skipped {_TRIES} images in a row; is anything in these data sets usable? "
            "tools/check_dataset.py tells"
        )
