"""An order of samples that reads shards forward and is shuffled all the same."""

import itertools
from typing import Iterator, List, Sequence

import numpy as np

_CURSORS = 64
_RUN = 256
_DRAWS = 4096  # random numbers drawn at a time


def shuffled_runs(
    counts: Sequence[int],
    generator: np.random.Generator,
    *,
    cursors: int = _CURSORS,
    run: int = _RUN,
) -> Iterator[int]:
    """Yields the numbers of samples, pass after pass; in a pass each comes once.

    Shards are cut into runs of neighbouring samples. The runs of a pass come in random order; so
    many at a time are open, each is read from its first sample to its last, and which of them gives
    the next sample is drawn. A set of few samples has runs of one: then every order is as likely.
    It needs no memory for the samples themselves.

    Args:
        counts: samples per shard; together at least one.
        generator: of the order.
        cursors: runs that are open at a time.
        run: most samples of a run.
    """
    starts, stops = _runs(counts, max(1, min(run, int(sum(counts)) // cursors)))
    while True:
        order = generator.permutation(len(starts))
        yield from _one_pass(zip(starts[order], stops[order]), generator, cursors)


def _one_pass(
    runs: Iterator[Sequence[int]], generator: np.random.Generator, cursors: int
) -> Iterator[int]:
    waiting = map(list, runs)
    opened: List[List[int]] = list(itertools.islice(waiting, cursors))
    while opened:
        for draw in generator.random(_DRAWS).tolist():
            place = int(draw * len(opened))
            cursor = opened[place]
            yield int(cursor[0])
            cursor[0] += 1
            if cursor[0] < cursor[1]:
                continue
            following = next(waiting, None)
            if following is not None:
                opened[place] = following
            else:
                opened[place] = opened[-1]
                opened.pop()
                if not opened:
                    return


def _runs(counts: Sequence[int], length: int) -> Sequence[np.ndarray]:
    """Returns first and one-past-last sample of each run; no run crosses shards."""
    ends = np.cumsum(counts)
    firsts = [np.arange(end - count, end, length) for count, end in zip(counts, ends)]
    starts = np.concatenate(firsts)
    of_shard = np.repeat(ends, [len(part) for part in firsts])
    return starts, np.minimum(starts + length, of_shard)
