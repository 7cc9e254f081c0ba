"""Curves of a run as a picture."""

from pathlib import Path
from typing import Dict, Sequence, Tuple, Union


def curves(
    path: Union[str, Path],
    panels: Dict[str, Dict[str, Tuple[Sequence[float], Sequence[float]]]],
    *,
    across: str = "iteration",
) -> None:
    """Writes a PNG with one panel a quantity.

    Args:
        path: the file, overwritten.
        panels: y-axis title to {line name: (x values, y values)}.
        across: x-axis title.
    """
    from matplotlib.figure import Figure  # half a second that only who draws should pay

    figure = Figure(figsize=(5.2 * len(panels), 3.4), layout="constrained")
    for position, (title, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), position)
        for name, (x, y) in lines.items():
            # A "$" would begin a formula.
            axes.plot(
                x,
                y,
                label=name.replace("$", r"\$"),
                linewidth=1.6,
                marker="o" if len(x) < 12 else None,
            )
        axes.set_xlabel(across)
        axes.set_ylabel(title)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
