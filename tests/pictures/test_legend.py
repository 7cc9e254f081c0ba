"""Legends: a row per name, in columns where there are many."""

import numpy as np
import pytest

from segplugins.pictures.legend import PAPER, LegendRow, draw_legend

COLOURS = [(250 - 5 * i, 10, 5 * i) for i in range(40)]


def rows(count, name="class"):
    return [LegendRow(f"{name} {i}", COLOURS[i], "3 %") for i in range(count)]


def swatches(panel, count):
    """Returns of each colour its (row, column), NaN where it is missing."""
    places = [np.argwhere((panel == colour).all(axis=-1)) for colour in COLOURS[:count]]
    assert all(len(place) for place in places)
    return np.array([place.mean(axis=0) for place in places])


def test_rows_stand_below_each_other_in_their_order():
    places = swatches(draw_legend(rows(5), 12), 5)
    assert (np.diff(places[:, 0]) == 18).all()  # one and a half letters
    assert np.ptp(places[:, 1]) == 0


def test_rows_that_do_not_fit_a_height_go_on_in_the_next_column():
    panel = draw_legend(rows(40), 12, height=200)
    assert panel.shape[0] == 200
    places = swatches(panel, 40)
    per_column = (200 - 12) // 18
    assert len(np.unique(places[:, 1].round())) == -(-40 // per_column)
    assert places[per_column, 0] == places[0, 0] and places[per_column, 1] > places[0, 1]


def test_a_width_is_filled_with_columns():
    panel = draw_legend(rows(8), 12, width=600)
    assert panel.shape[1] == 600 and panel.shape[0] < 8 * 18
    places = swatches(panel, 8)
    assert len(np.unique(places[:, 1].round())) > 2


def test_letters_and_swatches_grow_together():
    small, large = (draw_legend(rows(3), letters) for letters in (12, 60))
    areas = [(panel == COLOURS[0]).all(axis=-1).sum() for panel in (small, large)]
    assert 20 < areas[1] / areas[0] < 30
    assert 4 < large.shape[0] / small.shape[0] < 6


def test_a_row_without_colour_has_an_empty_box():
    with_colour = draw_legend([LegendRow("a", COLOURS[0])], 12)
    without = draw_legend([LegendRow("a", None)], 12)
    assert (with_colour == COLOURS[0]).all(axis=-1).any()
    inside = np.argwhere((with_colour == COLOURS[0]).all(axis=-1))
    assert (without[inside[:, 0], inside[:, 1]] == PAPER).all()


@pytest.mark.parametrize("name", ["a phrase of many words " * 3, "x" * 300, "word " * 400])
def test_long_names_are_wrapped_and_cut(name):
    panel = draw_legend([LegendRow(name, COLOURS[0], "3 %")], 12)
    assert panel.shape[1] < 40 * 12 and panel.shape[0] <= 3 * 18 + 12


def test_a_legend_of_nothing_is_paper():
    assert (draw_legend([], 12, height=30) == PAPER).all()
