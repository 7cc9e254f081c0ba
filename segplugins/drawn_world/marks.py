"""Marks: blades of grass, crests of waves, lanes, pebbles: in the picture, not in the truth."""

from typing import List, Sequence, Tuple

import numpy as np

from .canvas import UNITS, Canvas
from .dice import Dice
from .landscape import Band, Landscape, flat_colour
from .palette import Colour, mix, shaded

_Line = List[Tuple[int, int]]


def paint_marks(canvas: Canvas, land: Landscape) -> None:
    """Draws the marks of every band on the ground."""
    dice = Dice(land.key, 2, 0)
    ends = [band.border for band in land.bands[1:]]
    for i, band in enumerate(land.bands):
        if band.stuff == "road":
            _lanes(canvas, land, band, ends[i : i + 1])
        else:
            _scatter(canvas, land, band, dice)
        if band.stuff == "sea" and i < len(ends):
            _foam(canvas, land, land.bands[i + 1])


def _scatter(canvas: Canvas, land: Landscape, band: Band, dice: Dice) -> None:
    """Strokes at random places of a band, shorter where they are far away."""
    sketch = {"grass": _tuft, "sea": _crest, "sand": _ripple}[band.stuff]
    light, dark = [], []
    ((top, bottom),) = land.stretches((band.stuff,))[:1]
    count = (bottom - top) * land.wide // 16000
    for _ in range(count):
        x, y = dice.below(land.wide), dice.between(top, max(bottom, top + 1))
        if land.stuff_at(x, y) == band.stuff:
            near = 30 + 70 * (y - land.horizon) // max(1, land.high - land.horizon)
            (light if dice.chance(55) else dark).append(sketch(x, y, near, dice))
    colour = flat_colour(land.light, band.stuff)
    for lines, shade in ((dark, -14), (light, 22 if band.stuff == "sea" else 13)):
        canvas.strokes(
            [_fixed(canvas, line) for line in lines], shaded(colour, shade), _pen(canvas)
        )


def _tuft(x: int, y: int, near: int, dice: Dice) -> _Line:
    tall, lean = 26 * near // 100, dice.between(-6, 6)
    return [
        (x - tall // 3, y - tall),
        (x, y),
        (x + lean, y - tall * 5 // 4),
        (x + 2, y),
        (x + tall // 2, y - tall),
    ]


def _crest(x: int, y: int, near: int, dice: Dice) -> _Line:
    long, tall = (dice.between(24, 60) * near // 100, 7 * near // 100)
    return [
        (x - long, y),
        (x - long // 2, y - tall),
        (x, y),
        (x + long // 2, y - tall),
        (x + long, y),
    ]


def _ripple(x: int, y: int, near: int, dice: Dice) -> _Line:
    long = dice.between(8, 34) * near // 100
    return [(x - long, y), (x, y - 3), (x + long, y)]


def _lanes(canvas: Canvas, land: Landscape, band: Band, end: Sequence) -> None:
    """A dashed middle line and two pale edges."""
    paint = land.light.on((236, 232, 220))
    dashes = []
    for x in range(-60, land.wide + 60, 150):
        corners = [(x, -5), (x + 84, -5), (x + 80, 6), (x - 4, 6)]
        dashes.append(_fixed(canvas, [(u, _middle(land, band, end, u) + v) for u, v in corners]))
    canvas.decorate(dashes, paint)
    edge = mix(flat_colour(land.light, "road"), paint, 120)
    for border, shift in ((band.border, 9), *((one, -9) for one in end)):
        line = [(x, y + shift) for x, y in border.points()]
        canvas.strokes([_fixed(canvas, line)], edge, 2 * _pen(canvas))


def _middle(land: Landscape, band: Band, end: Sequence, x: int) -> int:
    return (band.border.at(x) + (end[0].at(x) if end else land.high)) // 2


def _foam(canvas: Canvas, land: Landscape, shore: Band) -> None:
    white: Colour = land.light.on((255, 255, 250))
    sea = flat_colour(land.light, "sea")
    for shift, share, pen in ((-22, 90, 2), (-6, 190, 3)):
        line = [(x, y + shift) for x, y in shore.border.points()]
        canvas.strokes([_fixed(canvas, line)], mix(sea, white, share), pen * _pen(canvas))


def _fixed(canvas: Canvas, line: _Line) -> np.ndarray:
    return canvas.fixed(np.array(line, np.int64))


def _pen(canvas: Canvas) -> int:
    """Thickness of a thin stroke in thirds of a pixel, so that it looks the same at every size."""
    return max(1, 5 * 3 * min(canvas.height, canvas.width) // UNITS)
