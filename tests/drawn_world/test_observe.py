"""What is seen of a painted scene: areas, boxes, salience, and what stands out."""

from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segplugins.drawn_world.canvas import Canvas
from segplugins.drawn_world.dice import Dice
from segplugins.drawn_world.landscape import lay_out, recipes_for
from segplugins.drawn_world.observe import observe, outstanding
from segplugins.drawn_world.paint import FIRST_THING, STUFF_SEGMENTS, Picture
from segplugins.drawn_world.palette import lights
from segplugins.drawn_world.scene import Scene, Thing


def scene_of(*things):
    recipe, _ = recipes_for(["sky", "grass"], [])[0]
    land = lay_out(
        Dice(0, 0, 0), recipe, light=lights()["day"], high=1024, wide=2048, stuff=["sky", "grass"]
    )
    return Scene(land, things)


def standing(name="house", colour="red", support="grass", speed=0):
    return Thing(name, colour, 0, (0, 0), 100, False, support, speed)


def picture_of(segments):
    return Picture(np.zeros((*segments.shape, 3), np.uint8), segments, np.zeros_like(segments))


@pytest.fixture
def segments():
    """50 x 100 of sky and grass, with a thing of 6 x 30 and one of a single pixel."""
    segments = np.full((50, 100), STUFF_SEGMENTS["sky"], np.uint8)
    segments[20:] = STUFF_SEGMENTS["grass"]
    segments[10:16, 60:90] = FIRST_THING + 1
    segments[49, 0] = FIRST_THING
    return segments


def test_regions_have_the_area_the_box_and_the_mask_of_what_is_seen(segments):
    scene = scene_of(standing("lamp", ""), standing("car", "blue", "road", speed=-5))
    (lamp, car), (sky, grass) = observe(scene, picture_of(segments))
    assert (lamp.segment, lamp.name, lamp.area, lamp.box) == (16, "lamp", 1, (0, 49, 1, 50))
    assert (car.segment, car.name, car.area, car.box) == (17, "car", 180, (60, 10, 90, 16))
    assert (car.colour, car.support, car.speed) == ("blue", "road", -5)
    assert (sky.name, sky.area) == ("sky", 20 * 100 - 180)
    assert (grass.name, grass.area, grass.box) == ("grass", 30 * 100 - 1, (0, 20, 100, 50))
    assert (sky.support, sky.colour, sky.salience) == ("", "", 0)
    for region in (lamp, car, sky, grass):
        assert region.rle["size"] == [50, 100] and isinstance(region.rle["counts"], str)
        np.testing.assert_array_equal(coco_mask.decode(region.rle), segments == region.segment)


def test_what_is_hidden_is_no_region(segments):
    things = (standing("lamp", ""), standing("car", "blue", "road"), standing("tree", "green"))
    seen, stuff = observe(scene_of(*things), picture_of(segments))
    assert [region.name for region in seen] == ["lamp", "car"]
    assert [region.name for region in stuff] == ["sky", "grass"]


@pytest.mark.parametrize(("pixels", "worded"), [(9, False), (10, True), (11, True)])
def test_two_thousandths_of_the_picture_are_worth_a_word(pixels, worded):
    segments = np.full((50, 100), STUFF_SEGMENTS["sky"], np.uint8)
    segments[0, :pixels] = FIRST_THING
    ((thing,), _) = observe(scene_of(standing()), picture_of(segments))
    assert thing.worded == worded


def salience_of(rows, columns, name="house", size=(40, 80)):
    segments = np.full(size, STUFF_SEGMENTS["sky"], np.uint8)
    segments[rows, columns] = FIRST_THING
    ((thing,), _) = observe(scene_of(standing(name, "")), picture_of(segments))
    return thing.salience


def test_salience_is_area_times_class_times_centrality():
    # 8 x 16 of 40 x 80 pixels are 400 ten-thousandths; a house weighs 100, a sheep 130.
    middle = salience_of(slice(16, 24), slice(32, 48))
    assert middle == 400 * 100
    assert salience_of(slice(16, 24), slice(32, 48), "sheep") == 400 * 130
    # At the left border: its middle is 80 % of the way out across, 0 % down.
    assert salience_of(slice(16, 24), slice(0, 16)) == 400 * 100 * (200 - 40) // 200
    # In the corner 80 % both ways.
    assert salience_of(slice(0, 8), slice(0, 16)) == 400 * 100 * (200 - 80) // 200
    assert salience_of(slice(32, 40), slice(64, 80)) == salience_of(slice(0, 8), slice(0, 16))


def test_only_what_is_half_again_as_salient_as_the_next_stands_out(thing):
    def things(*saliences):
        return [replace(thing(i), salience=value) for i, value in enumerate(saliences)]

    assert outstanding([]) == []
    assert [one.segment for one in outstanding(things(5))] == [0]
    assert [one.segment for one in outstanding(things(100, 150))] == [1]
    assert outstanding(things(100, 149)) == []
    assert outstanding(things(100, 100)) == []
    assert [one.segment for one in outstanding(things(10, 60, 40, 0))] == [1]


def test_what_hangs_in_the_sky_or_is_too_small_does_not_stand_out(thing):
    sun = replace(thing(1, "sun", ""), salience=1000)
    car = replace(thing(2), salience=10)
    assert outstanding([sun]) == []
    assert outstanding([sun, car]) == [car]
    assert outstanding([replace(car, worded=False)]) == []
    kite = replace(thing(3, "kite"), salience=20)  # it flies before the landscape
    assert outstanding([car, kite]) == [kite]


def test_the_backdrop_covers_every_pixel_with_its_row():
    canvas = Canvas(32, 45)  # 135 columns: no power of two times 8
    rows = np.stack([np.arange(96)] * 3, axis=1).astype(np.uint8)
    canvas.backdrop(rows, 5)
    assert canvas.rows == 96
    assert (canvas.truth()[0] == 5).all() and not canvas.truth()[1].any()
    np.testing.assert_array_equal(
        canvas.picture()[:, :, 1], np.repeat(3 * np.arange(32)[:, None] + 1, 45, 1)
    )
