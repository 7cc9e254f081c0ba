"""Rows of legends: colours as seen, shares, scores and their order."""

import numpy as np
import pytest

from segplugins.pictures.painting import region_of
from segplugins.pictures.rows import (
    class_rows,
    grouped_rows,
    mean_colour,
    mean_colours,
    share,
    with_score,
)

RED, BLUE, GREEN = (200, 0, 0), (0, 0, 100), (0, 50, 0)


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, "0 %"), (1e-9, "< 1 %"), (0.0099, "< 1 %"), (0.01, "1 %"), (0.125, "12 %"), (1, "100 %")],
)
def test_a_share_is_in_percent_and_a_small_one_is_not_nothing(part, text):
    assert share(part) == text


@pytest.mark.parametrize(
    ("scores", "text"),
    [(None, "dog"), ([0.5, None], "dog"), ([0.5, float("nan")], "dog"), ([0.5, 0.126], "dog 0.13")],
)
def test_a_score_stands_behind_the_name_with_two_digits(scores, text):
    assert with_score("dog", scores, 1) == text


def test_a_score_of_zero_is_one():
    assert with_score("dog", [0.0], 0) == "dog 0.00"


def test_classes_have_the_mean_of_their_pixels_and_their_share():
    classes = np.array([[0, 0, 2, 2], [1, 0, 2, 3]])
    painted = np.zeros((2, 4, 3), np.uint8)
    painted[0, 0], painted[0, 1], painted[1, 1] = (10, 0, 0), (20, 3, 0), (30, 0, 9)
    painted[1, 0] = BLUE
    rows = class_rows(painted, classes, np.array([3, 1, 3, 1]), {1: "sea", 0: "sky"})
    assert [row.name for row in rows] == ["sea", "sky", "(none of these)"]
    assert [list(row.colour) for row in rows[:2]] == [list(BLUE), [20, 1, 3]]
    assert rows[2].colour is None
    assert [row.remark for row in rows] == ["12 %", "38 %", "12 %"]


def test_a_picture_that_is_painted_whole_has_no_row_for_the_rest():
    rows = class_rows(np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2), int), np.array([2, 0]), {})
    assert rows == []


@pytest.mark.parametrize(("longest", "is_sampled"), [(639, False), (640, True)])
def test_colours_of_large_pictures_are_those_of_every_second_pixel(longest, is_sampled):
    painted = np.zeros((2, longest, 3), np.uint8)
    painted[0, ::2] = (200, 100, 50)
    indices = np.zeros((2, longest), int)
    (colour,) = mean_colours(painted, indices, np.array([2 * longest]))
    share_of_seen = 1 if is_sampled else (longest + 1) / 2 / (2 * longest)
    assert colour.tolist() == pytest.approx(np.array([200, 100, 50]) * share_of_seen, abs=1)


def test_a_class_between_the_sampled_pixels_has_its_own_colour():
    painted = np.zeros((2, 640, 3), np.uint8)
    indices = np.zeros((2, 640), int)
    indices[1, 3], painted[1, 3] = 2, RED
    colours = mean_colours(painted, indices, np.array([1279, 0, 1]))
    assert colours.tolist() == [[0, 0, 0], [0, 0, 0], list(RED)] and colours.dtype == np.uint8


def test_the_colour_of_a_region_is_the_mean_of_its_own_pixels():
    painted = np.full((4, 5, 3), 250, np.uint8)
    mask = np.zeros((4, 5), bool)
    mask[1, 1] = mask[2, 3] = True
    painted[1, 1], painted[2, 3] = (10, 20, 30), (20, 40, 90)
    assert mean_colour(painted, region_of(mask)).tolist() == [15, 30, 60]
    assert mean_colour(painted, region_of(np.zeros((4, 5), bool))) is None


def test_rows_of_names_are_the_largest_first_in_the_colour_of_the_largest_mask():
    rows = grouped_rows(
        ["dog", "cat", "dog", "ant", "cat"],
        [RED, BLUE, GREEN, RED, RED],
        [10, 20, 25, 4, 0],
        1000,
        [0.5, 0.5, 0.5, 0.75, 0.5],
    )
    assert [(row.name, row.colour, row.remark) for row in rows] == [
        ("dog", GREEN, "×2"),
        ("cat", BLUE, "×1"),  # of two masks one is empty
        ("ant 0.75", RED, "< 1 %"),
    ]


def test_a_single_mask_has_its_share_and_empty_ones_are_nothing():
    rows = grouped_rows(["sky", "a", "a", "b"], [RED] * 4, [50, 0, 0, 0], 200, [None] * 4)
    assert [(row.name, row.remark) for row in rows] == [
        ("sky", "25 %"),
        ("a", "nothing"),
        ("b", "nothing"),
    ]
    assert [row.colour for row in rows] == [RED, None, None]


def test_names_of_one_size_stay_in_their_order():
    names = ["c", "a", "b"]
    rows = grouped_rows(names, [RED] * 3, [5, 5, 5], 100, [None] * 3)
    assert [row.name for row in rows] == names
