"""Colours of names: equal in every picture and run, and distinct, also to colour-blind people.

A common name ("sky", "road") has the colour that people expect (colours.yaml); any other name gets
one of a palette by its hash. Where two names of one vocabulary would look nearly equal, to normal
eyes or to those of deuteranopes and protanopes, the later one takes the nearest colour that is
distinct.
"""

import hashlib
import sys
from functools import lru_cache
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import yaml

# Least distance of two colours of one vocabulary, in OKLab units times 100; 2 is just noticeable.
APART = 6.0
# (names of a vocabulary at most, distance): few names may be farther apart.
_ROOMY = ((12, 9.0), (20, 7.5))
_PALETTE = 24
_NORMAL = 1.5  # times as far apart to normal eyes as to colour-blind ones
# Linear sRGB as deuteranopes and protanopes see it: Machado, Oliveira, Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", 2009, severity 1.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
# OKLab: Ottosson, "A perceptual color space for image processing", 2020.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


class _Common(NamedTuple):
    """A common name's colour, and its place: the first names of all lines come first."""

    colour: Tuple[int, int, int]
    place: Tuple[int, int]


def class_colours(names: Sequence[str]) -> np.ndarray:
    """Returns a colour per name, the same wherever the name stands in the vocabulary.

    Args:
        names: K names; a name that stands twice has its colour twice.

    Returns:
        (K, 3) uint8 RGB. Some twenty names differ by at least `APART`, more by less: what a picture
        shows of a larger vocabulary goes through `distinct_colours` once more.
    """
    return _vocabulary_colours(tuple(names)).copy()


def picture_colours(names: Sequence[str], present: Sequence[int]) -> np.ndarray:
    """Returns `class_colours`, with those in one picture made distinct.

    Args:
        names: K names.
        present: indices of those in the picture, the most important first.

    Returns:
        (K, 3) uint8 RGB.
    """
    colours = class_colours(names)
    colours[list(present)] = distinct_colours(colours[list(present)])
    return colours


@lru_cache(maxsize=64)
def _vocabulary_colours(names: Tuple[str, ...]) -> np.ndarray:
    unique = sorted(set(names), key=_importance)
    preferred = np.array([_preferred(name) for name in unique], np.uint8).reshape(-1, 3)
    apart = next((apart for most, apart in _ROOMY if len(unique) <= most), APART)
    colours = dict(zip(unique, distinct_colours(preferred, apart=apart)))
    return np.array([colours[name] for name in names], np.uint8).reshape(-1, 3)


def distinct_colours(colours: np.ndarray, *, apart: float = APART) -> np.ndarray:
    """Returns the colours with those replaced that are nearly equal to an earlier one.

    Args:
        colours: (N, 3) uint8 RGB, the most important first.
        apart: least distance, OKLab times 100; to normal eyes, which see more, by a half more.

    Returns:
        (N, 3) uint8 RGB. A replacement is the nearest colour at least `apart` from all earlier
        ones; where there is none, the one that is farthest from them.
    """
    chosen = colours.copy()
    candidates, candidate_views = _candidates()
    views = _compared(colours)
    nearest = np.full(len(candidates), np.inf)  # of each candidate to the colours chosen so far
    for index in range(len(colours)):
        view = views[:, index]
        gaps = np.linalg.norm(views[:, :index] - view[:, None], axis=-1)
        if gaps.size and gaps.min() < min(apart, nearest.max()):
            free = np.flatnonzero(nearest >= min(apart, nearest.max()))
            moves = np.linalg.norm(candidate_views[0, free] - view[0], axis=-1)
            best = free[moves.argmin()]
            chosen[index], views[:, index] = candidates[best], candidate_views[:, best]
            view = candidate_views[:, best]
        distances = np.linalg.norm(candidate_views - view[:, None], axis=-1).min(axis=0)
        np.minimum(nearest, distances, out=nearest)
    return chosen


def _compared(colours: np.ndarray) -> np.ndarray:
    """`seen_colours`, those of normal eyes scaled down so that they end up farther apart."""
    seen = seen_colours(colours)
    seen[0] /= _NORMAL
    return seen


def seen_colours(colours: np.ndarray) -> np.ndarray:
    """Returns colours as normal eyes, deuteranopes and protanopes see them.

    Args:
        colours: (N, 3) uint8 sRGB.

    Returns:
        (3, N, 3) OKLab times 100: a distance of 2 is just noticeable.
    """
    values = np.asarray(colours, np.float64).reshape(-1, 3) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.stack([_oklab(linear @ view.T) for view in (np.eye(3), DEUTERANOPIA, PROTANOPIA)])


def _oklab(linear: np.ndarray) -> np.ndarray:
    return 100 * np.cbrt(linear.clip(0, 1) @ _TO_CONES.T) @ _TO_LAB.T


def _preferred(name: str) -> Tuple[int, int, int]:
    common = _common(name)
    if common is not None:
        return common.colour
    digest = hashlib.sha256(_plain(name).encode("utf-8", "replace")).digest()
    return tuple(_palette()[int.from_bytes(digest[:4], "big") % _PALETTE].tolist())


def _importance(name: str) -> Tuple[Tuple[int, int], str]:
    """Sorts names so that the commonest keep their colours and others make way."""
    entry = _common(name)
    return (entry.place if entry else (sys.maxsize, 0)), name


def _common(name: str) -> Optional[_Common]:
    """The entry of a common name, if it is one."""
    table = _table()
    return next((table[part] for part in _parts(_plain(name)) if part in table), None)


def _parts(name: str) -> Iterator[str]:
    """Yields what a name is looked up by.

    "road, route": "road"; "sky-other-merged": "sky"; "red car": "car"; "tree|bush": "tree".
    """
    yield name
    for synonym in name.replace("|", ",").split(","):
        yield synonym.strip()
    yield name.split("-")[0].strip()
    yield name.split(" ")[-1]


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())


@lru_cache(maxsize=1)
def _table() -> Dict[str, _Common]:
    path = Path(__file__).with_name("colours.yaml")
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: _Common(tuple(bytes.fromhex(code[1:])), (position, line))
        for line, (code, names) in enumerate(table.items())
        for position, name in enumerate(names)
    }


@lru_cache(maxsize=1)
def _candidates() -> Tuple[np.ndarray, np.ndarray]:
    """Colours that names may get, (M, 3) uint8, and as they are compared, (3, M, 3)."""
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, chroma = _lightness_and_chroma(grid)
    # Neither black nor grey nor glaring.
    usable = (lightness > 36) & (lightness < 93) & (chroma > 6) & (chroma < 25)
    return grid[usable], _compared(grid[usable])


@lru_cache(maxsize=1)
def _palette() -> np.ndarray:
    """(P, 3) uint8: of the vivid candidates, always the one farthest from those before it."""
    candidates, views = _candidates()
    lightness, chroma = _lightness_and_chroma(candidates)
    vivid = (chroma > 12) & (lightness > 42) & (lightness < 90)
    candidates, views = candidates[vivid], views[:, vivid]
    picked = [int(np.argmax(views[0, :, 1]))]  # the reddest
    nearest = np.full(len(candidates), np.inf)
    while len(picked) < _PALETTE:
        gaps = np.linalg.norm(views - views[:, picked[-1], None], axis=-1).min(axis=0)
        np.minimum(nearest, gaps, out=nearest)
        picked.append(int(nearest.argmax()))
    return candidates[picked]


def _lightness_and_chroma(colours: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    lab = seen_colours(colours)[0]
    return lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
