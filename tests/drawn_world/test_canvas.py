"""One stroke, two results: a smooth picture and a hard truth."""

import numpy as np
import pytest

from segplugins.drawn_world.canvas import UNITS, Canvas


def rectangle(canvas, left, top, right, bottom):
    """A filled rectangle; sides in 1024ths of the canvas."""
    points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.int64)
    canvas.fill(canvas.fixed(points), (200, 100, 40), 7, 3)


def test_truth_is_what_lies_under_the_centre_of_a_pixel():
    canvas = Canvas(32, 32)  # one pixel = 32 units
    # From a quarter into pixel 8 to a quarter into pixel 20: the centre of 8 is inside, of 20 not.
    rectangle(canvas, 8 * 32 + 8, 4 * 32 + 8, 20 * 32 + 8, 10 * 32 + 8)
    segments, parts = canvas.truth()
    expected = np.zeros((32, 32), np.uint8)
    expected[4:10, 8:20] = 1
    np.testing.assert_array_equal(segments, 7 * expected)
    np.testing.assert_array_equal(parts, 3 * expected)


def test_the_picture_is_smooth_where_the_truth_is_hard():
    canvas = Canvas(32, 32)
    rectangle(canvas, 8 * 32 + 16, 0, UNITS, UNITS)  # begins in the middle of pixel 8
    row = canvas.picture()[16, :, 0].tolist()
    assert row[:8] == [0] * 8
    assert row[9:] == [200] * 23
    assert 50 < row[8] < 200


@pytest.mark.parametrize("size", [32, 100, 256])
def test_a_scene_covers_the_same_share_at_every_size(size):
    canvas = Canvas(size, size)
    points = np.array([(100, 900), (900, 900), (500, 100)], np.int64)
    canvas.fill(canvas.fixed(points), (1, 2, 3), 1)
    share = (canvas.truth()[0] == 1).mean()
    # Half of 800 x 800 of 1024 x 1024; the border is about 2400 units, uncertain by a sixth pixel.
    assert share == pytest.approx(0.5 * 800**2 / 1024**2, abs=2400 / UNITS / 6 / size * 2)


def test_a_wide_canvas_has_more_units_across():
    canvas = Canvas(64, 128)
    assert (canvas.units_high, canvas.units_wide) == (1024, 2048)


def test_marks_leave_the_truth_alone():
    canvas = Canvas(32, 32)
    line = canvas.fixed(np.array([(0, 0), (1000, 1000)], np.int64))
    canvas.strokes([line], (255, 255, 255), 4)
    canvas.decorate([line], (255, 255, 255))
    assert canvas.picture().any()
    assert not canvas.truth()[0].any()
