"""Landscape: sky, ridges of hills and bands of ground from the horizon to the viewer.

The recipes stand in landscapes.json: which stuff follows which, from where (percent of the image's
height). All lengths here are units (canvas.py), y grows downwards.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Collection, List, Mapping, Sequence, Tuple

import numpy as np

from .canvas import Canvas
from .dice import Dice
from .palette import Colour, Light, mix

_FILE = Path(__file__).with_name("landscapes.json")
_SINE = [round(65536 * math.sin(2 * math.pi * k / 256)) for k in range(256)]
_STEPS = 40  # straight pieces of a border


@dataclass(frozen=True)
class Border:
    """A wavy line across the image: y in units at `_STEPS` + 1 places, evenly spread."""

    heights: Tuple[int, ...]
    wide: int

    def at(self, x: int) -> int:
        """Returns y at x, linear between the places and level outside the image."""
        x = min(max(x, 0), self.wide - 1)
        place, rest = divmod(x * _STEPS, self.wide)
        here, there = self.heights[place], self.heights[place + 1]
        return here + (there - here) * rest // self.wide

    def points(self) -> List[Tuple[int, int]]:
        """Returns its corners, from left to right, reaching a little beyond the image."""
        inner = [(i * self.wide // _STEPS, y) for i, y in enumerate(self.heights)]
        return [(-64, self.heights[0]), *inner, (self.wide + 64, self.heights[-1])]


@dataclass(frozen=True)
class Band:
    """One kind of ground from its border down to the next one's."""

    stuff: str
    border: Border


@dataclass(frozen=True)
class Landscape:
    """Where which stuff lies, and in what light.

    Args:
        high: height of the image in units.
        wide: width of the image in units.
        light: the time of day.
        horizon: y where the ground begins.
        ridges: borders of the hills, far ones first.
        bands: the ground, far ones first.
        key: seed of the small marks on the ground.
    """

    high: int
    wide: int
    light: Light
    horizon: int
    ridges: Tuple[Border, ...]
    bands: Tuple[Band, ...]
    key: int

    def stuff_at(self, x: int, y: int) -> str:
        """Returns the stuff under a point."""
        for band in reversed(self.bands):
            if y >= band.border.at(x):
                return band.stuff
        for ridge in self.ridges:
            if y >= ridge.at(x):
                return "hill"
        return "sky"

    def stretches(self, stuff: Collection[str]) -> List[Tuple[int, int]]:
        """Returns the (top, bottom) in which one of the stuff classes can be found."""
        tops = [min(band.border.heights) for band in self.bands] + [self.high]
        spans = [
            (tops[i], max([tops[i + 1], *_reach(self.bands, i)]))
            for i, band in enumerate(self.bands)
            if band.stuff in stuff
        ]
        if "hill" in stuff and self.ridges:
            spans.append((min(self.ridges[-1].heights), self.horizon))
        return spans

    @property
    def stuff(self) -> Tuple[str, ...]:
        """All stuff classes of it; any of them may be hidden by what stands before it."""
        hills = ("hill",) if self.ridges else ()
        return ("sky", *hills, *dict.fromkeys(band.stuff for band in self.bands))


def _reach(bands: Sequence[Band], index: int) -> List[int]:
    return [max(band.border.heights) for band in bands[index + 1 : index + 2]]


@cache
def _recipes() -> Tuple[Mapping, ...]:
    return tuple(json.loads(_FILE.read_text(encoding="utf-8"))["landscapes"])


def recipes_for(
    stuff: Collection[str], needs: Sequence[Collection[str]]
) -> List[Tuple[Mapping, int]]:
    """Returns (recipe, weight) of the landscapes that can be painted.

    Args:
        stuff: the classes that may appear.
        needs: of each of these sets of classes at least one must be able to appear.
    """
    weighted = []
    for recipe in _recipes():
        ground = {name for name, _ in recipe["bands"]}
        hills = {"hill"} if recipe["ridges"][1] and "hill" in stuff else set()
        offered = {"sky", *ground, *hills}
        if ground <= set(stuff) and all(offered & set(need) for need in needs):
            weighted.append((recipe, recipe["weight"]))
    return weighted


