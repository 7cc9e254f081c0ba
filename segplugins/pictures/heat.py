"""draw_heat_maps: a value for every place and word, as colours over the picture, with a scale."""

import math
from typing import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from segplugins.pictures.fonts import font_for
from segplugins.pictures.legend import INK, PAPER
from segplugins.pictures.painting import check_size
from segplugins.pictures.sheets import beside, sheet
from segplugins.pictures.sizes import drawing_size, resized_image

_ALPHA = 0.65
_BAR, _LETTERS, _TICKS = 14, 12, 5
_COLUMNS = 4


def draw_heat_maps(image: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Returns the picture, then one painted copy a word, and the scale that all of them share.

    Dark blue is the lowest value of all maps, yellow the highest; the scale says which they are.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: (K, h, w) finite values, of any size; they are brought to that of the drawing.
        names: K words.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: a map without a word, or a value that is not finite.
    """
    check_size(image, image.shape[:2], "image")
    if len(maps) != len(names) or not len(maps):
        raise ValueError(f"{len(maps)} maps for {len(names)} words; give one map a word")
    if not np.isfinite(maps).all():
        raise ValueError("a map holds values that are not finite")
    size = drawing_size(*image.shape[:2])
    shown = resized_image(image, size)
    low, high = float(maps.min()), float(maps.max())
    painted = [_painted(shown, each, low, high) for each in maps]
    titles = ["picture", *names]
    lines = math.ceil(len(titles) / _COLUMNS)
    columns = math.ceil(len(titles) / lines)  # lines of about the same length
    together = sheet([shown, *painted], columns=columns, titles=titles)
    return beside([together, _scale(shown.shape[0], low, high)])


def heat_colours(shares: np.ndarray) -> np.ndarray:
    """Returns (..., 3) uint8 RGB of values 0 (dark blue) to 1 (yellow)."""
    values = np.clip(np.rint(255 * shares), 0, 255).astype(np.uint8)
    flat = cv2.applyColorMap(values.reshape(-1, 1), cv2.COLORMAP_VIRIDIS)
    return flat[:, 0, ::-1].reshape(*shares.shape, 3)


def _painted(image: np.ndarray, values: np.ndarray, low: float, high: float) -> np.ndarray:
    height, width = image.shape[:2]
    values = cv2.resize(values.astype(np.float32), (width, height))
    colours = heat_colours((values - low) / max(high - low, 1e-12)).astype(np.float32)
    return np.rint((1 - _ALPHA) * image + _ALPHA * colours).astype(np.uint8)


def _scale(height: int, low: float, high: float) -> np.ndarray:
    """Returns a bar of the colours with numbers beside it, the highest above."""
    texts = [f"{low + (high - low) * share:.3f}" for share in np.linspace(1, 0, _TICKS)]
    font = font_for(texts[0], _LETTERS)
    width = _BAR + 6 + int(max(font.getlength(text) for text in texts)) + 4
    top = _LETTERS + 6  # the titles of the pictures beside it
    bar = Image.new("RGB", (width, height + top), PAPER)
    colours = heat_colours(np.linspace(1, 0, height)[:, None].repeat(_BAR, axis=1))
    bar.paste(Image.fromarray(colours), (0, top))
    draw = ImageDraw.Draw(bar)
    for text, place in zip(texts, np.linspace(0, height - _LETTERS - 2, _TICKS)):
        draw.text((_BAR + 6, top + int(place)), text, fill=INK, font=font)
    return np.asarray(bar)
