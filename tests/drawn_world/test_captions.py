"""Captions, tags and names of numbers, by hand."""

from dataclasses import replace

import pytest

from segplugins.drawn_world.captions import (
    full_caption,
    picture_words,
    region_captions,
    short_caption,
    tags,
    worth_naming,
)
from segplugins.drawn_world.dice import Dice
from segplugins.drawn_world.observe import VisibleRegion
from segplugins.drawn_world.palette import lights
from segplugins.drawn_world.words import counted, groups, place_of, side_of, with_article

DAY = lights()["day"]


def stuff(name, area, size=(50, 100)):
    return VisibleRegion(1, name, "", "", area, (0, 0, 1, 1), {"size": list(size)}, 0, 0, True)


SKY, GRASS = stuff("sky", 3000), stuff("grass", 2000)


def captions(things, ground=(SKY, GRASS), count=300):
    return {short_caption(Dice(0, 0, index), things, ground, DAY) for index in range(count)}


FRAMES = ("{}", "a picture of {}", "a drawing of {}", "here is {}")


def framed(*texts):
    return {frame.format(text) for frame in FRAMES for text in texts}


def test_a_short_caption_names_one_thing_perhaps_its_place_and_the_light(thing):
    expected = framed(
        "a red car",
        "a red car on the road",
        "a red car on a sunny day",
        "a red car on the road on a sunny day",
    )
    assert captions([thing(1)]) == expected


@pytest.mark.parametrize(("rival", "named"), [(50, True), (49, False), (100, True)])
def test_a_rival_is_named_from_half_the_salience_on(rival, named, thing):
    things = [replace(thing(1), salience=100), replace(thing(2, "lamp", ""), salience=rival)]
    assert all(("lamp" in text) == named for text in captions(things))


def test_the_most_salient_one_comes_first_and_a_third_is_left_out(thing):
    things = [
        replace(thing(1), salience=90),
        replace(thing(2, "lamp", ""), salience=100),
        replace(thing(3, "boat", "white", support="sea"), salience=80),
    ]
    # With two names there is no room for a place.
    two = "a lamp and a red car"
    assert captions(things) == framed(two, f"{two} on a sunny day")


def test_several_of_a_kind_are_counted(thing):
    things = [replace(thing(i), salience=10) for i in range(3)]
    assert all("three red cars" in text for text in captions(things))


def test_what_hangs_in_the_sky_is_named_only_where_nothing_else_is(thing):
    sun = replace(thing(1, "sun", "", support="sky"), salience=500)
    assert all("the sun" not in text for text in captions([sun, thing(2)]))
    assert all("the sun" in text for text in captions([sun]))


def test_what_is_too_small_is_never_named(thing):
    speck = replace(thing(1), worded=False, salience=1000)
    assert all("car" not in text for text in captions([speck, thing(2, "lamp", "")]))
    # With nothing else, the landscape is named: two kinds of it at most.
    sea = stuff("sea", 500)
    assert captions([speck], (SKY, GRASS, sea)) == framed("the sky and grass on a sunny day")


def test_a_full_caption_names_everything_things_before_stuff(thing):
    things = [
        replace(thing(1), salience=5),
        replace(thing(2, "person", "blue"), salience=50),
        replace(thing(3, "person", "blue"), salience=40),
        replace(thing(4, "lamp", ""), worded=False),
    ]
    text = full_caption(things, [SKY, GRASS], DAY)
    assert text == "two people in blue, a red car and the sky and grass on a sunny day"


@pytest.mark.parametrize(("area", "named"), [(59, False), (60, True)])
def test_stuff_is_worth_naming_from_twelve_thousandths_on(area, named):
    # 12 / 1000 of 50 x 100 pixels are 60.
    assert (stuff("hill", area) in worth_naming([SKY, stuff("hill", area)])) == named
    assert worth_naming([]) == []


def test_tags_name_each_class_once_things_by_salience_then_stuff(thing):
    things = [
        replace(thing(1), salience=5),
        replace(thing(2, colour="blue"), salience=9),
        replace(thing(3, "lamp", ""), salience=7),
        replace(thing(4, "boat"), worded=False),
    ]
    assert tags(things, [SKY, stuff("hill", 3), GRASS]) == ["car", "lamp", "sky", "grass"]


def test_the_words_of_a_picture_agree_with_each_other(thing):
    things = [thing(1)]
    words = picture_words(Dice(0, 0, 5), things, [SKY], DAY)
    assert words == {
        "caption": short_caption(Dice(0, 0, 5), things, [SKY], DAY),
        "full_caption": "a red car and the sky on a sunny day",
        "tags": ["car", "sky"],
    }


@pytest.mark.parametrize(
    ("x", "last"),
    [
        (20, ["a red car on the left"]),
        (50, ["a red car in the middle"]),
        (80, ["a red car on the right"]),
        (37, []),
    ],
)
def test_a_region_is_described_by_its_look_its_ground_and_its_side(x, last, thing):
    assert region_captions(thing(1, x=x), 100, DAY) == [
        "a red car",
        "a red car on the road",
        *last,
    ]


def test_stuff_is_described_by_itself_and_the_light():
    assert region_captions(GRASS, 100, DAY) == ["grass", "grass on a sunny day"]
    assert region_captions(stuff("road", 9), 100, DAY)[0] == "a road"


@pytest.mark.parametrize(
    ("x", "side"),
    [
        (33, "left"),
        (34, ""),
        (39, ""),
        (40, "middle"),
        (59, "middle"),
        (60, ""),
        (65, ""),
        (66, "right"),
    ],
)
def test_between_the_sides_nothing_is_said(x, side, thing):
    assert side_of(thing(1, x=x), 100) == side
    assert side_of(thing(1, x=2 * x), 200) == side


def test_things_are_grouped_by_class_colour_and_ground_the_most_salient_first(thing):
    things = [
        replace(thing(4), salience=3),
        replace(thing(2, colour="blue"), salience=9),
        replace(thing(3), salience=1),
        replace(thing(1, support="grass"), salience=3),
    ]
    # Of equal salience the one painted first comes first.
    assert groups(things) == [
        (("car", "blue", "road"), 1),
        (("car", "red", "grass"), 1),
        (("car", "red", "road"), 2),
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(2, "two"), (9, "nine"), (10, "ten"), (11, "many"), (40, "many")],
)
def test_more_than_ten_are_many(number, text):
    assert counted(number, "car", "") == f"{text} cars"


def test_articles_and_places():
    assert with_article("orange car") == "an orange car"
    assert with_article("yellow car") == "a yellow car"
    assert counted(1, "moon", "") == "the moon"
    assert place_of("sky") == "in the sky" and place_of("sea") == "on the sea"
