"""Figure: a thing as shapes, in its own coordinates, drawn once and stamped many times.

A figure stands on y = 0 around x = 0 and is 1000 high; y grows upwards, as one would sketch it.
Shapes are painted in the order in which they are added.
"""

import math
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from .canvas import Canvas
from .palette import paint_of

Point = Tuple[int, int]

_STEPS = 48
# Rounded to whole 65536ths: whatever the last bit of a machine's cosine is, these agree.
_CIRCLE = [
    (
        round(65536 * math.cos(2 * math.pi * k / _STEPS)),
        round(65536 * math.sin(2 * math.pi * k / _STEPS)),
    )
    for k in range(_STEPS)
]


@dataclass(frozen=True)
class Shape:
    """One polygon of a figure: where its points stand, how and as what it is painted."""

    start: int
    stop: int
    role: str
    shade: int
    part: str


class Figure:
    """Collects shapes; `stamp` paints them.

    `role` names a colour: "main" = the thing's own, else a material of palette.json; `shade` is
    percent lighter or darker; `part` is the part the shape belongs to, "" = none.
    """

    def __init__(self) -> None:
        self._points: List[Point] = []
        self._shapes: List[Shape] = []

    def polygon(self, part: str, role: str, points: Sequence[Point], shade: int = 0) -> None:
        """Adds a polygon."""
        start = len(self._points)
        self._points.extend(points)
        self._shapes.append(Shape(start, len(self._points), role, shade, part))

    def rect(self, part: str, role: str, box: Tuple[int, int, int, int], shade: int = 0) -> None:
        """Adds a rectangle (left, bottom, right, top)."""
        left, bottom, right, top = box
        corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
        self.polygon(part, role, corners, shade)

    def ellipse(
        self, part: str, role: str, centre: Point, radii: Tuple[int, int], shade: int = 0
    ) -> None:
        """Adds an ellipse with upright axes."""
        (x, y), (across, up) = centre, radii
        outline = [(x + (c * across >> 16), y + (s * up >> 16)) for c, s in _CIRCLE]
        self.polygon(part, role, outline, shade)

    def circle(self, part: str, role: str, centre: Point, radius: int, shade: int = 0) -> None:
        """Adds a circle."""
        self.ellipse(part, role, centre, (radius, radius), shade)

    def bar(
        self, part: str, role: str, ends: Tuple[Point, Point], width: int, shade: int = 0
    ) -> None:
        """Adds a straight line with a width."""
        (x0, y0), (x1, y1) = ends
        length = max(1, math.isqrt((x1 - x0) ** 2 + (y1 - y0) ** 2))
        dx, dy = (y0 - y1) * width // (2 * length), (x1 - x0) * width // (2 * length)
        corners = [(x0 - dx, y0 - dy), (x1 - dx, y1 - dy), (x1 + dx, y1 + dy), (x0 + dx, y0 + dy)]
        self.polygon(part, role, corners, shade)

    def finish(self, part_values: "dict[str, int]") -> "FinishedFigure":
        """Returns the figure ready for stamping.

        Args:
            part_values: canvas value of each part; a part that is missing there counts as none.
        """
        return FinishedFigure(
            np.array(self._points, np.int64),
            tuple(self._shapes),
            tuple(part_values.get(shape.part, 0) for shape in self._shapes),
        )


@dataclass(frozen=True)
class FinishedFigure:
    """A figure whose points are one array (N, 2), so that placing it is one multiplication."""

    points: np.ndarray
    shapes: Tuple[Shape, ...]
    parts: Tuple[int, ...]

    def stamp(
        self,
        canvas: Canvas,
        foot: Point,
        height: int,
        *,
        flip: bool,
        colour: str,
        light: str,
        segment: int,
    ) -> None:
        """Paints the figure.

        Args:
            canvas: to paint on.
            foot: where its origin stands, in units of the canvas, y down.
            height: what its 1000 become, in units.
            flip: mirrors it left to right.
            colour: name of its main colour, "" where it has none.
            light: name of the light.
            segment: its value in the truth.
        """
        across = -height if flip else height
        # In thousandths of a unit no corner is rounded before the canvas does it.
        placed = self.points * (across, -height) + (foot[0] * 1000, foot[1] * 1000)
        fixed = canvas.fixed(placed, per_unit=1000)
        for shape, part in zip(self.shapes, self.parts):
            paint = paint_of(shape.role, shape.shade, colour, light)
            canvas.fill(fixed[shape.start : shape.stop], paint, segment, part)
