"""Heat maps: one scale for all words, colours by value, what is refused."""

import numpy as np
import pytest

from segplugins.pictures.heat import draw_heat_maps, heat_colours


def test_colours_rise_from_dark_blue_to_yellow():
    low, middle, high = heat_colours(np.array([0.0, 0.5, 1.0])).astype(int)
    assert low[2] > low[1] and high[0] > 200 and high[1] > 200 and high[2] < 80
    assert low.sum() < middle.sum() < high.sum()
    assert np.array_equal(heat_colours(np.array([-1.0, 2.0])), heat_colours(np.array([0.0, 1.0])))


def test_all_words_share_one_scale_and_each_gets_a_picture():
    image = np.zeros((256, 300, 3), np.uint8)
    maps = np.zeros((2, 4, 6), np.float32)
    maps[1, :, 3:] = 1.0
    painted = draw_heat_maps(image, maps, ["sky", "dog"])
    # Three pictures of 300 pixels with gaps of 6: the picture itself, sky, dog.
    row = 18 + 128
    dark, bright = heat_colours(np.array([0.0, 1.0])).astype(float)
    assert painted.shape[0] == 256 + 18 and painted.shape[1] > 3 * 300 + 2 * 6
    assert np.allclose(painted[row, 10], 0)
    assert np.allclose(painted[row, 306 + 290], 0.65 * dark, atol=1)  # sky has no high value
    assert np.allclose(painted[row, 612 + 10], 0.65 * dark, atol=1)
    assert np.allclose(painted[row, 612 + 290], 0.65 * bright, atol=1)
    # The bar of the scale: highest above.
    assert np.allclose(painted[18 + 1, 918 + 2], bright, atol=3)
    assert np.allclose(painted[-2, 918 + 2], dark, atol=3)


def test_lines_of_pictures_are_of_about_the_same_length():
    painted = draw_heat_maps(np.zeros((256, 256, 3), np.uint8), np.ones((4, 2, 2)), list("abcd"))
    # Five pictures in lines of three and two, with 18 pixels for each title and gaps of 6.
    assert painted.shape[0] == 2 * (256 + 18) + 6
    assert 3 * 256 + 2 * 6 < painted.shape[1] < 4 * 256


def test_maps_without_difference_are_painted_in_the_lowest_colour():
    painted = draw_heat_maps(np.zeros((256, 256, 3), np.uint8), np.ones((1, 2, 2)), ["a"])
    dark = heat_colours(np.array([0.0])).astype(float)[0]
    assert np.allclose(painted[100, 262 + 100], 0.65 * dark, atol=1)


@pytest.mark.parametrize(
    "maps, names, message",
    [
        (np.zeros((2, 3, 3)), ["a"], "2 maps for 1 words"),
        (np.zeros((0, 3, 3)), [], "0 maps for 0 words"),
        (np.full((1, 3, 3), np.nan), ["a"], "values that are not finite"),
    ],
)
def test_what_cannot_be_painted(maps, names, message):
    with pytest.raises(ValueError, match=message):
        draw_heat_maps(np.zeros((8, 8, 3), np.uint8), maps, names)
