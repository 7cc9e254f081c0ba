"""The order of samples: each once in a pass, shuffled, and every shard read forward."""

from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from segplugins.data.pairs.order import shuffled_runs


def order(counts, number, seed=0, **options):
    return list(islice(shuffled_runs(counts, np.random.default_rng(seed), **options), number))


@pytest.mark.parametrize("counts", [[1], [5, 0, 3, 9], [300], [2] * 90, [1000, 1, 1000]])
def test_a_pass_gives_each_sample_once(counts):
    total = sum(counts)
    drawn = order(counts, 3 * total)
    for first in range(0, 3 * total, total):
        assert sorted(drawn[first : first + total]) == list(range(total))


def test_the_generator_decides_the_order_and_each_pass_has_its_own():
    assert order([40, 40], 160) == order([40, 40], 160)
    assert order([40, 40], 160) != order([40, 40], 160, seed=1)
    first, second = order([40, 40], 80), order([40, 40], 160)[80:]
    assert first != second


def test_a_small_set_is_shuffled_evenly():
    # The first of 4 samples is each of them in about a quarter of 400 orders: 100, and a deviation
    # of 5 standard deviations sqrt(400 * 1/4 * 3/4) = 8.7 is out of question.
    firsts = Counter(order([4], 1, seed=seed)[0] for seed in range(400))
    assert all(abs(firsts[sample] - 100) < 44 for sample in range(4)), firsts


def test_runs_are_read_forward_and_end_with_their_shard():
    counts, run = [1000, 500], 10
    places = defaultdict(list)
    for position, sample in enumerate(order(counts, 1500, run=run, cursors=8)):
        places[sample // run].append((position, sample))
    assert len(places) == 150
    for seen in places.values():
        assert [sample for _, sample in seen] == sorted(sample for _, sample in seen)


def test_no_more_runs_are_open_than_asked_for():
    run, cursors = 10, 8
    opened, read = set(), Counter()
    for sample in order([1000], 1000, run=run, cursors=cursors):
        opened.add(sample // run)
        read[sample // run] += 1
        assert len(opened) <= cursors
        opened -= {number for number in opened if read[number] == run}


def test_neighbours_of_a_shard_are_far_apart():
    drawn = order([4000], 4000)
    distance = np.abs(np.diff(drawn))
    # Two runs drawn at random of 64 lie a third of the set apart: 1,333 samples.
    assert 1000 < distance.mean() < 1700
