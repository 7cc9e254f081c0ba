"""Pictures put together: in rows, one above the other, on sheets with titles."""

from pathlib import Path
from typing import List, Optional, Sequence, Union

import numpy as np
from PIL import Image, ImageDraw

from segplugins.pictures.fonts import font_for, plain_line
from segplugins.pictures.legend import INK, PAPER

_JPEG_LONGEST = 65500
_TITLE_LETTERS = 12
_GAP = 6


def beside(pictures: Sequence[np.ndarray], *more: np.ndarray, gap: int = _GAP) -> np.ndarray:
    """Returns pictures (h, w, 3) uint8 RGB in a row on light paper, tops aligned."""
    row = [*pictures, *more]
    height = max(picture.shape[0] for picture in row)
    width = sum(picture.shape[1] for picture in row) + gap * (len(row) - 1)
    paper = np.empty((height, width, 3), np.uint8)
    left = 0
    for picture in row:
        right = left + picture.shape[1]
        paper[: picture.shape[0], left:right] = picture
        paper[picture.shape[0] :, left:right] = PAPER
        paper[:, right : right + gap] = PAPER
        left = right + gap
    return paper


def stacked(pictures: Sequence[np.ndarray], *more: np.ndarray, gap: int = _GAP) -> np.ndarray:
    """Returns pictures (h, w, 3) uint8 RGB one above the other on light paper."""
    column = [*pictures, *more]
    return beside([picture.transpose(1, 0, 2) for picture in column], gap=gap).transpose(1, 0, 2)


def sheet(
    pictures: Sequence[np.ndarray], *, columns: int, titles: Optional[Sequence[str]] = None
) -> np.ndarray:
    """Returns pictures in rows, a title above each where given.

    Args:
        pictures: (h, w, 3) uint8 RGB each, any sizes.
        columns: pictures in a row.
        titles: one per picture.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    cells = list(pictures)
    if titles is not None:
        cells = [_titled(picture, title) for picture, title in zip(cells, titles)]
    width = max(cell.shape[1] for cell in cells)
    rows: List[np.ndarray] = []
    for start in range(0, len(cells), columns):
        rows.append(beside([_padded(cell, width) for cell in cells[start : start + columns]]))
    return stacked(rows)


def save_picture(path: Union[str, Path], picture: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB by the file's ending; folders are made.

    Raises:
        ValueError: the picture is longer than a JPEG can be.
    """
    path = Path(path)
    if path.suffix.lower() in (".jpg", ".jpeg") and max(picture.shape[:2]) > _JPEG_LONGEST:
        raise ValueError(
            f"'{path}': {picture.shape[1]}x{picture.shape[0]} pixels, but a JPEG holds "
            f"{_JPEG_LONGEST} a side; choose .png, or fewer pictures"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    title = plain_line(title)
    font = font_for(title, _TITLE_LETTERS)
    width = max(picture.shape[1], 8 + int(font.getlength(title)))
    band = Image.new("RGB", (width, _TITLE_LETTERS + 6), PAPER)
    ImageDraw.Draw(band).text((2, 1), title, fill=INK, font=font)
    return np.concatenate([np.asarray(band), _padded(picture, width)])


def _padded(picture: np.ndarray, width: int) -> np.ndarray:
    missing = max(0, width - picture.shape[1])
    paper = np.full((picture.shape[0], missing, 3), PAPER, np.uint8)
    return np.concatenate([picture, paper], axis=1) if missing else picture
