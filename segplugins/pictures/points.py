"""Means of repeated measurements as bars, with every single one as a point."""

from pathlib import Path
from statistics import fmean
from typing import Mapping, Sequence, Union


def point_bars(
    path: Union[str, Path], panels: Mapping[str, Mapping[str, Sequence[float]]], *, title: str = ""
) -> None:
    """Writes a PNG with one panel a quantity and one bar a row; bars begin at 0.

    Args:
        path: the file, overwritten.
        panels: title of the quantity to {row: its measurements}; a row without any has no bar.
        title: over all panels.
    """
    from matplotlib.figure import Figure  # half a second that only who draws should pay

    longest = max(len(name) for rows in panels.values() for name in rows)
    tallest = max(len(rows) for rows in panels.values())
    figure = Figure(
        figsize=(1.2 + 2.6 * len(panels) + 0.08 * longest, 1.1 + 0.34 * tallest),
        layout="constrained",
    )
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axes, (quantity, rows) in zip(grid[0], panels.items()):
        for place, values in enumerate(rows.values()):
            if values:
                axes.barh(place, fmean(values), height=0.7, color="C0", alpha=0.35)
                axes.plot(values, [place] * len(values), "o", color="C0", markersize=4)
        # A "$" would begin a formula.
        axes.set_yticks(range(len(rows)), [name.replace("$", r"\$") for name in rows])
        axes.set_title(quantity.replace("$", r"\$"), fontsize=9)
        axes.grid(axis="x", alpha=0.25)
    grid[0][0].invert_yaxis()  # shared: the first row is on top in every panel
    if title:
        figure.suptitle(title.replace("$", r"\$"), fontsize=10)
    figure.savefig(path, dpi=110)
