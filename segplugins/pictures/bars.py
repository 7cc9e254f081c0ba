"""Shares of classes as a picture of bars."""

from pathlib import Path
from typing import Sequence, Tuple, Union


def share_bars(
    path: Union[str, Path],
    rows: Sequence[Tuple[str, Sequence[float]]],
    parts: Sequence[str],
) -> None:
    """Writes a PNG with one bar a row, as long as 100 %, divided into the shares of its parts.

    Args:
        path: the file, overwritten.
        rows: name and number of each part, from top to bottom; a row of zeros has no bar.
        parts: their names.
    """
    from matplotlib.figure import Figure  # half a second that only who draws should pay

    figure = Figure(figsize=(7.0, 1.2 + 0.24 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, numbers) in enumerate(rows):
        total, left = sum(numbers), 0.0
        for index, number in enumerate(numbers):
            width = 100.0 * number / total if total else 0.0
            axes.barh(place, width, left=left, height=0.75, color=f"C{index}")
            left += width
    for index, part in enumerate(parts):
        axes.barh(0, 0, color=f"C{index}", label=part)
    # A "$" would begin a formula.
    names = [f"{name} ({sum(numbers):g})".replace("$", r"\$") for name, numbers in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("%")
    figure.legend(loc="outside upper center", ncols=len(parts), frameon=False)
    figure.savefig(path, dpi=110)
