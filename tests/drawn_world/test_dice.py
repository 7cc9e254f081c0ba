"""Choices that any machine repeats."""

from collections import Counter

import numpy as np
import pytest

from segplugins.drawn_world.dice import Dice


def test_a_choice_is_the_upper_bits_of_the_counter_generator_scaled_to_the_bound():
    # numpy promises raw bits for ever, so this is the whole definition: last bit of a block first.
    key = np.array([5, (2 << 32) | 7], np.uint64)
    bits = (np.random.Philox(key=key).random_raw(512) >> np.uint64(32)).tolist()
    dice = Dice(5, 2, 7)
    assert [dice.below(1000) for _ in range(600)][:512] == [b * 1000 >> 32 for b in bits[::-1]]


def test_streams_differ_by_seed_by_split_and_by_index():
    drawn = {
        tuple(Dice(*place).below(1 << 20) for _ in range(1))
        for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    }
    assert len(drawn) == 4


def test_every_choice_stays_within_its_bounds():
    dice = Dice(1, 0, 0)
    assert {dice.between(3, 5) for _ in range(200)} == {3, 4, 5}
    assert {dice.pick("ab") for _ in range(100)} == {"a", "b"}
    assert not any(dice.chance(0) for _ in range(100))
    assert all(dice.chance(100) for _ in range(100))
    assert sorted(dice.shuffled(range(30))) == list(range(30))


def test_weights_are_shares():
    dice = Dice(1, 0, 1)
    counts = Counter(
        dice.weighted([("often", 3), ("seldom", 1), ("never", 0)]) for _ in range(4000)
    )
    assert counts["never"] == 0
    # Binomial with p = 1/4: standard deviation sqrt(4000 * 3/16) = 27; five of them.
    assert counts["seldom"] == pytest.approx(1000, abs=5 * 27)
