"""Figures and palette: shapes by hand, colours by hand."""

import numpy as np
import pytest

from segplugins.drawn_world.canvas import Canvas
from segplugins.drawn_world.classes import all_parts, all_stuff, all_things
from segplugins.drawn_world.figure import Figure
from segplugins.drawn_world.figures import figure_of
from segplugins.drawn_world.palette import (
    light_weights,
    lights,
    mix,
    paint_of,
    shaded,
    texture_strength,
)


def points_of(figure, shape=0):
    finished = figure.finish({})
    chosen = finished.shapes[shape]
    return [tuple(point) for point in finished.points[chosen.start : chosen.stop].tolist()]


def test_a_rectangle_is_left_bottom_right_top():
    figure = Figure()
    figure.rect("", "main", (-3, 1, 5, 9))
    assert points_of(figure) == [(-3, 1), (5, 1), (5, 9), (-3, 9)]


def test_an_ellipse_is_as_wide_and_as_high_as_its_radii():
    figure = Figure()
    figure.ellipse("", "main", (10, 100), (40, 20))
    points = np.array(points_of(figure))
    assert points.min(axis=0).tolist() == [-30, 80]
    assert points.max(axis=0).tolist() == [50, 120]
    # x^2 / 40^2 + y^2 / 20^2 = 1, but for rounding down to whole numbers.
    on = ((points - (10, 100)) / (40, 20)) ** 2
    assert np.abs(on.sum(axis=1) - 1).max() < 2 * 1.5 / 20
    assert len({tuple(point) for point in points.tolist()}) == 48


def test_a_circle_has_one_radius_and_begins_on_the_right():
    figure = Figure()
    figure.circle("", "main", (0, 0), 1000)
    points = np.array(points_of(figure))
    assert points[0].tolist() == [1000, 0] and points[12].tolist() == [0, 1000]
    assert np.abs(np.hypot(*points.T) - 1000).max() < 1.5


def test_a_bar_lies_half_its_width_to_either_side():
    figure = Figure()
    figure.bar("", "main", ((0, 10), (100, 10)), 6)  # level
    figure.bar("", "main", ((50, 0), (50, 80)), 8)  # upright
    figure.bar("", "main", ((0, 0), (30, 40)), 10)  # 3-4-5: across it (-4, 3)
    assert sorted(points_of(figure, 0)) == [(0, 7), (0, 13), (100, 7), (100, 13)]
    assert sorted(points_of(figure, 1)) == [(46, 0), (46, 80), (54, 0), (54, 80)]
    assert sorted(points_of(figure, 2)) == [(-4, 3), (4, -3), (26, 43), (34, 37)]


def test_a_bar_of_no_length_is_no_division_by_zero():
    figure = Figure()
    figure.bar("", "main", ((7, 7), (7, 7)), 10)
    assert set(points_of(figure)) == {(7, 7)}


def test_shapes_keep_their_order_roles_shades_and_parts():
    figure = Figure()
    figure.rect("body", "main", (0, 0, 2, 2), 10)
    figure.circle("", "glass", (0, 0), 5)
    figure.polygon("wheel", "rubber", [(0, 0), (1, 0), (0, 1)], -5)
    finished = figure.finish({"wheel": 9, "body": 4})
    assert [(shape.role, shape.shade) for shape in finished.shapes] == [
        ("main", 10),
        ("glass", 0),
        ("rubber", -5),
    ]
    assert [(shape.start, shape.stop) for shape in finished.shapes] == [(0, 4), (4, 52), (52, 55)]
    assert finished.parts == (4, 0, 9)
    assert finished.points.shape == (55, 2)


def stamped(*, flip=False, foot=(512, 768), height=512):
    """The truth of a figure whose left half is part 3 and as high as it may be."""
    figure = Figure()
    figure.rect("left", "main", (-500, 0, 0, 1000))
    figure.rect("", "main", (0, 0, 250, 500))
    canvas = Canvas(32, 64)  # 32 units to a pixel
    figure.finish({"left": 3}).stamp(
        canvas, foot, height, flip=flip, colour="red", light="day", segment=20
    )
    return canvas


def test_a_figure_stands_on_its_foot_and_is_as_high_as_asked():
    segments, parts = stamped().truth()
    left = np.zeros((32, 64), bool)
    left[8:24, 8:16] = True  # 512 units = 16 pixels up from row 24, 8 to the left of column 16
    right = np.zeros((32, 64), bool)
    right[16:24, 16:20] = True
    np.testing.assert_array_equal(parts == 3, left)
    np.testing.assert_array_equal(segments == 20, left | right)


