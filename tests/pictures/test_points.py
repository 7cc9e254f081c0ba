"""Bars of means with their single points."""

import matplotlib.figure
import pytest

from segplugins.pictures.points import point_bars


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws, and returns the figure that was saved."""
    kept = []
    save = matplotlib.figure.Figure.savefig

    def savefig(figure, *args, **options):
        kept.append(figure)
        return save(figure, *args, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)

    def call(panels, **options):
        point_bars(tmp_path / "bars.png", panels, **options)
        assert (tmp_path / "bars.png").stat().st_size > 0
        return kept[-1]

    return call


def test_a_bar_is_as_long_as_the_mean_and_every_measurement_a_point(drawn):
    figure = drawn(
        {"mIoU": {"a": [60.0, 64.0], "b": [], "$c": [7.0]}, "PQ": {"a": [1.0]}}, title="t"
    )
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [62.0, 7.0]
    # The second row has nothing: the third is at its own place.
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in axes.patches] == [0, 2]
    assert [list(line.get_xdata()) for line in axes.lines] == [[60.0, 64.0], [7.0]]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top
    assert [axes.get_title() for axes in figure.axes] == ["mIoU", "PQ"]
    assert figure.get_suptitle() == "t"
