"""Curves: what is drawn from which numbers, seen before matplotlib makes pixels of it."""

import matplotlib.figure
import numpy as np
import pytest

from segplugins.pictures.bars import share_bars
from segplugins.pictures.curves import curves


@pytest.fixture
def figure(monkeypatch, tmp_path):
    """Returns a function that draws without writing and gives the figure."""
    kept = []
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, path, **more: kept.append((self, path))
    )

    def draw(function, *args, **options):
        function(tmp_path / "a.png", *args, **options)
        ((drawn, path),) = kept
        assert path == tmp_path / "a.png"
        return drawn

    return draw


def test_every_quantity_has_a_panel_with_its_lines(figure):
    panels = {
        "loss": {"total": (list(range(12)), list(range(12, 0, -1)))},
        "mIoU": {"a$b": ([10, 20], [3.0, 4.0]), "c": (range(11), range(11))},
    }
    drawn = figure(curves, panels, across="hour")
    loss, quality = drawn.axes
    assert [axes.get_ylabel() for axes in drawn.axes] == ["loss", "mIoU"]
    assert {axes.get_xlabel() for axes in drawn.axes} == {"hour"}
    (total,) = loss.lines
    assert (list(total.get_xdata()), list(total.get_ydata())) == panels["loss"]["total"]
    assert [line.get_label() for line in quality.lines] == [r"a\$b", "c"]
    # Few points are marked, since a line through one of them is not seen.
    assert [line.get_marker() for line in (total, *quality.lines)] == ["None", "o", "o"]
    assert drawn.get_size_inches().tolist() == pytest.approx([2 * 5.2, 3.4])


def test_the_x_axis_is_the_iteration_unless_it_is_named(figure):
    (axes,) = figure(curves, {"loss": {"a": ([1], [2])}}).axes
    assert axes.get_xlabel() == "iteration"


def test_bars_begin_where_the_part_before_ends_and_fill_100(figure):
    rows = [("x", (1, 3)), ("none", (0, 0)), ("y", (2.5, 0))]
    (axes,) = figure(share_bars, rows, ("first", "second")).axes
    bars = [
        (bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in axes.patches
    ]
    expected = [(0, 0, 25), (0, 25, 75), (1, 0, 0), (1, 0, 0), (2, 0, 100), (2, 100, 0)]
    np.testing.assert_allclose(bars[:6], expected, atol=1e-9)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["x (4)", "none (0)", "y (2.5)"]
    assert axes.get_xlim() == (0, 100) and axes.yaxis_inverted()
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second"]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[4] == colours[6] and colours[1] == colours[7] != colours[0]
