"""Textures: tiles of noise per stuff class, in grey levels, made once per process.

The bits come from the same counter generator as everything else and are smoothed with whole
numbers only, so that a tile is the same on every machine.
"""

from functools import cache, lru_cache
from typing import Sequence, Tuple

import numpy as np

from .palette import texture_strength

_TILE = 256  # side of a tile, in pixels
# Per stuff class the shifts (down, right) over which white noise is averaged: what it looks like.
_SMOOTHING = {
    "sky": ((40, 90),),
    "sea": ((1, 11), (2, 3)),
    "grass": ((4, 1), (2, 2)),
    "sand": ((1, 2), (1, 1)),
    "road": ((1, 1),),
    "hill": ((7, 9), (3, 5)),
}


@cache
def texture(stuff: str) -> np.ndarray:
    """Returns a tile (256, 256) int16 that repeats without a seam, mean about 0."""
    stream = sorted(_SMOOTHING).index(stuff)
    source = np.random.Philox(key=np.array([0x7E47, stream], np.uint64))
    bits = source.random_raw(_TILE * _TILE // 8)
    noise = bits.astype("<u8").view(np.uint8).astype(np.int64).reshape(_TILE, _TILE) - 128
    for down, right in _SMOOTHING[stuff]:
        noise = _averaged(_averaged(noise * 16, down, 0), right, 1) // 16
    spread = int(np.sort(np.abs(noise), axis=None)[noise.size * 9 // 10]) or 1
    return (noise * texture_strength()[stuff] // spread).astype(np.int16)


def _averaged(noise: np.ndarray, length: int, axis: int) -> np.ndarray:
    total = sum(np.roll(noise, shift, axis) for shift in range(length))
    return total // length


@lru_cache(maxsize=8)
def _tiles(names: Tuple[str, ...]) -> np.ndarray:
    """(1 + N, 256, 256) int16 on end; the first is all zero: what is no stuff."""
    nothing = np.zeros((_TILE, _TILE), np.int16)
    return np.stack([nothing, *(texture(name) for name in names)]).ravel()


def textured(stuff: np.ndarray, names: Sequence[str], offset: Tuple[int, int]) -> np.ndarray:
    """Returns what the textures add to each pixel, (H, W) int16.

    Args:
        stuff: (H, W) whole numbers: 0 = none, 1 + i = stuff class i.
        names: of the stuff classes.
        offset: where in the tiles the image begins, (down, right).
    """
    rows = (np.arange(stuff.shape[0]) + offset[0]) % _TILE
    columns = (np.arange(stuff.shape[1]) + offset[1]) % _TILE
    place = stuff * np.intp(_TILE * _TILE) + (rows[:, None] * _TILE + columns)
    return _tiles(tuple(names)).take(place)


@lru_cache(maxsize=32)
def falloff(radius: int) -> np.ndarray:
    """Returns a soft disc (2 r + 1, 2 r + 1) int32: 256 in the middle, 0 at the radius."""
    line = np.arange(-radius, radius + 1, dtype=np.int64) ** 2
    squared = line[:, None] + line[None, :]
    share = np.maximum(radius * radius - squared, 0) * 256 // max(1, radius * radius)
    return (share * share >> 8).astype(np.int32)
