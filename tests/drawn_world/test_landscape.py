"""Landscapes: which can be made of which stuff, and what lies where in them."""

import numpy as np
import pytest

from segplugins.drawn_world.canvas import Canvas
from segplugins.drawn_world.classes import all_stuff
from segplugins.drawn_world.dice import Dice
from segplugins.drawn_world.landscape import (
    Band,
    Border,
    Landscape,
    flat_colour,
    lay_out,
    paint_ground,
    paint_sky,
    recipes_for,
)
from segplugins.drawn_world.paint import STUFF_SEGMENTS
from segplugins.drawn_world.palette import lights, texture_strength
from segplugins.drawn_world.textures import falloff, texture, textured

HIGH, WIDE = 1024, 1280
DAY = lights()["day"]


def level(y, wide=WIDE):
    return Border((y,) * 41, wide)


def land_of(bands, ridges=(), light=DAY, high=HIGH, wide=WIDE):
    return Landscape(
        high,
        wide,
        light,
        bands[0][1],
        tuple(level(y, wide) for y in ridges),
        tuple(Band(stuff, level(y, wide)) for stuff, y in bands),
        7,
    )


def test_a_border_is_linear_between_its_places_and_level_outside():
    heights = tuple(40 * i for i in range(41))  # 40 down for each of 40 pieces of 32 units
    border = Border(heights, WIDE)
    assert [border.at(x) for x in (0, 16, 32, 48, 640, 1264)] == [0, 20, 40, 60, 800, 1580]
    assert border.at(-100) == border.at(0) == 0
    assert border.at(5000) == border.at(WIDE - 1) == 1560 + 40 * 31 // 32
    falling = Border(heights[::-1], WIDE)
    assert falling.at(16) == 1580 and falling.at(1264) == 20


def test_the_corners_of_a_border_reach_beyond_the_image():
    corners = Border(tuple(range(41)), WIDE).points()
    assert len(corners) == 43
    assert corners[0] == (-64, 0) and corners[-1] == (WIDE + 64, 40)
    assert corners[1] == (0, 0) and corners[2] == (32, 1) and corners[-2] == (WIDE, 40)


def test_the_nearest_band_wins_and_a_border_belongs_to_what_begins_there():
    land = land_of([("sea", 400), ("sand", 600), ("grass", 800)], ridges=(300, 350))
    places = [(299, "sky"), (300, "hill"), (399, "hill"), (400, "sea"), (599, "sea")]
    places += [(600, "sand"), (799, "sand"), (800, "grass"), (1023, "grass")]
    assert [land.stuff_at(10, y) for y, _ in places] == [stuff for _, stuff in places]
    assert land.stuff == ("sky", "hill", "sea", "sand", "grass")
    assert land_of([("grass", 400), ("road", 600), ("grass", 800)]).stuff == (
        "sky",
        "grass",
        "road",
    )


def test_stretches_reach_from_a_border_to_the_next_one():
    land = land_of([("grass", 400), ("road", 600), ("grass", 800)], ridges=(300, 350))
    assert land.stretches(["grass"]) == [(400, 600), (800, HIGH)]
    assert land.stretches(["road"]) == [(600, 800)]
    assert land.stretches(["grass", "road"]) == [(400, 600), (600, 800), (800, HIGH)]
    # Things stand on the nearest of the hills.
    assert land.stretches(["hill"]) == [(350, 400)]
    assert land.stretches(["hill", "road"])[-1] == (350, 400)
    assert land.stretches(["sea"]) == []
    assert land_of([("grass", 400)]).stretches(["hill"]) == []


def test_a_stretch_ends_at_the_lowest_place_of_a_wavy_border():
    wavy = Border((590,) * 20 + (640,) * 21, WIDE)
    bands = (Band("sea", level(400)), Band("sand", wavy))
    land = Landscape(HIGH, WIDE, DAY, 400, (), bands, 7)
    assert land.stretches(["sea"]) == [(400, 640)]
    assert land.stretches(["sand"]) == [(590, HIGH)]


@pytest.mark.parametrize(
    ("stuff", "needs", "grounds"),
    [
        (["sky", "grass"], [], {("grass",)}),
        (["sky", "sea"], [], {("sea",)}),
        (["sky", "sea", "sand"], [], {("sea",), ("sea", "sand"), ("sand",)}),
        (["sky", "sea", "sand"], [("sea",), ("sand",)], {("sea", "sand")}),
        (["sky", "sea", "sand"], [("sea", "sand")], {("sea",), ("sea", "sand"), ("sand",)}),
        (["sky", "sea", "sand"], [("road",)], set()),
        (["sky", "road"], [], set()),
        (["sky", "sea", "sand"], [("sky",)], {("sea",), ("sea", "sand"), ("sand",)}),
        (["sky", "sea", "hill"], [("hill",)], set()),  # the open sea has no hills behind it
        (["sky", "sea"], [("hill",)], set()),
    ],
)
def test_recipes_are_those_whose_ground_is_allowed_and_that_show_what_is_needed(
    stuff, needs, grounds
):
    offered = recipes_for(stuff, needs)
    assert {tuple(name for name, _ in recipe["bands"]) for recipe, _ in offered} == grounds
    assert all(weight == recipe["weight"] > 0 for recipe, weight in offered)


def test_without_hills_there_are_no_ridges():
    for recipe, _ in recipes_for(all_stuff(), []):
        bare = [name for name in all_stuff() if name != "hill"]
        for stuff, most in ((bare, 0), (all_stuff(), recipe["ridges"][1])):
            counts = {
                len(
                    lay_out(
                        Dice(1, 0, i), recipe, light=DAY, high=HIGH, wide=WIDE, stuff=stuff
                    ).ridges
                )
                for i in range(40)
            }
            least = recipe["ridges"][0] if "hill" in stuff else 0
            assert counts == set(range(least, most + 1))


