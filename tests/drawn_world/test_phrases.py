"""Phrases: which ones single out a thing, several things, or nothing."""

from dataclasses import replace

import pytest

from segplugins.drawn_world.classes import all_things
from segplugins.drawn_world.dice import Dice
from segplugins.drawn_world.meaning import Meaning
from segplugins.drawn_world.phrases import (
    Phrase,
    absent_phrase,
    candidate_meanings,
    group_phrase,
    joint_phrase,
    phrase_text,
    unique_phrases,
)

WIDTH = 100


def many(make, count=200):
    """Returns the results of a phrase maker under many dice."""
    return [make(Dice(0, 0, index)) for index in range(count)]


def test_a_text_names_every_field_in_the_order_of_speech():
    meaning = Meaning(
        "boat",
        "blue",
        support="sea",
        side="right",
        size="smallest",
        relation="right of",
        anchor=("person", "red"),
        heading="left",
    )
    assert phrase_text(meaning) == (
        f"the smallest blue boat {all_things()['boat'].moves} to the left on the sea on the right "
        "right of the person in red"
    )


def test_the_candidates_of_a_coloured_thing_are_these(thing):
    car, tree = thing(1), thing(2, "tree", "green")
    plain, placed, related = candidate_meanings(car, [car, tree])
    assert plain == [
        Meaning("car"),
        Meaning("car", "red"),
        Meaning("car", support="road"),
        Meaning("car", "red", support="road"),
    ]
    assert len(placed) == 2 * 5 and len(set(placed)) == 10
    assert {one.side for one in placed} == {"", "left", "middle", "right"}
    assert {one.size for one in placed} == {"", "biggest", "smallest"}
    assert not any(one.side and one.size for one in placed)
    assert {(one.relation, one.colour) for one in related} == {
        (relation, colour)
        for relation in ("left of", "right of", "above")
        for colour in ("", "red")
    }
    assert {one.anchor for one in related} == {("tree", "")}


def test_what_hangs_in_the_sky_is_not_said_to_be_there(thing):
    moon = thing(1, "moon", "", support="sky")
    plain, _, related = candidate_meanings(moon, [moon])
    assert plain == [Meaning("moon")]
    assert related == []


def test_an_anchor_is_named_by_its_colour_only_where_its_class_is_not_enough(thing):
    target = thing(1, "house", "white")
    trees = [thing(2, "tree", "green"), thing(3, "tree", "orange"), thing(4, "tree", "orange")]
    boat = thing(5, "boat", "red")
    unworded = replace(thing(6, "lamp", ""), worded=False)
    *_, related = candidate_meanings(target, [target, *trees, boat, unworded])
    # The orange trees are two, and a lamp of one pixel is nothing to start from.
    assert {one.anchor for one in related} == {("tree", "green"), ("boat", "")}


def test_a_phrase_is_given_only_if_it_means_its_thing_and_nothing_else(thing):
    red, blue = thing(1, x=20), thing(2, colour="blue", x=80)
    for phrases in many(lambda dice: unique_phrases(dice, red, [red, blue], WIDTH)):
        # By what it is, by its place, and by what it is near: the blue car is the only one.
        assert [phrase.segments for phrase in phrases] == [(1,), (1,), (1,)]
        what, where, near = (phrase.meanings[0] for phrase in phrases)
        assert what.colour == "red" and where.side == "left"
        assert (near.relation, near.anchor) == ("left of", ("car", "blue"))
        assert all(phrase.text == phrase_text(phrase.meanings[0]) for phrase in phrases)


def test_twins_at_one_place_cannot_be_told_apart(thing):
    twins = [thing(1), thing(2)]
    for twin in twins:
        assert unique_phrases(Dice(0, 0, 0), twin, twins, WIDTH) == []


def test_a_thing_too_small_to_be_named_still_makes_a_phrase_ambiguous(thing):
    large, speck = thing(1, x=20), replace(thing(2, x=22), worded=False)
    for phrases in many(lambda dice: unique_phrases(dice, large, [large, speck], WIDTH), 20):
        assert phrases == []


