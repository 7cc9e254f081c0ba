"""Sine positions, each number by hand."""

import math

import pytest
import torch

from segplugins.modeling.positions import sine_positions_1d, sine_positions_2d


def test_rows_come_first_and_each_pair_of_channels_is_sine_and_cosine_of_one_angle():
    codes = sine_positions_2d(8, 2, 5)  # n = 4 channels per axis, divided by 1, 1, 100, 100
    for y in range(2):
        for x in range(5):
            for block, angle in ((0, (y + 0.5) / 2), (4, (x + 0.5) / 5)):
                angle = 2 * math.pi * angle
                want = [f(angle / d) for d in (1, 100) for f in (math.sin, math.cos)]
                assert codes[block : block + 4, y, x].tolist() == pytest.approx(want, abs=1e-5)


def test_words_are_counted_from_one_and_without_a_half():
    codes = sine_positions_1d(4, 3)
    for place in range(3):
        angle = 2 * math.pi * (place + 1) / 3
        want = [f(angle / d) for d in (1, 100) for f in (math.sin, math.cos)]
        assert codes[:, place].tolist() == pytest.approx(want, abs=1e-5)


def test_the_same_place_of_a_finer_grid_has_a_code_between_its_neighbours():
    # The middle of one cell of 1 x 1 lies between the two middle cells of 1 x 4.
    coarse, fine = sine_positions_2d(4, 1, 1), sine_positions_2d(4, 1, 4)
    angles = [torch.atan2(code[2, 0], code[3, 0]) % (2 * math.pi) for code in (coarse, fine.mT.mT)]
    assert angles[0][0] == pytest.approx(math.pi, abs=1e-4)
    assert angles[1][1] < math.pi < angles[1][2]


@pytest.mark.parametrize("channels", [2, 6, 7])
def test_a_grid_needs_a_multiple_of_four_channels(channels):
    with pytest.raises(ValueError, match=f"multiple of 4 channels, got {channels}"):
        sine_positions_2d(channels, 2, 2)


def test_words_need_an_even_number_of_channels():
    with pytest.raises(ValueError, match="even number of channels, got 3"):
        sine_positions_1d(3, 2)
