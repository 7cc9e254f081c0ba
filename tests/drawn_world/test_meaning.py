"""Which things a phrase means: strictly, and loosely."""

from dataclasses import replace

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


@pytest.mark.parametrize(
    ("side", "x", "strict", "loose"),
    [
        # A box 10 wide has its centre at x, and the picture is 100 wide: x is the percentage.
        ("left", 33, True, True),
        ("left", 34, False, True),
        ("left", 45, False, True),
        ("left", 46, False, False),
        ("middle", 29, False, False),
        ("middle", 30, False, True),
        ("middle", 41, False, True),
        ("middle", 42, True, True),
        ("middle", 57, True, True),
        ("middle", 58, False, True),
        ("middle", 69, False, True),
        ("middle", 70, False, False),
        ("right", 53, False, False),
        ("right", 54, False, True),
        ("right", 65, False, True),
        ("right", 66, True, True),
        ("right", 100, True, True),
    ],
)
def test_the_grey_zones_of_the_sides_end_exactly_there(side, x, strict, loose, thing):
    answers = matching_segments(Meaning("car", side=side), [thing(1, x=x)], WIDTH)
    assert answers == ([1] * strict, [1] * loose)


def test_a_side_is_a_share_of_the_width_and_not_a_number_of_pixels(thing):
    things = [thing(1, x=60)]
    assert matching_segments(Meaning("car", side="right"), things, 70)[0] == [1]
    assert matching_segments(Meaning("car", side="left"), things, 400)[0] == [1]


def test_the_size_is_compared_before_the_side_leaves_any_out(thing):
    # The biggest car stands on the right: "the biggest car on the left" is nobody.
    things = [thing(1, x=10, side=10), thing(2, x=90, side=30)]
    meaning = Meaning("car", side="left", size="biggest")
    assert matching_segments(meaning, things, WIDTH) == ([], [])
    assert matching_segments(meaning._replace(side="right"), things, WIDTH) == ([2], [2])


def test_the_size_is_compared_within_the_colour_that_is_asked_for(thing):
    things = [thing(1, side=10), thing(2, side=20), thing(3, colour="blue", side=40)]
    assert matching_segments(Meaning("car", "red", size="biggest"), things, WIDTH) == ([2], [2])
    assert matching_segments(Meaning("car", size="biggest"), things, WIDTH) == ([3], [3])


def test_the_biggest_of_three_beats_the_second_and_not_the_least(thing):
    things = [thing(1, side=10), thing(2, side=20), thing(3, side=21)]
    assert matching_segments(Meaning("car", size="biggest"), things, WIDTH)[0] == []
    assert matching_segments(Meaning("car", size="smallest"), things, WIDTH) == ([1], [1])


def areas(thing, first, second):
    """Two cars with areas that no square has."""
    return [replace(thing(1), area=first), replace(thing(2), area=second)]


@pytest.mark.parametrize(
    ("first", "second", "strict"), [(140, 100, [1]), (139, 100, []), (100, 140, [2])]
)
def test_exactly_forty_percent_more_is_clearly_bigger(first, second, strict, thing):
    things = areas(thing, first, second)
    assert matching_segments(Meaning("car", size="biggest"), things, WIDTH)[0] == strict


@pytest.mark.parametrize(
    ("first", "second", "strict"), [(100, 140, [1]), (100, 139, []), (140, 100, [2])]
)
def test_exactly_forty_percent_less_is_clearly_smaller(first, second, strict, thing):
    things = areas(thing, first, second)
    assert matching_segments(Meaning("car", size="smallest"), things, WIDTH)[0] == strict


@pytest.mark.parametrize(
    ("relation", "x", "strict", "loose"),
    [
        ("left of", 42, True, True),  # eight percent of the width apart
        ("left of", 43, False, True),
        ("left of", 52, False, True),  # two percent beyond the anchor
        ("left of", 53, False, False),
        ("right of", 58, True, True),
        ("right of", 57, False, True),
        ("right of", 48, False, True),
        ("right of", 47, False, False),
    ],
)
def test_left_and_right_of_mirror_each_other_and_end_exactly_there(
    relation, x, strict, loose, thing
):
    things = [thing(1, x=x), thing(9, "tree", "green", x=50)]
    meaning = Meaning("car", relation=relation, anchor=("tree", ""))
    assert matching_segments(meaning, things, WIDTH) == ([1] * strict, [1] * loose)


@pytest.mark.parametrize(
    ("x", "y", "strict", "loose"),
    [
        (50, 60, True, True),  # its lower edge is the house's upper edge
        (50, 61, False, True),
        (41, 60, True, True),  # one pixel over the house: 36 to 46, the house from 45
        (40, 60, False, True),  # beside it
        (59, 60, True, True),
        (60, 60, False, True),
        (50, 70, False, False),  # as high as the house is not above it
    ],
)
def test_above_ends_at_the_edges_of_the_anchor(x, y, strict, loose, thing):
    things = [thing(1, "bird", x=x, y=y), thing(9, "house", x=50, y=70)]
    meaning = Meaning("bird", relation="above", anchor=("house", ""))
    assert matching_segments(meaning, things, WIDTH) == ([1] * strict, [1] * loose)


def test_a_thing_is_no_neighbour_of_itself(thing):
    things = [thing(1, x=50)]
    for relation in ("left of", "right of", "above"):
        meaning = Meaning("car", relation=relation, anchor=("car", "red"))
        assert matching_segments(meaning, things, WIDTH) == ([], []), relation


@pytest.mark.parametrize("trees", [0, 2])
def test_a_relation_without_its_one_anchor_means_nobody_for_sure(trees, thing):
    things = [thing(1, x=10), *(thing(8 + i, "tree", "green", x=90) for i in range(trees))]
    meaning = Meaning("car", relation="left of", anchor=("tree", ""))
    # Somebody might still take it for the car: a phrase that nobody would use.
    assert matching_segments(meaning, things, WIDTH) == ([], [1])


def test_segments_come_in_the_order_of_the_things(thing):
    things = [thing(5), thing(3), thing(4)]
    assert matching_segments(Meaning("car"), things, WIDTH) == ([5, 3, 4], [5, 3, 4])


def test_a_thing_at_rest_has_no_heading(thing):
    for heading in ("left", "right"):
        assert matching_segments(Meaning("car", heading=heading), [thing(1)], WIDTH) == ([], [])
    assert matching_segments(Meaning("car"), [thing(1, speed=-1)], WIDTH) == ([1], [1])