def test_horizon_and_bands_lie_where_their_recipe_has_them():
    for recipe, _ in recipes_for(all_stuff(), []):
        for index in range(20):
            dice = Dice(1, 0, index)
            land = lay_out(dice, recipe, light=DAY, high=2000, wide=2500, stuff=all_stuff())
            low, high = (2000 * percent // 100 for percent in recipe["horizon"])
            assert low <= land.horizon <= high
            assert [band.stuff for band in land.bands] == [name for name, _ in recipe["bands"]]
            for band, (name, percent) in zip(land.bands[1:], recipe["bands"][1:]):
                # Three percent either way, and a wave of a 36th of the height on top of it.
                middle = sum(band.border.heights) / 41
                assert abs(middle - 20 * percent) <= 60 + 2000 / 36 * 1.5, name
            # A sea lies level at the horizon.
            if land.bands[0].stuff == "sea":
                assert set(land.bands[0].border.heights) == {land.horizon}


def test_ridges_stand_five_percent_behind_each_other_above_the_horizon():
    offsets = {0: [], 1: [], 2: []}
    for recipe, _ in recipes_for(all_stuff(), []):
        for index in range(30):
            dice = Dice(2, 0, index)
            land = lay_out(dice, recipe, light=DAY, high=2000, wide=2500, stuff=all_stuff())
            for behind, ridge in enumerate(reversed(land.ridges)):
                offsets[behind].append((land.horizon - sum(ridge.heights) / 41) / 20)
    # Waves go up and down alike, so that only their bases are left on average.
    means = {behind: sum(each) / len(each) for behind, each in offsets.items()}
    assert means == pytest.approx({0: 4, 1: 9, 2: 14}, abs=1.5)


def canvas_of(land, height=64, width=80):
    canvas = Canvas(height, width)
    paint_sky(canvas, land, STUFF_SEGMENTS["sky"])
    return canvas


def test_the_sky_runs_from_the_zenith_to_the_horizon():
    land = land_of([("grass", 512)])
    picture = canvas_of(land).picture()
    zenith, low = (np.array(colour) for colour in DAY.sky)
    np.testing.assert_allclose(picture[0, 5], zenith, atol=4)
    np.testing.assert_allclose(picture[16, 5], (zenith + low) / 2, atol=4)
    np.testing.assert_allclose(picture[31, 5], low, atol=4)
    assert (picture[32:] == picture[40]).all()
    assert (picture == picture[:, :1]).all(), "by day there are no stars"


def test_only_the_night_has_stars_and_only_above_the_horizon():
    land = land_of([("grass", 512)], light=lights()["night"])
    picture = canvas_of(land).picture()
    rows = np.flatnonzero((picture != picture[:, :1]).any(axis=(1, 2)))
    assert len(rows) > 10 and rows.max() <= 32


def test_the_ground_is_painted_where_the_landscape_says():
    land = land_of([("sea", 400), ("sand", 608), ("grass", 800)], ridges=(304, 352))
    canvas = canvas_of(land)
    paint_ground(canvas, land, STUFF_SEGMENTS)
    segments, parts = canvas.truth()
    assert not parts.any()
    names = {value: name for name, value in STUFF_SEGMENTS.items()}
    for row in range(64):  # 16 units each; what lies under the centre of a pixel
        (value,) = set(segments[row].tolist())
        assert names[value] == land.stuff_at(700, 16 * row + 8), row
    picture = canvas.picture()
    for row, stuff in ((30, "sea"), (45, "sand"), (60, "grass")):
        assert picture[row, 40].tolist() == list(flat_colour(DAY, stuff))


def test_the_flat_colour_is_half_way_between_far_and_near():
    far, near = DAY.stuff["grass"]
    assert flat_colour(DAY, "grass") == tuple((a + b) // 2 for a, b in zip(far, near))


@pytest.mark.parametrize("name", all_stuff())
def test_a_texture_repeats_without_a_seam_around_zero(name):
    tile = texture(name).astype(int)
    assert tile.shape == (256, 256) and np.abs(tile).max() > 0
    # Nine of ten pixels move by less than the strength; hardly any light is added.
    assert np.quantile(np.abs(tile), 0.9) == pytest.approx(texture_strength()[name], abs=1)
    assert abs(tile.mean()) < 2
    for axis in (0, 1):
        inner = np.abs(np.diff(tile, axis=axis)).mean()
        seam = np.abs(tile.take(0, axis) - tile.take(-1, axis)).mean()
        assert seam <= 2 * inner + 0.5


def test_textures_are_laid_on_by_class_from_an_offset_and_wrap():
    stuff = np.zeros((4, 6), int)
    stuff[:, 2:4], stuff[:, 4:] = 1, 2
    added = textured(stuff, ("sea", "sand"), (254, 3))
    assert not added[:, :2].any()
    rows = [254, 255, 0, 1]
    np.testing.assert_array_equal(added[:, 2:4], texture("sea")[rows][:, 5:7])
    np.testing.assert_array_equal(added[:, 4:], texture("sand")[rows][:, 7:9])


def test_a_falloff_is_256_in_the_middle_and_0_at_the_radius():
    disc = falloff(4)
    assert disc.shape == (9, 9) and disc[4, 4] == 256
    assert not disc[0].any() and not disc[:, 8].any()
    # (1 - r^2 / R^2)^2, in 256ths: at r = 2 of 4 it is 9 / 16.
    assert disc[4, 2] == disc[6, 4] == 256 * 9 // 16
    np.testing.assert_array_equal(disc, disc.T)
    np.testing.assert_array_equal(disc, disc[::-1, ::-1])
    assert falloff(0).tolist() == [[0]]
