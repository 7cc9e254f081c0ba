"""Windows over an image: where they start, how large they are, that they cover it."""

import pytest
import torch

from segplugins.modeling.windows import Window, windows


def corners(places):
    return [(place.top, place.left) for place in places]


def test_windows_come_row_by_row_and_the_last_ones_are_moved_inside():
    places = windows((10, 7), (4, 4), 0.5)
    tops, lefts = [0, 2, 4, 6], [0, 2, 3]
    assert corners(places) == [(top, left) for top in tops for left in lefts]
    assert {(place.height, place.width) for place in places} == {(4, 4)}


def test_windows_that_fit_exactly_do_not_stand_twice():
    assert corners(windows((8, 4), (4, 4), 0.0)) == [(0, 0), (4, 0)]
    assert corners(windows((9, 4), (4, 4), 0.0)) == [(0, 0), (4, 0), (5, 0)]


def test_height_and_width_are_not_exchanged():
    places = windows((6, 12), (6, 4), 0.0)
    assert corners(places) == [(0, 0), (0, 4), (0, 8)]
    assert places[0][2:] == (6, 4)


def test_a_window_is_cut_to_a_smaller_image():
    assert windows((3, 9), (4, 9), 0.25) == [Window(0, 0, 3, 9)]
    # The overlap is a share of the window that is left: 5 of 5, in steps of 4 (0.2 of it again).
    assert corners(windows((5, 9), (8, 5), 0.2)) == [(0, 0), (0, 4)]


def test_a_step_is_at_least_one_pixel():
    assert corners(windows((1, 5), (1, 2), 0.99)) == [(0, 0), (0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.5, 0.9])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 23), (40, 8)])
def test_every_pixel_is_in_a_window_and_no_window_leaves_the_image(size, overlap):
    counts = torch.zeros(size)
    for place in windows(size, (8, 6), overlap):
        assert place.top >= 0 and place.top + place.height <= size[0]
        assert place.left >= 0 and place.left + place.width <= size[1]
        place.crop(counts).add_(1)
    assert counts.min() >= 1


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5])
def test_an_overlap_outside_of_its_range_is_an_error(overlap):
    with pytest.raises(ValueError, match=rf"share in \[0, 1\), got {overlap}"):
        windows((8, 8), (4, 4), overlap)


def test_a_window_is_a_view_of_the_last_two_dimensions():
    image = torch.arange(2 * 5 * 6).view(2, 5, 6)
    place = Window(top=1, left=2, height=3, width=4)
    assert torch.equal(place.crop(image), image[:, 1:4, 2:6])
    place.crop(image).zero_()
    assert image[:, 1:4, 2:6].sum() == 0 and image[:, 0].sum() > 0
