"""Canvas: paints a picture and its truth with the same strokes.

Every shape is filled twice from one polygon: anti-aliased into the picture, hard into the truth.
Both are held at three times the size asked for. The picture is averaged down; the truth is what
lies under the centre of each pixel, which an odd factor makes an exact sample.

Coordinates are whole units, 1024 to the short side of the image, x to the right, y down, so that
one scene can be painted at any size.
"""

from typing import Sequence, Tuple

import cv2
import numpy as np

from .palette import Colour

UNITS = 1024  # to the short side
_OVERSAMPLE = 3
_FRACTION_BITS = 4  # of a coordinate given to cv2


class Canvas:
    """A picture (H, W, 3) uint8 RGB and its truth (H, W, 2) uint8: segment and part.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        short = min(height, width)
        self.units_high = height * UNITS // short
        self.units_wide = width * UNITS // short
        self._scale = short * _OVERSAMPLE << _FRACTION_BITS
        self._rgb = np.zeros((height * _OVERSAMPLE, width * _OVERSAMPLE, 3), np.uint8)
        self._truth = np.zeros((height * _OVERSAMPLE, width * _OVERSAMPLE, 2), np.uint8)

    def fixed(self, points: np.ndarray, per_unit: int = 1) -> np.ndarray:
        """Returns points as the fixed-point numbers that the fills take.

        Args:
            points: (N, 2) int64, in units times `per_unit`.
            per_unit: finer steps of the points than whole units.
        """
        fine = points * self._scale // (UNITS * per_unit)
        # cv2 counts from the centre of the first pixel, we count from its corner.
        return (fine - (1 << _FRACTION_BITS - 1)).astype(np.int32)

    def fill(self, polygon: np.ndarray, colour: Colour, segment: int, part: int = 0) -> None:
        """Fills a polygon in picture and truth.

        Args:
            polygon: (N, 2) int32 from `fixed`.
            colour: RGB.
            segment: 1-255, what the pixels belong to.
            part: 0-255, which part of it; 0 = none.
        """
        outline = [polygon]
        cv2.fillPoly(self._rgb, outline, colour, cv2.LINE_AA, _FRACTION_BITS)
        cv2.fillPoly(self._truth, outline, (segment, part), cv2.LINE_8, _FRACTION_BITS)

    def decorate(self, polygons: Sequence[np.ndarray], colour: Colour) -> None:
        """Fills polygons in the picture alone: marks on what is there already."""
        for polygon in polygons:
            cv2.fillPoly(self._rgb, [polygon], colour, cv2.LINE_AA, _FRACTION_BITS)

    def strokes(self, lines: Sequence[np.ndarray], colour: Colour, thickness: int) -> None:
        """Draws open lines in the picture alone, `thickness` in thirds of a pixel."""
        if lines:
            cv2.polylines(
                self._rgb, list(lines), False, colour, thickness, cv2.LINE_AA, _FRACTION_BITS
            )

    def backdrop(self, rows: np.ndarray, segment: int) -> None:
        """Covers everything with one colour a row: (rows, 3) uint8, `rows` = 3 H of them."""
        high, wide = self._rgb.shape[:2]
        self._rgb[:, :8] = rows[:, None]
        done = 8
        while done < wide:  # doubling what is there is several times as fast as broadcasting
            more = min(done, wide - done)
            self._rgb[:, done : done + more] = self._rgb[:, :more]
            done += more
        cv2.rectangle(self._truth, (0, 0), (wide, high), (segment, 0), cv2.FILLED)

    @property
    def rows(self) -> int:
        """Rows of the enlarged picture."""
        return self._rgb.shape[0]

    def picture(self) -> np.ndarray:
        """Returns the picture at its size, (H, W, 3) uint8 RGB."""
        return cv2.resize(self._rgb, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def truth(self) -> Tuple[np.ndarray, np.ndarray]:
        """Returns segments and parts at the picture's size, both (H, W) uint8."""
        centre = _OVERSAMPLE // 2
        sampled = self._truth[centre::_OVERSAMPLE, centre::_OVERSAMPLE]
        return np.ascontiguousarray(sampled[..., 0]), np.ascontiguousarray(sampled[..., 1])
