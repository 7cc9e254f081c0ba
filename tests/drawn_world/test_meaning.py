"""Which things a phrase means: strictly, and loosely."""

import pytest

from segplugins.drawn_world.meaning import Meaning, matching_segments

WIDTH = 100


def test_class_and_colour_and_ground_are_taken_literally(thing):
    things = [thing(1), thing(2, colour="blue"), thing(3, "boat", support="sea")]
    assert matching_segments(Meaning("car"), things, WIDTH) == ([1, 2], [1, 2])
    assert matching_segments(Meaning("car", "blue"), things, WIDTH) == ([2], [2])
    assert matching_segments(Meaning("car", support="sea"), things, WIDTH) == ([], [])


@pytest.mark.parametrize(
    ("x", "strict", "loose"), [(20, True, True), (40, False, True), (50, False, False)]
)
def test_a_side_has_a_grey_zone(x, strict, loose, thing):
    found = matching_segments(Meaning("car", side="left"), [thing(1, x=x)], WIDTH)
    assert found == ([1] * strict, [1] * loose)


@pytest.mark.parametrize(
    ("other", "strict", "loose"),
    [(8, [1], [1]), (9, [], [1, 2]), (10, [], [1, 2]), (12, [2], [2])],
)
def test_the_biggest_must_be_so_clearly(other, strict, loose, thing):
    # The first has 100 pixels: clear of 64 (1.4 times is 89.6), not of 81 (113.4); 144 is clear of
    # it in turn. Loosely, 1.4 times as big as it is would do: 81 and 100 might be, 64 might not.
    things = [thing(1, side=10), thing(2, side=other)]
    assert matching_segments(Meaning("car", size="biggest"), things, WIDTH) == (strict, loose)


def test_the_smallest_is_the_mirror_of_the_biggest(thing):
    things = [thing(1, side=20), thing(2, side=10)]
    assert matching_segments(Meaning("car", size="smallest"), things, WIDTH) == ([2], [2])


def test_one_of_a_kind_is_never_called_the_biggest(thing):
    assert matching_segments(Meaning("car", size="biggest"), [thing(1)], WIDTH) == ([], [])


def test_left_of_needs_a_clear_distance_and_a_single_anchor(thing):
    tree = thing(9, "tree", "green", x=60)
    meaning = Meaning("car", relation="left of", anchor=("tree", ""))
    assert matching_segments(meaning, [thing(1, x=40), tree], WIDTH) == ([1], [1])
    assert matching_segments(meaning, [thing(1, x=57), tree], WIDTH) == ([], [1])
    assert matching_segments(meaning, [thing(1, x=80), tree], WIDTH) == ([], [])
    two = [thing(1, x=40), tree, thing(8, "tree", "orange", x=90)]
    assert matching_segments(meaning, two, WIDTH)[0] == []
    assert matching_segments(meaning._replace(anchor=("tree", "green")), two, WIDTH)[0] == [1]


def test_above_means_over_it_and_not_only_higher(thing):
    house = thing(9, "house", x=50, y=70)
    meaning = Meaning("bird", relation="above", anchor=("house", ""))
    over, aside = thing(1, "bird", x=52, y=30), thing(2, "bird", x=10, y=30)
    assert matching_segments(meaning, [over, aside, house], WIDTH) == ([1], [1, 2])


def test_a_heading_is_read_from_the_speed(thing):
    things = [thing(1, speed=-3), thing(2, speed=3), thing(3)]
    assert matching_segments(Meaning("car", heading="left"), things, WIDTH) == ([1], [1])


def test_as_data_names_only_what_is_asked_for():
    assert Meaning("car", "red").as_data() == {"name": "car", "colour": "red"}
    related = Meaning("car", relation="above", anchor=("sun", ""))
    assert related.as_data()["anchor"] == ("sun", "")
