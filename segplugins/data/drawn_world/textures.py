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
def stacked(names: Tuple[str, ...], height: int, width: int) -> np.ndarray:
    """Returns textures of the stuff classes at twice the size needed: (1 + N, 2 H, 2 W) int16.

    The first is all zero (what is no stuff); a window at any offset of up to (H, W) is a view.
    """
    grown = [np.zeros((2 * height, 2 * width), np.int16)]
    for name in names:
        rows = np.arange(2 * height) % _TILE
        columns = np.arange(2 * width) % _TILE
        grown.append(texture(name)[rows][:, columns])
    return np.stack(grown)


@lru_cache(maxsize=256)
def falloff(radius: int) -> np.ndarray:
    """Returns a soft disc (2 r + 1, 2 r + 1) int32: 256 in the middle, 0 at the radius."""
    line = np.arange(-radius, radius + 1, dtype=np.int64) ** 2
    squared = line[:, None] + line[None, :]
    share = np.maximum(radius * radius - squared, 0) * 256 // max(1, radius * radius)
    return (share * share >> 8).astype(np.int32)


def names_of(sequence: Sequence[str]) -> Tuple[str, ...]:
    """Returns the stuff classes that have a texture, in order."""
    return tuple(name for name in sequence if name in _SMOOTHING)
