"""Names on their regions: where there is room, never over one another, always inside the picture.

Places are searched for on a coarse grid of the picture, so that the search costs the same for any
size of it. A plate is the coloured box with a name in it.
"""

from typing import Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from segplugins.pictures.fonts import font_for, plain_line, shortened
from segplugins.pictures.painting import Region

_GRID = 176  # cells along the long side
_LONGEST_NAME = 21  # letter heights; a longer name is cut, the legend has it whole
_INK, _PAPER = (20, 20, 24), (255, 255, 255)


class NamePlates:
    """Draws names into a picture, each at a free place that fits best.

    Args:
        picture: (H, W, 3) uint8 RGB, changed in place.
        letters: height of the letters in pixels.
    """

    def __init__(self, picture: np.ndarray, letters: int) -> None:
        self.picture = picture
        self.letters = letters
        self.step = max(1, -(-max(picture.shape[:2]) // _GRID))
        cells = [-(-side // self.step) for side in picture.shape[:2]]
        self._taken = np.zeros(cells, np.uint8)

    def cells(self, mask: np.ndarray) -> np.ndarray:
        """Returns a mask (H, W) on the grid, uint8; one that falls between its cells gets one."""
        cells = mask[:: self.step, :: self.step].astype(np.uint8)
        if not cells.any() and mask.any():
            rows, columns = np.nonzero(mask)
            middle = len(rows) // 2
            cells[rows[middle] // self.step, columns[middle] // self.step] = 1
        return cells

    def region_cells(self, region: Region) -> np.ndarray:
        """Returns a region of the picture on the grid, as `cells` does for its mask."""
        cells = np.zeros_like(self._taken)
        first = [-(-side.start // self.step) for side in region.place]
        offsets = [start * self.step - side.start for start, side in zip(first, region.place)]
        part = region.inside[offsets[0] :: self.step, offsets[1] :: self.step]
        cells[first[0] : first[0] + part.shape[0], first[1] : first[1] + part.shape[1]] = part
        if not part.any() and region.area:
            rows, columns = np.nonzero(region.inside)
            middle = len(rows) // 2
            row = region.place[0].start + rows[middle]
            column = region.place[1].start + columns[middle]
            cells[row // self.step, column // self.step] = 1
        return cells

    def inside(self, cells: np.ndarray, text: str, colour: Sequence[int]) -> bool:
        """Draws a name where most of its plate lies on a region: classes and stuff.

        Args:
            cells: the region, see `cells`.
            text: the name.
            colour: of the plate, RGB.

        Returns:
            Whether there was a free place with at least a third of the plate on the region.
        """
        plate = self._plate(text, colour)
        if plate is None:
            return False
        size = self._cells_of(plate)
        covered = _covered(cells, size)
        free = _covered(self._taken, size) == 0
        # Of the places that cover alike, the one deepest inside the region.
        depth = cv2.distanceTransform(cv2.copyMakeBorder(cells, 1, 1, 1, 1, 0), cv2.DIST_L2, 3)
        down, right = 1 + size[0] // 2, 1 + size[1] // 2
        depth = depth[down : down + free.shape[0], right : right + free.shape[1]]
        fit = covered + 0.5 * depth / max(1.0, float(depth.max()))
        return self._put(plate, np.where(free & (covered > 1 / 3), fit, -1), least=0)

    def atop(self, cells: np.ndarray, text: str, colour: Sequence[int]) -> bool:
        """Draws a name at the top of an object, or beside it where that place is taken.

        Args:
            cells: the object, see `cells`.
            text: the name.
            colour: of the plate, RGB.

        Returns:
            Whether there was a free place that touches the object or nearly does.
        """
        plate = self._plate(text, colour)
        if plate is None or not cells.any():
            return False
        size = self._cells_of(plate)
        rows, columns = np.nonzero(cells)
        top = columns[rows <= rows[0] + (rows[-1] - rows[0]) // 8]
        free = _covered(self._taken, size) == 0
        down, right = np.indices(free.shape)
        down = (down - (rows[0] - size[0])) / size[0]
        right = (right - (top.mean() - size[1] / 2)) / (0.6 * size[1])
        near = _covered(cv2.dilate(cells, np.ones((3, 3), np.uint8)), (size[0] + 2, size[1] + 2))
        touching = np.zeros(free.shape, bool)
        touching[: near.shape[0], : near.shape[1]] = near > 0
        # Going down covers the object; going sideways leaves it.
        cost = np.hypot(down, right) + np.where(touching, 0, 1)
        return self._put(plate, np.where(free, -cost, -np.inf), least=-2)

    def _put(self, plate: "_Plate", fit: np.ndarray, *, least: float) -> bool:
        best = np.unravel_index(int(fit.argmax()), fit.shape)
        if fit[best] < least:
            return False
        height, width = plate.size
        top = min(int(best[0]) * self.step, self.picture.shape[0] - height)
        left = min(int(best[1]) * self.step, self.picture.shape[1] - width)
        plate.draw(self.picture[top : top + height, left : left + width])
        rows, columns = self._cells_of(plate)
        self._taken[best[0] : best[0] + rows, best[1] : best[1] + columns] = 1
        return True

    def _cells_of(self, plate: "_Plate") -> Tuple[int, int]:
        return tuple(
            min(-(-side // self.step), cells) for side, cells in zip(plate.size, self._taken.shape)
        )

    def _plate(self, text: str, colour: Sequence[int]) -> Optional["_Plate"]:
        """The plate of a name, cut to the picture's width; None where not even that fits."""
        room = self.picture.shape[1] - 2 * _margin(self.letters)
        plate = _Plate(text, colour, self.letters, min(room, _LONGEST_NAME * self.letters))
        height, width = self.picture.shape[:2]
        fits = plate.text and plate.size[0] <= height and plate.size[1] <= width
        return plate if fits else None


class _Plate:
    """A name in its box. `size` is (height, width) in pixels."""

    def __init__(self, text: str, colour: Sequence[int], letters: int, widest: float) -> None:
        line = plain_line(text)
        self.font = font_for(line, letters)
        self.text = shortened(line, self.font, widest)
        self.colour = tuple(int(channel) for channel in colour)
        margin = _margin(letters)
        self._offset = (margin, margin // 2 + 1)
        ascent, descent = self.font.getmetrics()
        width = int(np.ceil(self.font.getlength(self.text))) + 2 * margin
        self.size = (ascent + descent + 2 * (margin // 2), width)

    def draw(self, region: np.ndarray) -> None:
        """Draws it over a region (*size, 3), in place."""
        height, width = self.size
        ink = ink_on(self.colour)
        image = Image.new("RGB", (width, height), self.colour)
        ImageDraw.Draw(image).text(self._offset, self.text, fill=ink, font=self.font)
        shape = Image.new("L", (width, height), 0)
        box = (0, 0, width - 1, height - 1)
        ImageDraw.Draw(shape).rounded_rectangle(box, radius=self._offset[0], fill=255)
        np.copyto(region, np.asarray(image), where=np.asarray(shape)[..., None] > 0)


def ink_on(colour: Sequence[int]) -> Tuple[int, int, int]:
    """Returns black or white, whichever can be read better on a colour."""
    values = (np.asarray(colour, float) / 255) ** 2.2
    luminance = float(values @ (0.2126, 0.7152, 0.0722))
    # Contrast as WCAG has it: (lighter + 0.05) / (darker + 0.05).
    return _INK if (luminance + 0.05) ** 2 > 1.05 * 0.06 else _PAPER


def _margin(letters: int) -> int:
    return max(2, letters // 3)


def _covered(cells: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """The share of a box of that size, by its upper left cell, that lies on set cells; float32."""
    rows, columns = (min(side, limit) for side, limit in zip(size, cells.shape))
    sums = cv2.integral(cells)
    inside = (sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns]) + sums[
        :-rows, :-columns
    ]
    return (inside / (rows * columns)).astype(np.float32)