def test_a_flipped_figure_is_its_mirror_image_about_its_foot():
    segments, parts = stamped().truth()
    mirrored, mirrored_parts = stamped(flip=True).truth()
    np.testing.assert_array_equal(mirrored[:, :32], segments[:, :32][:, ::-1])
    np.testing.assert_array_equal(mirrored_parts[:, :32], parts[:, :32][:, ::-1])
    assert (mirrored_parts[8:24, 16:24] == 3).all()


def test_a_figure_has_the_colour_it_is_asked_in():
    picture = stamped().picture()
    assert picture[20, 12].tolist() == list(paint_of("main", 0, "red", "day"))


@pytest.mark.parametrize("name", list(all_things()))
def test_every_figure_fits_the_facts_of_its_class(name):
    kind = all_things()[name]
    values = {i + 1: part for i, (owner, part) in enumerate(all_parts()) if owner == name}
    shown = set()
    for variant in range(kind.variants):
        figure = figure_of(name, variant)
        low, high = figure.points.min(axis=0), figure.points.max(axis=0)
        # 1000 high on y = 0, as wide as the facts say: boxes and shadows rely on it.
        assert low[1] >= -60 and 900 <= high[1] <= 1100, variant
        assert high[0] - low[0] <= 1.3 * kind.span, variant
        assert set(figure.parts) - {0} <= set(values), variant
        shown |= {values[part] for part in figure.parts if part}
        uses_own_colour = any(shape.role == "main" for shape in figure.shapes)
        assert uses_own_colour == bool(kind.colours), variant
    assert shown == set(kind.parts)


def test_a_figure_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="dragon"):
        figure_of("dragon", 0)


def test_mixing_goes_from_the_first_to_the_second():
    a, b = (0, 100, 255), (256 - 1, 200, 0)
    assert mix(a, b, 0) == a
    assert mix(a, b, 256) == b
    assert mix(a, b, 128) == (127, 150, 127)
    assert mix(a, b, 64) == (63, 125, 191)


def test_shades_go_to_white_and_to_black():
    colour = (40, 120, 200)
    assert shaded(colour, 0) == colour
    assert shaded(colour, 100) == (255, 255, 255)
    assert shaded(colour, -100) == (0, 0, 0)
    assert shaded(colour, 50) == ((40 + 255) // 2, (120 + 255) // 2, (200 + 255) // 2)
    assert shaded(colour, -50) == (20, 60, 100)


def test_light_dims_each_channel_by_its_tint():
    night = lights()["night"]
    assert night.tint == (188, 194, 226)
    assert night.on((256, 128, 64)) == (188, 97, 56)  # c t / 256, rounded down
    assert lights()["day"].on((1, 2, 255)) == (1, 2, 255)


def test_main_and_materials_are_dimmed_by_the_night_and_what_shines_is_not():
    for role, colour in (("main", "red"), ("wood", "")):
        day, night = (np.array(paint_of(role, 0, colour, light)) for light in ("day", "night"))
        np.testing.assert_array_equal(night, day * lights()["night"].tint >> 8)
    for role in ("sunny", "flame"):
        assert paint_of(role, 0, "", "day") == paint_of(role, 0, "", "night")


def test_windows_and_lenses_are_lit_after_dark():
    lit = (255, 220, 120)
    for light in ("evening", "night"):
        assert paint_of("glass", 0, "", light) == paint_of("lens", 0, "", light) == lit
    for light in ("morning", "day"):
        assert paint_of("glass", 0, "", light) != paint_of("lens", 0, "", light)
        assert paint_of("glass", 0, "", light) != lit
    # The shade is laid on before the light.
    assert paint_of("glass", -100, "", "day") == (0, 0, 0)
    assert paint_of("glass", 100, "", "night") == (255, 255, 255)


def test_every_light_knows_every_stuff_class_and_weighs_something():
    assert set(lights()) == {"morning", "day", "evening", "night"}
    for light in lights().values():
        assert set(light.stuff) | {"sky"} == set(all_stuff())
    assert dict(light_weights()).keys() == lights().keys()
    assert all(weight > 0 for _, weight in light_weights())
    assert set(texture_strength()) == set(all_stuff())
