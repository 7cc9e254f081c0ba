"""Scenes: what is required is there, things stand on their ground, none hides another."""

from collections import Counter

import pytest

from segplugins.drawn_world.classes import all_things, choose_classes
from segplugins.drawn_world.dice import Dice
from segplugins.drawn_world.options import WorldOptions
from segplugins.drawn_world.scene import Thing, compose
from segplugins.drawn_world.splits import STREAMS, scene_of

HIGH, WIDE = 1024, 1400
CLASSES = choose_classes()


def scene(index=0, *, required=(), with_unseen=False, classes=CLASSES):
    return compose(
        Dice(11, 0, index),
        classes,
        high=HIGH,
        wide=WIDE,
        with_unseen=with_unseen,
        required=required,
    )


SCENES = [scene(i, with_unseen=True) for i in range(60)]


def test_the_box_of_a_thing_stands_on_its_foot():
    # A car is 2160 thousandths of its height wide: 216 of 100.
    car = Thing("car", "red", 0, (500, 900), 100, False, "road")
    assert car.box == (392, 800, 608, 900)


def test_things_move_by_their_speed_and_the_landscape_stays():
    first = scene(3)
    later = first.after(5)
    assert later.land is first.land and len(later.things) == len(first.things)
    for before, after in zip(first.things, later.things):
        assert after.foot == (before.foot[0] + 5 * before.speed, before.foot[1])
        assert (after.name, after.colour, after.height) == (
            before.name,
            before.colour,
            before.height,
        )
    assert first.after(0) == first


def test_only_birds_change_their_figure_every_second_frame():
    bird = Thing("bird", "black", 0, (0, 0), 100, False, "sky", 20)
    car = Thing("car", "red", 1, (0, 0), 100, False, "road", 20)
    land = scene().land
    scenes = [type(scene())(land, (bird, car)).after(frame) for frame in range(6)]
    assert [one.things[0].variant for one in scenes] == [0, 0, 1, 1, 0, 0]
    assert {one.things[1].variant for one in scenes} == {1}


def test_what_stands_stands_on_what_it_may_and_what_flies_is_in_the_sky():
    for one in SCENES:
        for thing in one.things:
            kind = all_things()[thing.name]
            assert thing.support in kind.supports
            if kind.place == "ground":
                assert one.land.stuff_at(*thing.foot) == thing.support
                assert thing.height <= HIGH * 4 // 5
            else:
                assert thing.support == "sky"
                assert thing.box[1] >= 8  # it does not touch the upper border


def test_far_things_are_smaller():
    for one in SCENES:
        for thing in one.things:
            kind = all_things()[thing.name]
            if kind.place == "ground":
                depth = max(0, thing.foot[1] - one.land.horizon) / (HIGH - one.land.horizon)
                scale = 0.42 + 0.58 * depth
                low, high = kind.height
                # Percentages are rounded down twice.
                assert (scale - 0.02) * low - 2 <= thing.height <= 1.5 * scale * high + 2


def test_at_most_one_thing_stands_out_by_its_size():
    heroes = 0
    for one in SCENES:
        over = 0
        for thing in one.things:
            kind = all_things()[thing.name]
            if kind.place == "ground":
                depth = max(0, thing.foot[1] - one.land.horizon) / (HIGH - one.land.horizon)
                over += thing.height > (0.42 + 0.58 * depth) * kind.height[1] + 2
            elif kind.place == "air":
                over += thing.height > 1.1 * kind.height[1]
        assert over <= 1
        heroes += over
    assert heroes > 5


def test_no_two_boxes_share_more_than_a_third_of_the_smaller_one():
    for one in SCENES:
        for i, first in enumerate(one.things):
            for second in one.things[:i]:
                a, b = first.box, second.box
                across = min(a[2], b[2]) - max(a[0], b[0])
                down = min(a[3], b[3]) - max(a[1], b[1])
                areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
                if across > 0 and down > 0:
                    assert across * down <= min(areas) / 3


def test_no_class_is_there_more_often_than_it_may_be():
    counts = [Counter(thing.name for thing in one.things) for one in SCENES]
    assert all(
        number <= all_things()[name].most for count in counts for name, number in count.items()
    )
    assert max(sum(count.values()) for count in counts) <= 11


def test_the_sky_is_painted_before_the_air_and_far_things_before_near_ones():
    for one in SCENES:
        places = [all_things()[thing.name].place for thing in one.things]
        assert places == sorted(places, key=lambda place: place != "sky")
        hanging = [thing for thing in one.things if all_things()[thing.name].place == "sky"]
        discs = [thing.name in ("sun", "moon") for thing in hanging]
        assert discs == sorted(discs, reverse=True), "a cloud hangs before the sun"
        feet = [t.foot[1] for t in one.things if all_things()[t.name].place == "ground"]
        assert feet == sorted(feet)


def test_the_moon_shines_at_night_and_the_sun_does_not():
    for one in SCENES:
        for thing in one.things:
            assert one.land.light.name in all_things()[thing.name].lights


def test_a_thing_that_looks_to_the_left_moves_to_the_left():
    moving = [thing for one in SCENES for thing in one.things if thing.speed]
    assert len(moving) > 20
    for thing in moving:
        low, high = all_things()[thing.name].speed
        assert low <= abs(thing.speed) <= high
        assert (thing.speed < 0) == thing.flip


@pytest.mark.parametrize(
    "required", [[("car", "blue")], [("boat", "")], [("sheep", "")], [("road", "")], [("moon", "")]]
)
def test_what_is_required_is_there(required):
    for index in range(8):
        one = scene(index, required=required, with_unseen=True)
        ((name, colour),) = required
        looks = [(thing.name, thing.colour) for thing in one.things]
        if name in all_things():
            assert any(n == name and colour in ("", c) for n, c in looks)
        else:
            assert name in one.land.stuff


def test_of_requirements_that_exclude_each_other_the_first_is_kept():
    for index in range(5):
        one = scene(index, required=[("moon", ""), ("sun", "")], with_unseen=True)
        names = {thing.name for thing in one.things}
        assert "moon" in names and "sun" not in names


def test_training_never_shows_an_unseen_class_or_pair():
    pairs = set(CLASSES.unseen_pairs)
    for index in range(60):
        for thing in scene(index).things:
            assert thing.name in CLASSES.seen
            assert (thing.colour, thing.name) not in pairs
    shown = {(thing.colour, thing.name) for one in SCENES for thing in one.things}
    assert pairs & shown and {name for _, name in shown} & set(CLASSES.unseen)


def test_a_colour_is_one_of_its_class_and_none_where_it_has_its_own():
    for one in SCENES:
        for thing in one.things:
            colours = all_things()[thing.name].colours
            assert thing.colour in colours if colours else thing.colour == ""
            assert 0 <= thing.variant < all_things()[thing.name].variants


def test_every_split_has_a_stream_and_scenes_of_its_own():
    options = WorldOptions(train=2, val=2, height=64, width=96)
    assert len(set(STREAMS.values())) == len(STREAMS) == 6
    scenes = {split: scene_of(options, split, 0) for split in STREAMS}
    assert len({repr(one) for one in scenes.values()}) == 6
    # 1024 units to the short side, the long one in proportion.
    assert {(one.land.high, one.land.wide) for one in scenes.values()} == {(1024, 1536)}
    hidden = set(options.class_list.unseen) | {n for _, n in options.class_list.unseen_pairs}
    shown = {thing.name for thing in scenes["val_unseen"].things}
    assert shown & hidden
