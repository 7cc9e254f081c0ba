"""Palette: named colours, materials and lights, all in whole numbers.

A colour is (R, G, B), 0-255. Every mix is integer arithmetic, so that no machine rounds it in its
own way.
"""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Dict, Mapping, Tuple

Colour = Tuple[int, int, int]

_FILE = Path(__file__).with_name("palette.json")
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)


def mix(a: Colour, b: Colour, share: int) -> Colour:
    """Returns `share` parts of b and 256 - `share` parts of a, of 256 in all."""
    red, green, blue = ((x * (256 - share) + y * share) >> 8 for x, y in zip(a, b))
    return red, green, blue


def shaded(colour: Colour, percent: int) -> Colour:
    """Returns the colour lighter (percent > 0) or darker (< 0); +-100 is white or black."""
    return mix(colour, WHITE if percent > 0 else BLACK, abs(percent) * 256 // 100)


@dataclass(frozen=True)
class Light:
    """A time of day: what the air and the ground look like, and what it does to colours.

    Args:
        name: "morning", "day", "evening" or "night".
        phrase: how a caption says it.
        sky: colours of the zenith and of the horizon.
        tint: what is left of red, green and blue, of 256.
        lit: whether windows and lamps shine.
        stars: how many.
        glow: what the sun or a lamp adds to its neighbourhood.
        haze: what far hills fade into.
        stuff: colours of the far and the near end, per stuff class.
    """

    name: str
    phrase: str
    sky: Tuple[Colour, Colour]
    tint: Colour
    lit: bool
    stars: int
    glow: Colour
    haze: Colour
    stuff: Mapping[str, Tuple[Colour, Colour]]

    def on(self, colour: Colour) -> Colour:
        """Returns how a colour looks in this light."""
        red, green, blue = ((c * t) >> 8 for c, t in zip(colour, self.tint))
        return red, green, blue


@cache
def _data() -> Mapping:
    return json.loads(_FILE.read_text(encoding="utf-8"))


@cache
def lights() -> Mapping[str, Light]:
    """Returns the four times of day by name."""
    return {name: _light(name, entry) for name, entry in _data()["lights"].items()}


def light_weights() -> Tuple[Tuple[str, int], ...]:
    """Returns (name of a light, how often it is chosen)."""
    return tuple((name, entry["weight"]) for name, entry in _data()["lights"].items())


def texture_strength() -> Mapping[str, int]:
    """Returns per stuff class how far its texture moves a colour, in grey levels."""
    return _data()["textures"]


def _light(name: str, entry: Mapping) -> Light:
    stuff: Dict[str, Tuple[Colour, Colour]] = {
        kind: (tuple(far), tuple(near)) for kind, (far, near) in entry["stuff"].items()
    }
    return Light(
        name=name,
        phrase=entry["phrase"],
        sky=(tuple(entry["sky"][0]), tuple(entry["sky"][1])),
        tint=tuple(entry["tint"]),
        lit=entry["lit"],
        stars=entry["stars"],
        glow=tuple(entry["glow"]),
        haze=tuple(entry["haze"]),
        stuff=stuff,
    )


@lru_cache(maxsize=4096)
def paint_of(role: str, shade: int, colour: str, light: str) -> Colour:
    """Returns the colour of one shape of a figure.

    Args:
        role: "main" (the thing's own colour), "glass" (windows, lit in the dark) or a material.
        shade: percent lighter or darker.
        colour: the name of the thing's own colour; "" where it has none.
        light: the name of the light.
    """
    data, lamp = _data(), lights()[light]
    if role == "main":
        plain = data["colours"][colour]
    elif role in ("glass", "lens"):
        plain = data["windows"]["lit" if lamp.lit else "dark"]
        if role == "lens" and not lamp.lit:
            plain = data["materials"]["lens"]
        if lamp.lit:  # what shines is not dimmed by the evening
            return shaded(tuple(plain), shade)
    else:
        plain = data["materials"][role]
        if role in data["shining"]:
            return shaded(tuple(plain), shade)
    return lamp.on(shaded(tuple(plain), shade))
