"""The legend of a picture: a row per name, in letters that suit the picture's size."""

import textwrap
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segplugins.pictures.fonts import font_for, plain_line, shortened

PAPER = (250, 250, 248)
INK = (40, 40, 44)
_SOFT = (110, 112, 118)
_LETTERS_A_LINE = 30
_LINES = 3


class LegendRow(NamedTuple):
    """A name with its colour, RGB, and a remark behind it; without a colour the box is empty."""

    name: str
    colour: Optional[Sequence[int]]
    remark: str = ""


def draw_legend(
    rows: Sequence[LegendRow], letters: int, *, height: int = 0, width: int = 0
) -> np.ndarray:
    """Draws a legend.

    Args:
        rows: from top to bottom, then in the next column.
        letters: height of the letters in pixels.
        height: pixels to fill before a further column begins; the panel is at least as high.
        width: pixels to fill with columns instead; the panel is at least as wide.

    Returns:
        (>= height, >= width, 3) uint8 RGB.
    """
    blocks = [_Block(row, letters) for row in rows]
    columns = _columns(blocks, letters, height, width)
    tall = max((sum(block.height for block in column) for column in columns), default=0)
    widths = [max(block.width for block in column) for column in columns]
    size = (
        max(width, sum(widths) + letters),
        max(height, tall + letters),
    )
    panel = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(panel)
    left = letters // 2
    for column, column_width in zip(columns, widths):
        top = letters // 2
        for block in column:
            block.draw(draw, left, top)
            top += block.height
        left += column_width
    return np.asarray(panel)


class _Block:
    """One row of the legend: swatch, name in up to three lines, remark. Sizes in pixels."""

    def __init__(self, row: LegendRow, letters: int) -> None:
        self.row, self.letters = row, letters
        self.font = font_for(plain_line(row.name), letters)
        self.lines = _wrapped(plain_line(row.name), self.font, letters)
        self.remark_font = font_for(row.remark, letters)
        self.gap = round(0.6 * letters)
        self.indent = letters + self.gap
        last = self.font.getlength(self.lines[-1]) + self.gap
        texts = [self.font.getlength(line) for line in self.lines[:-1]]
        texts.append(last + self.remark_font.getlength(row.remark))
        self.line_height = round(1.5 * letters)
        self.height = self.line_height * len(self.lines)
        self.width = int(self.indent + max(texts)) + letters

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
        """Draws it with its upper left corner there."""
        side, colour = self.letters, self.row.colour
        box = (left, top + side // 4, left + side - 1, top + side // 4 + side - 1)
        fill = None if colour is None else tuple(int(channel) for channel in colour)
        draw.rectangle(box, fill=fill, outline=INK, width=max(1, side // 16))
        for number, line in enumerate(self.lines):
            place = (left + self.indent, top + number * self.line_height)
            draw.text(place, line, fill=INK, font=self.font)
        behind = left + self.indent + self.font.getlength(self.lines[-1]) + self.gap
        below = top + (len(self.lines) - 1) * self.line_height
        draw.text((behind, below), self.row.remark, fill=_SOFT, font=self.remark_font)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, letters: int) -> List[str]:
    lines = textwrap.wrap(text, _LETTERS_A_LINE) or [""]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], " ".join(lines[_LINES - 1 :])]
    return [shortened(line, font, 0.9 * _LETTERS_A_LINE * letters) for line in lines]


def _columns(blocks: Sequence[_Block], letters: int, height: int, width: int) -> List[List[_Block]]:
    """Parts rows into columns: as many as a width has room for, else as a height needs."""
    total = sum(block.height for block in blocks)
    if width:
        widest = max((block.width for block in blocks), default=1)
        count = max(1, (width - letters) // widest)
        room = -(-total // count)
    else:
        room = max(height - letters, 0) or total
    columns: List[List[_Block]] = []
    filled = room + 1
    for block in blocks:
        if filled + block.height > room and (filled >= room or not width):
            columns.append([])
            filled = 0
        columns[-1].append(block)
        filled += block.height
    return columns
