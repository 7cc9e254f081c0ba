"""Colours of names: stable, as people expect them, and far enough apart for everyone."""

import subprocess
import sys

import numpy as np
import pytest

from segplugins.pictures import class_colours, picture_colours
from segplugins.pictures.colours import APART, DEUTERANOPIA, distinct_colours, seen_colours

STREET = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip


def smallest_distance(colours, view=slice(None)):
    """Returns the least distance of two colours, to the worst of the chosen kinds of eyes."""
    seen = seen_colours(colours)[view]
    gaps = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1).min(axis=0)
    return gaps[np.triu_indices(len(colours), k=1)].min()


def test_a_name_keeps_its_colour_wherever_it_stands_in_the_vocabulary():
    forwards = dict(zip(STREET, class_colours(STREET).tolist()))
    backwards = dict(zip(STREET[::-1], class_colours(STREET[::-1]).tolist()))
    assert forwards == backwards


def test_a_name_keeps_its_colour_in_another_run():
    program = "from segplugins.pictures import class_colours; import sys\n"
    program += "sys.stdout.write(str(class_colours(['sky', 'gargoyle', 'zebra']).tolist()))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert other.stdout == str(class_colours(["sky", "gargoyle", "zebra"]).tolist())


def test_the_commonest_name_keeps_its_colour_among_its_like():
    for first, second in (("sky", "sky-other"), ("person", "child"), ("road", "highway")):
        alone, together = class_colours([first]), class_colours([second, first])
        np.testing.assert_array_equal(together[1], alone[0])
        assert (together[0] != alone[0]).any()


def test_case_and_spaces_do_not_change_a_colour():
    colours = [class_colours([name])[0].tolist() for name in ("Gar goyle", "gar  goyle")]
    assert colours[0] == colours[1]


def channels(name):
    red, green, blue = class_colours([name])[0].astype(int)
    return red, green, blue


def test_common_stuff_has_the_colour_that_people_expect():
    for name in ("sky", "sea", "water", "river"):
        red, _, blue = channels(name)
        assert blue > red + 60, name
    for name in ("grass", "tree", "vegetation"):
        red, green, blue = channels(name)
        assert green > max(red, blue) + 30, name
    red, green, blue = channels("person")
    assert red > max(green, blue) + 60
    road = channels("road")
    assert max(road) - min(road) < 40  # a grey


@pytest.mark.parametrize(
    "name, common",
    [
        ("sky-other-merged", "sky"),
        ("road, route", "road"),
        ("the red car", "car"),
        ("tree|bush", "tree"),
        ("Traffic_Light", "light"),
    ],
)
def test_longer_names_are_looked_up_by_their_parts(name, common):
    assert channels(name) == channels(common)


@pytest.mark.parametrize(
    "names", [STREET, [f"thing {i}" for i in range(30)], ["house", "building", "hut", "tower"]]
)
def test_colours_of_a_vocabulary_can_be_told_apart_by_everyone(names):
    assert smallest_distance(class_colours(names)) >= APART


def test_deuteranopes_mix_up_red_and_green_and_so_does_the_simulation():
    red, green = np.array([[200, 40, 40], [100, 125, 20]], np.uint8)
    normal, deuteranope = (
        smallest_distance(np.stack([red, green]), slice(view, view + 1)) for view in (0, 1)
    )
    assert normal > 20 > 3 * deuteranope
    # Greys stay grey: each row of the simulation sums to 1.
    np.testing.assert_allclose(DEUTERANOPIA.sum(axis=1), 1, atol=1e-5)


def test_classes_in_one_picture_of_a_large_vocabulary_are_told_apart():
    names = [f"class {i}" for i in range(850)]
    assert smallest_distance(class_colours(names)) < APART / 2
    present = list(range(3, 850, 50))
    colours = picture_colours(names, present)
    assert smallest_distance(colours[present]) >= APART
    others = np.setdiff1d(np.arange(850), present)
    np.testing.assert_array_equal(colours[others], class_colours(names)[others])


def test_the_more_important_colour_stays():
    colours = np.array([[200, 60, 60], [40, 90, 200], [201, 60, 60]], np.uint8)
    parted = distinct_colours(colours)
    np.testing.assert_array_equal(parted[:2], colours[:2])
    assert smallest_distance(parted) >= APART
    # The replacement is near what it replaces: no colour of the palette's other end.
    assert np.linalg.norm(np.subtract(*seen_colours(parted[[0, 2]])[0])) < 3 * APART


def test_no_names_have_no_colours():
    assert class_colours([]).shape == (0, 3)
