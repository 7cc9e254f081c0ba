"""Which image comes next: mixing ratios over training sets, one set per micro-batch or mixed.

A training loader loads its records with `training_records(names)`, which also tells how many each
set has, and hands `sampler_maker(cfg, sizes)` to engine/stream.py, or to detectron2's
build_detection_train_loader(sampler=sampler_maker(cfg, sizes)(seed), aspect_ratio_grouping=False):
grouping by aspect ratio would re-order what the sampler has chosen.

The sampler draws everything from its seed: the order is the same for any number of workers, and
every process walks the same stream and keeps its own part of it.
"""

from functools import partial
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch.utils.data import Sampler

from segplugins.data.catalog import load_dataset
from segplugins.data.check import load_by_policy
from segplugins.data.exclude import exclude, image_keys

# Draws are planned in blocks: within one, every set has its share to the nearest draw, and what
# rounding leaves over is carried to the next. So shares are right long before chance evens out.
_BLOCK = 100

Order = Callable[[np.random.Generator], Iterator[int]]


class MixingSampler(Sampler):
    """An endless stream of indices into data sets that stand one after the other.

    Within a set every image comes once before any comes again, in a new order each time.

    Args:
        sizes: images per set.
        ratios: how often each set is drawn, in any unit; None: every image equally often.
        seed: the whole stream follows from it.
        group: that many indices in a row are of one set: the micro-batch of a process, or 1 to mix
            the sets within it.
        rank: of this process. It takes every world_size-th group.
        world_size: number of processes.
        orders: per set a function of a generator that yields its images without end, each once
            before any comes again; None: in random order.

    Raises:
        ValueError: no set, an empty set that is to be drawn from, or ratios that do not fit.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        ratios: Optional[Sequence[float]] = None,
        *,
        seed: int,
        group: int = 1,
        rank: int = 0,
        world_size: int = 1,
        orders: Optional[Sequence[Order]] = None,
    ) -> None:
        ratios = list(sizes) if ratios is None else list(ratios)
        _check(sizes, ratios, group)
        self.sizes = list(sizes)
        self.shares = np.asarray(ratios, dtype=np.float64) / sum(ratios)
        self.seed = seed
        self.group = group
        self.rank = rank
        self.world_size = world_size
        self.orders = orders or [partial(_endless_permutation, size) for size in sizes]

    def __iter__(self) -> Iterator[int]:
        for number, chunk in enumerate(self._groups()):
            if number % self.world_size == self.rank:
                yield from chunk

    def _groups(self) -> Iterator[List[int]]:
        # A generator per purpose: how many sets there are must not change the order within one.
        starts = np.concatenate(([0], np.cumsum(self.sizes)[:-1]))
        images = [
            order(np.random.default_rng([self.seed, number]))
            for number, order in enumerate(self.orders)
        ]
        for chosen in self._sets():
            yield [int(starts[chosen]) + next(images[chosen]) for _ in range(self.group)]

    def _sets(self) -> Iterator[int]:
        """Yields set numbers with the asked shares."""
        generator = np.random.default_rng([self.seed, len(self.sizes)])
        owed = np.zeros(len(self.sizes))
        while True:
            owed += self.shares * _BLOCK
            counts = np.floor(owed).astype(int)
            rest = np.argsort(counts - owed, kind="stable")[: _BLOCK - counts.sum()]
            counts[rest] += 1
            # A set that is owed less than nothing after a rounding up takes none.
            counts = counts.clip(min=0)
            owed -= counts
            yield from generator.permutation(np.repeat(np.arange(len(counts)), counts))


def _endless_permutation(size: int, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from generator.permutation(size).tolist()


def _check(sizes: Sequence[int], ratios: Sequence[float], group: int) -> None:
    if not sizes:
        raise ValueError("no data set to sample from; DATASETS.TRAIN is empty")
    if len(ratios) != len(sizes):
        raise ValueError(
            f"{len(ratios)} mixing ratios for {len(sizes)} data sets; DATALOADER.MIXING takes one "
            "per name in DATASETS.TRAIN, in that order"
        )
    if not all(np.isfinite(ratio) and ratio >= 0 for ratio in ratios) or sum(ratios) <= 0:
        raise ValueError(f"mixing ratios must be >= 0 and not all 0, got {list(ratios)}")
    empty = [n for n, (size, ratio) in enumerate(zip(sizes, ratios)) if ratio > 0 and size < 1]
    if empty:
        raise ValueError(f"training set number {empty[0]} has no image, but a share of the samples")
    if group < 1:
        raise ValueError(f"a micro-batch has at least 1 image, got {group}")


def training_records(
    names: Sequence[str], excluded: Sequence[str] = (), faults: str = "strict"
) -> Tuple[List[dict], List[int]]:
    """Loads the training sets.

    Args:
        names: of the sets.
        excluded: sets whose images are not trained on; the log tells how many that are.
        faults: "strict" or "skip", see `load_by_policy`.

    Returns:
        All records, set after set, and how many each set has.

    Raises:
        KeyError, FileNotFoundError: a set is not registered, or not there.
        ValueError: nothing of a training set is left, or its files have faults.
    """
    keys = {key for name in excluded for key in image_keys(load_dataset(name))}
    sets = [load_by_policy(name, faults) for name in names]
    if keys:
        sets = [exclude(records, keys, name=name) for name, records in zip(names, sets)]
    return [record for records in sets for record in records], [len(records) for records in sets]


def sampler_maker(
    cfg: CfgNode, sizes: Sequence[int], orders: Optional[Sequence[Order]] = None
) -> Callable[[int], MixingSampler]:
    """Returns a function from a seed to the sampler of this process.

    Args:
        cfg: DATALOADER.MIXING (ratios), DATALOADER.ONE_SET_PER_BATCH, SOLVER.IMS_PER_BATCH and
            SOLVER.ACCUMULATE.
        sizes: images per set, from `training_records`.
        orders: see `MixingSampler`.

    Raises:
        ValueError: the ratios do not fit the sets.
    """
    world_size = comm.get_world_size()
    group = 1
    if cfg.DATALOADER.ONE_SET_PER_BATCH:
        group = max(cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATE // world_size, 1)
    make = partial(
        MixingSampler,
        sizes,
        list(cfg.DATALOADER.MIXING) or None,
        group=group,
        rank=comm.get_rank(),
        world_size=world_size,
        orders=orders,
    )
    make(seed=0)  # so that wrong ratios are an error now and not in a worker later
    return partial(_seeded, make)


def _seeded(make: Callable[..., MixingSampler], seed: int) -> MixingSampler:
    """A lambda would do, but loader workers that are spawned must be able to pickle it."""
    return make(seed=seed)