def test_a_group_phrase_means_all_of_a_kind(thing):
    things = [thing(3, x=10), thing(2, x=20), thing(1, x=90), thing(4, "tree", "green")]
    sides = {"left": (2, 3), "": (1, 2, 3)}
    texts = set()
    for phrase in many(lambda dice: group_phrase(dice, things, WIDTH)):
        (meaning,) = phrase.meanings
        assert meaning.name == "car" and phrase.segments == sides[meaning.side]
        count = {2: "two", 3: "three"}[len(phrase.segments)]
        words = "red cars" if meaning.colour else "cars"
        end = " on the left" if meaning.side else ""
        assert phrase.text in {
            f"{start}{words}{end}" for start in ("all ", "the ", f"the {count} ")
        }
        texts.add(phrase.text)
    assert len(texts) == 2 * 2 * 3


def test_a_group_needs_two(thing):
    things = [thing(1), thing(2, "tree", "green")]
    assert group_phrase(Dice(0, 0, 0), things, WIDTH) is None
    assert group_phrase(Dice(0, 0, 0), [], WIDTH) is None


def test_a_group_of_which_one_is_in_the_grey_zone_is_not_said_by_its_side(thing):
    things = [thing(1, x=10), thing(2, x=20), thing(3, x=40)]
    for phrase in many(lambda dice: group_phrase(dice, things, WIDTH)):
        assert phrase.meanings[0].side == "" and phrase.segments == (1, 2, 3)


def single(segment, meaning):
    return Phrase(phrase_text(meaning), (meaning,), (segment,))


def test_two_phrases_are_joined_in_their_order_and_their_targets_in_that_of_the_segments():
    phrases = [single(7, Meaning("house")), single(3, Meaning("car", "red"))]
    joint = {phrase.text: phrase for phrase in many(lambda dice: joint_phrase(dice, phrases))}
    assert set(joint) == {"the house and the red car", "the red car and the house"}
    assert all(phrase.segments == (3, 7) for phrase in joint.values())
    assert joint["the house and the red car"].meanings == (Meaning("house"), Meaning("car", "red"))
    assert joint["the red car and the house"].meanings == (Meaning("car", "red"), Meaning("house"))


@pytest.mark.parametrize(
    "phrases",
    [
        [],
        [single(1, Meaning("car"))],
        [single(1, Meaning("car", "red")), single(2, Meaning("car", "blue"))],  # of one class
        [
            single(1, Meaning("car")),  # "the tree left of the house and the car" has two readings
            single(2, Meaning("tree", relation="left of", anchor=("house", ""))),
        ],
    ],
)
def test_phrases_that_cannot_be_joined(phrases):
    assert joint_phrase(Dice(0, 0, 0), phrases) is None


def test_an_absent_phrase_names_a_missing_class_or_a_missing_colour_by_turns(thing):
    things = [thing(1)]
    phrases = many(lambda dice: absent_phrase(dice, things, ["car", "lamp", "boat"], (), WIDTH))
    assert all(phrase.segments == () for phrase in phrases)
    recoloured = [phrase for phrase in phrases if phrase.meanings[0].name == "car"]
    colours = {phrase.meanings[0].colour for phrase in recoloured}
    assert colours == set(all_things()["car"].colours) - {"red"}
    others = {phrase.text for phrase in phrases if phrase.meanings[0].name != "car"}
    assert others == {"the lamp", "the boat"}
    # Half and half: five standard deviations of 200 coins are 35.
    assert abs(len(recoloured) - 100) < 36


def test_an_absent_phrase_denies_nothing_that_is_there_however_small(thing):
    car, speck = thing(1), replace(thing(2, "lamp", ""), worded=False)
    blue_speck = replace(thing(3, colour="blue"), worded=False)
    for phrase in many(
        lambda dice: absent_phrase(dice, [car, speck, blue_speck], ["car", "lamp"], (), WIDTH)
    ):
        assert phrase.text not in ("the lamp", "the blue car")


def test_an_absent_phrase_never_names_a_banned_pair(thing):
    colours = [colour for colour in all_things()["car"].colours if colour != "red"]
    banned = [(colour, "car") for colour in colours[1:]]
    for phrase in many(lambda dice: absent_phrase(dice, [thing(1)], ["car"], banned, WIDTH)):
        assert phrase.text == f"the {colours[0]} car"
    every = [(colour, "car") for colour in colours]
    assert absent_phrase(Dice(0, 0, 0), [thing(1)], ["car"], every, WIDTH) is None
