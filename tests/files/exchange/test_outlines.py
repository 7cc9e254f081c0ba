import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segplugins.files.exchange.outlines import one_polygon, outlines
from segplugins.structures.regions import draw_polygons

SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


def drawn(points, shape):
    return draw_polygons([np.asarray(points, float).ravel().tolist()], *shape)


def test_the_outline_of_a_pixel_runs_clockwise_along_its_edges():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (outline,) = outlines(mask)
    assert outline.points.tolist() == [[3, 2], [4, 2], [4, 3], [3, 3]]
    assert not outline.is_hole


def test_a_hole_has_an_outline_of_its_own():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    outer, hole = outlines(mask)
    assert outer.points.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3]]
    assert (outer.is_hole, hole.is_hole) == (False, True)
    assert sorted(hole.points.tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]


@pytest.mark.parametrize("mask", [np.eye(2), np.eye(2)[::-1]])
def test_pixels_that_touch_at_a_corner_stay_apart(mask):
    found = outlines(mask)
    assert [len(each.points) for each in found] == [4, 4]
    assert not any(each.is_hole for each in found)


@settings(max_examples=150, deadline=None)
@given(arrays(bool, SIDES, elements=st.booleans()).filter(np.any))
def test_outlines_and_one_polygon_cover_the_same_pixels(mask):
    signs = [(-1 if each.is_hole else 1, each.points) for each in outlines(mask)]
    assert (sum(sign * drawn(points, mask.shape) for sign, points in signs) == mask).all()
    assert (drawn(one_polygon(mask), mask.shape) == mask).all()