def lay_out(
    dice: Dice, recipe: Mapping, *, light: Light, high: int, wide: int, stuff: Collection[str]
) -> Landscape:
    """Returns a landscape by a recipe.

    Args:
        dice: its choices.
        recipe: one of `recipes_for`.
        light: the time of day.
        high: of the image, in units.
        wide: of the image, in units.
        stuff: the classes that may appear: without "hill" there are no ridges.
    """
    horizon = high * dice.between(*recipe["horizon"]) // 100
    ridges = []
    if "hill" in stuff:
        count = dice.between(*recipe["ridges"])
        for i in range(count):
            base = horizon - high * (4 + 5 * (count - 1 - i)) // 100
            ridges.append(_border(dice, base, high * (9 - 2 * i) // 100, wide, waves=3))
    bands = []
    for i, (name, percent) in enumerate(recipe["bands"]):
        if i == 0:
            swing = high // 60 if name == "grass" else 0
            border = _border(dice, horizon, swing, wide, waves=1)
        else:
            base = high * (percent + dice.between(-3, 3)) // 100
            straight = "road" in (name, recipe["bands"][i - 1][0])
            border = _border(
                dice, base, high // (110 if straight else 36), wide, waves=1 + (not straight)
            )
        bands.append(Band(name, border))
    return Landscape(high, wide, light, horizon, tuple(ridges), tuple(bands), dice.below(1 << 30))


def _border(dice: Dice, base: int, swing: int, wide: int, *, waves: int) -> Border:
    parts = [
        (
            dice.between(60, 160) * (k + 1),
            dice.below(256),
            swing * dice.between(50, 100) // (100 * (k + 1)),
        )
        for k in range(waves)
    ]
    heights = []
    for i in range(_STEPS + 1):
        offset = sum(
            _SINE[(i * turns // _STEPS + phase) & 255] * size for turns, phase, size in parts
        )
        heights.append(base + (offset >> 16))
    return Border(tuple(heights), wide)


def paint_sky(canvas: Canvas, land: Landscape, segment: int) -> None:
    """Covers the canvas with the sky: a gradient from the zenith to the horizon, and stars."""
    zenith, low = land.light.sky
    horizon = canvas.rows * land.horizon // land.high
    share = np.minimum(np.arange(canvas.rows) * 256 // max(horizon, 1), 256)[:, None]
    rows = (np.array(zenith) * (256 - share) + np.array(low) * share) >> 8
    canvas.backdrop(rows.astype(np.uint8), segment)
    dice = Dice(land.key, 1, 0)
    for _ in range(land.light.stars * land.wide // land.high):
        x, y = dice.below(land.wide), dice.below(land.horizon)
        size = dice.between(2, 4)
        star = np.array([(x - size, y), (x, y - size), (x + size, y), (x, y + size)], np.int64)
        canvas.decorate([canvas.fixed(star)], mix((255, 250, 230), zenith, dice.between(0, 150)))


def paint_ground(canvas: Canvas, land: Landscape, segments: Mapping[str, int]) -> None:
    """Paints hills and ground over the sky.

    Args:
        canvas: with the sky and what hangs in it.
        land: the landscape.
        segments: value of each stuff class in the truth.
    """
    for i, ridge in enumerate(land.ridges):
        near = 256 * (i + 1) // len(land.ridges)
        colour = mix(land.light.haze, mix(*land.light.stuff["hill"], near), 90 + near * 166 // 256)
        _fill_below(canvas, land, ridge, colour, segments["hill"])
    for band in land.bands:
        _fill_below(
            canvas, land, band.border, flat_colour(land.light, band.stuff), segments[band.stuff]
        )


def flat_colour(light: Light, stuff: str) -> Colour:
    """Returns the one colour a stuff class is filled with before its gradient is laid on."""
    return mix(*light.stuff[stuff], 128)


def _fill_below(
    canvas: Canvas, land: Landscape, border: Border, colour: Colour, segment: int
) -> None:
    below = [(land.wide + 64, land.high + 64), (-64, land.high + 64)]
    points = np.array([*border.points(), *below], np.int64)
    canvas.fill(canvas.fixed(points), colour, segment)
