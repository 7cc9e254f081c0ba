"""Painting: from a scene to a picture and its truth."""

from dataclasses import dataclass
from typing import Dict, Tuple

import numpy as np

from .canvas import UNITS, Canvas
from .classes import all_stuff, all_things
from .dice import Dice
from .figures import figure_of
from .landscape import Landscape, flat_colour, paint_ground, paint_sky
from .marks import paint_marks
from .scene import Scene, Thing
from .textures import falloff, textured

FIRST_THING = 16  # truth value of the first thing; stuff classes take 1, 2, ...
STUFF_SEGMENTS: Dict[str, int] = {name: 1 + i for i, name in enumerate(all_stuff())}


@dataclass(frozen=True)
class Picture:
    """What a scene looks like, and what is where.

    Args:
        image: (H, W, 3) uint8 RGB.
        segments: (H, W) uint8: 1 + i = stuff class i of `all_stuff`, 16 + k = thing k of the scene.
        parts: (H, W) uint8: 0 = no part, 1 + i = part i of `all_parts`.
    """

    image: np.ndarray
    segments: np.ndarray
    parts: np.ndarray


def paint(scene: Scene, height: int, width: int) -> Picture:
    """Returns the picture of a scene at a size in pixels."""
    canvas = Canvas(height, width)
    paint_sky(canvas, scene.land, STUFF_SEGMENTS["sky"])
    behind = sum(all_things()[thing.name].place == "sky" for thing in scene.things)
    _stamp(canvas, scene, 0, behind)
    paint_ground(canvas, scene.land, STUFF_SEGMENTS)
    paint_marks(canvas, scene.land)
    _stamp(canvas, scene, behind, len(scene.things))
    segments, parts = canvas.truth()
    image = _finish(canvas.picture(), segments, scene)
    return Picture(image, segments, parts)


def _stamp(canvas: Canvas, scene: Scene, start: int, stop: int) -> None:
    for index in range(start, stop):
        thing = scene.things[index]
        figure_of(thing.name, thing.variant).stamp(
            canvas,
            thing.foot,
            thing.height,
            flip=thing.flip,
            colour=thing.colour,
            light=scene.land.light.name,
            segment=FIRST_THING + index,
        )


def _finish(image: np.ndarray, segments: np.ndarray, scene: Scene) -> np.ndarray:
    """Lays gradients, textures, shadows and glow on the averaged picture."""
    height, width = segments.shape
    stuff = np.where(segments < FIRST_THING, segments, 0)
    levels = image.astype(np.int16)
    # (stuff, row) as one number: a gather from a flat table is five times as fast.
    place = stuff * np.intp(height) + np.arange(height)[:, None]
    levels += _gradients(scene.land, height).reshape(-1, 3).take(place, axis=0)
    dice = Dice(scene.land.key, 3, 0)
    offset = (dice.below(height), dice.below(width))
    levels += textured(stuff, all_stuff(), offset)[..., None]
    _cast_shadows(levels, stuff, scene)
    _shine(levels, stuff, scene)
    return np.clip(levels, 0, 255).astype(np.uint8)


def _gradients(land: Landscape, height: int) -> np.ndarray:
    """(1 + stuff, H, 3) int16: what each row adds to the flat colour of each stuff class."""
    table = np.zeros((FIRST_THING, height, 3), np.int16)
    rows = np.arange(height)
    top = height * land.horizon // land.high
    share = np.clip((rows - top) * 256 // max(1, height - top), 0, 256)[:, None]
    for band in land.bands:
        far, near = (np.array(colour) for colour in land.light.stuff[band.stuff])
        wanted = (far * (256 - share) + near * share) >> 8
        table[STUFF_SEGMENTS[band.stuff]] = wanted - flat_colour(land.light, band.stuff)
    return table


def _cast_shadows(levels: np.ndarray, stuff: np.ndarray, scene: Scene) -> None:
    """Darkens the ground under what stands on it."""
    height, width = stuff.shape
    for thing in scene.things:
        if all_things()[thing.name].place == "ground":
            _shadow(levels, stuff, thing, min(height, width))


def _shadow(levels: np.ndarray, stuff: np.ndarray, thing: Thing, short: int) -> None:
    span = all_things()[thing.name].span
    radius = max(2, span * thing.height * short * 62 // (1000 * UNITS * 100))
    x = (thing.foot[0] + thing.height // 14) * short // UNITS
    y = thing.foot[1] * short // UNITS
    flat = 4  # times wider than high
    disc = falloff(radius)[::flat]
    rows, columns, part = _overlap(disc.shape, (y, x), stuff.shape)
    if part is None:
        return
    ground = (stuff[rows, columns] > 0)[..., None]
    dark = 256 - (disc[part] * 100 >> 8)[..., None]
    lit = levels[rows, columns].astype(np.int32)
    levels[rows, columns] = np.where(ground, lit * dark >> 8, lit)


def _shine(levels: np.ndarray, stuff: np.ndarray, scene: Scene) -> None:
    """Lets the sun, the moon and lit lamps brighten what is around them."""
    light = scene.land.light
    short = min(stuff.shape)
    for thing in scene.things:
        if thing.name in ("sun", "moon"):
            reach, middle = thing.height * 3 // 2, thing.height // 2
        elif thing.name == "lamp" and light.lit:
            reach, middle = thing.height * 3 // 5, thing.height * 82 // 100
        else:
            continue
        disc = falloff(max(2, reach * short // UNITS))
        spot = ((thing.foot[1] - middle) * short // UNITS, thing.foot[0] * short // UNITS)
        rows, columns, part = _overlap(disc.shape, spot, stuff.shape)
        if part is not None:
            # Things keep most of their colour: a blue bird before the sun is still a blue bird.
            share = np.where(stuff[rows, columns] > 0, disc[part], disc[part] >> 2)
            glow = share[..., None] * np.array(light.glow, np.int32) >> 8
            levels[rows, columns] += glow.astype(np.int16)


def _overlap(
    shape: Tuple[int, int], middle: Tuple[int, int], image: Tuple[int, int]
) -> Tuple[slice, slice, "tuple[slice, slice] | None"]:
    """Where a stamp centred at a pixel lies in the image, and which part of the stamp that is."""
    inside, cut = [], []
    for size, at, limit in zip(shape, middle, image):
        start = at - size // 2
        first, last = max(start, 0), min(start + size, limit)
        if first >= last:
            return slice(0), slice(0), None
        inside.append(slice(first, last))
        cut.append(slice(first - start, last - start))
    return inside[0], inside[1], (cut[0], cut[1])
