"""How things are called."""

import pytest

from segplugins.drawn_world.meaning import Meaning
from segplugins.drawn_world.phrases import phrase_text
from segplugins.drawn_world.words import counted, joined, noun, side_of


@pytest.mark.parametrize(
    ("number", "name", "colour", "expected"),
    [
        (1, "car", "red", "a red car"),
        (1, "tree", "orange", "an orange tree"),
        (2, "person", "blue", "two people in blue"),
        (3, "sheep", "white", "three white sheep"),
        (1, "sun", "", "the sun"),
        (1, "lamp", "", "a lamp"),
    ],
)
def test_counted(number, name, colour, expected):
    assert counted(number, name, colour) == expected


def test_the_colour_of_people_is_what_they_wear():
    assert noun("person", "red") == "person in red"


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [
        (Meaning("car", "red", size="biggest"), "the biggest red car"),
        (Meaning("car", side="middle"), "the car in the middle"),
        (Meaning("boat", "blue", support="sea"), "the blue boat on the sea"),
        (
            Meaning("car", "red", relation="left of", anchor=("tree", "")),
            "the red car left of the tree",
        ),
        (Meaning("bird", heading="left"), "the bird flying to the left"),
    ],
)
def test_say(meaning, expected):
    assert phrase_text(meaning) == expected


def test_joined_lists_as_people_do():
    assert [joined(["a", "b", "c"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


@pytest.mark.parametrize(("x", "side"), [(10, "left"), (37, ""), (50, "middle"), (90, "right")])
def test_side_of(x, side, thing):
    assert side_of(thing(1, x=x), 100) == side
