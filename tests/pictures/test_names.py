"""Names on regions: where there is room, never over one another, inside the picture."""

import numpy as np
import pytest

from segplugins.pictures.names import NamePlates, ink_on
from segplugins.pictures.painting import region_of

RED, BLUE = (220, 40, 60), (40, 80, 200)


def picture(height=200, width=300):
    return np.full((height, width, 3), 100, np.uint8)


def plate_of(drawn, colour):
    """Returns the rows and columns of what has the colour of a plate."""
    rows, columns = np.nonzero((drawn == colour).all(axis=-1))
    return (rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1)


def test_a_name_lies_inside_its_region_at_the_deepest_place():
    drawn = picture()
    region = np.zeros((200, 300), bool)
    region[20:180, 20:280] = True
    plates = NamePlates(drawn, 12)
    assert plates.inside(plates.cells(region), "sky", RED)
    (top, bottom), (left, right) = plate_of(drawn, RED)
    assert abs((top + bottom) / 2 - 100) < 25 and 95 < (left + right) / 2 < 205


def test_a_name_that_has_no_room_on_its_region_is_left_to_the_legend():
    drawn = picture()
    region = np.zeros((200, 300), bool)
    region[100:103, 100:103] = True
    plates = NamePlates(drawn, 12)
    assert not plates.inside(plates.cells(region), "sky", RED)
    np.testing.assert_array_equal(drawn, picture())


def test_the_name_of_an_object_stands_on_top_of_it():
    drawn = picture()
    region = np.zeros((200, 300), bool)
    region[100:180, 140:180] = True
    plates = NamePlates(drawn, 12)
    assert plates.atop(plates.cells(region), "person 0.91", RED)
    (top, bottom), (left, right) = plate_of(drawn, RED)
    assert 95 <= bottom <= 102 and top > 70
    assert abs((left + right) / 2 - 160) < 6


@pytest.mark.parametrize("corner", [(0, 0), (0, 290), (190, 0), (190, 290)])
def test_names_of_objects_at_the_border_stay_inside_and_whole(corner):
    drawn, whole = picture(), picture()
    for target, (row, column) in ((drawn, corner), (whole, (100, 150))):
        region = np.zeros((200, 300), bool)
        region[row : row + 10, column : column + 10] = True
        plates = NamePlates(target, 12)
        assert plates.atop(plates.cells(region), "person", RED)
    sizes = [[end - start for start, end in plate_of(each, RED)] for each in (drawn, whole)]
    assert sizes[0] == sizes[1]


def test_names_never_cover_one_another():
    drawn = picture()
    region = np.zeros((200, 300), bool)
    region[60:190, 100:200] = True
    plates = NamePlates(drawn, 12)
    colours = [(200, 20 * i, 10) for i in range(6)]
    put = [plates.atop(plates.cells(region), "person", colour) for colour in colours]
    assert sum(put) >= 3
    areas = {(drawn == c).all(axis=-1).sum() for c, there in zip(colours, put) if there}
    # White or black letters alike: all plates show the same number of pixels of their colour.
    assert max(areas) - min(areas) < 0.1 * max(areas)


def test_objects_smaller_than_a_cell_of_the_grid_are_named():
    drawn = picture(1000, 2000)
    region = np.zeros((1000, 2000), bool)
    region[501:503, 1001:1004] = True
    plates = NamePlates(drawn, 20)
    assert plates.step > 3 and plates.cells(region).sum() == 1
    assert plates.atop(plates.cells(region), "bird", RED)
    (_, bottom), (left, right) = plate_of(drawn, RED)
    assert abs(bottom - 501) < 3 * plates.step and left < 1002 < right


@pytest.mark.parametrize("step_height", [200, 1000])
def test_a_region_has_the_cells_of_its_mask(step_height):
    plates = NamePlates(picture(step_height, 2 * step_height), 12)
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros((step_height, 2 * step_height), bool)
        top, left = rng.integers(0, step_height - 60, 2)
        mask[top : top + rng.integers(1, 60), left : left + rng.integers(1, 60)] = True
        np.testing.assert_array_equal(plates.region_cells(region_of(mask)), plates.cells(mask))


def test_a_picture_too_small_for_a_name_has_none():
    drawn = picture(3, 900)
    plates = NamePlates(drawn, 12)
    assert not plates.inside(plates.cells(np.ones((3, 900), bool)), "sky", RED)
    narrow = picture(300, 20)
    plates = NamePlates(narrow, 12)
    assert not plates.inside(plates.cells(np.ones((300, 20), bool)), "", RED)


def test_an_empty_region_has_no_name():
    plates = NamePlates(picture(), 12)
    empty = plates.cells(np.zeros((200, 300), bool))
    assert not plates.atop(empty, "sky", RED) and not plates.inside(empty, "sky", RED)


def test_letters_are_black_on_light_plates_and_white_on_dark_ones():
    assert sum(ink_on((250, 240, 90))) < 100 < sum(ink_on(BLUE))


def test_a_cyrillic_name_is_drawn_in_letters_not_boxes():
    plates = []
    for text in ("небо", "жжжж", "\U0010fffe" * 4):
        drawn = picture()
        names = NamePlates(drawn, 12)
        names.inside(names.cells(np.ones((200, 300), bool)), text, BLUE)
        plates.append((drawn != 100).any(axis=-1).sum())
    assert len(set(plates)) == 3  # of other widths: other letters
