"""The order of samples: each once in a pass, shuffled, and every shard read forward."""

from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from segplugins.data.pairs.order import _DRAWS, _runs, shuffled_runs


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


class InTurn:
    """Stands for numpy's generator: runs keep their order, and draws are the given numbers."""

    def __init__(self, *draws):
        self.draws = draws

    def permutation(self, count):
        return np.arange(count)

    def random(self, count):
        return np.resize(self.draws, count)


def test_a_draw_chooses_among_the_open_runs_and_a_run_read_out_makes_room():
    # Runs of two: [0 1] [2 3] [4 5]; two are open. Draws 0, 0.9, 0.9, 0, 0, 0:
    # 0 of the first; 2, 3 of the second, whose place [4 5] takes; 1; then the last alone: 4, 5.
    drawn = shuffled_runs([6], InTurn(0, 0.9, 0.9, 0, 0, 0), cursors=2, run=2)
    assert list(islice(drawn, 6)) == [0, 2, 3, 1, 4, 5]


def test_a_run_read_out_with_none_waiting_is_replaced_by_the_last_open_one():
    # Three runs of two, all open. The first is read out; then the last stands in its place.
    drawn = shuffled_runs([6], InTurn(0, 0, 0, 0.9), cursors=3, run=2)
    assert list(islice(drawn, 4)) == [0, 1, 4, 2]


def test_no_run_crosses_a_shard_and_the_last_of_a_shard_is_shorter():
    starts, stops = _runs([5, 0, 2, 3], 2)
    assert list(zip(starts.tolist(), stops.tolist())) == [
        (0, 2),
        (2, 4),
        (4, 5),
        (5, 7),
        (7, 9),
        (9, 10),
    ]


@pytest.mark.parametrize("total, length", [(15, 1), (16, 1), (32, 2), (48, 3), (80, 3)])
def test_runs_are_as_long_as_lets_every_cursor_have_one_and_no_longer_than_asked(total, length):
    # With 16 cursors and a run of at most 3: total // 16, from 1 to 3.
    drawn = list(islice(shuffled_runs([total], InTurn(0), cursors=16, run=3), length + 1))
    assert drawn[:length] == list(range(length))
    # Always the first of the open ones: after its run, the run that was waiting or stood last.
    assert drawn[length] != length or total > 16 * length


def test_more_samples_than_random_numbers_at_a_time_are_each_given_once():
    drawn = order([_DRAWS + 5, _DRAWS], 2 * _DRAWS + 5)
    assert sorted(drawn) == list(range(2 * _DRAWS + 5))
