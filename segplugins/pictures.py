"""Label maps as pictures that people can read: overlay, legend, sheets of pictures, curves.

Images are (H, W, 3) uint8 RGB, label maps (H, W) integers; a label without a name is left clear.
"""

import colorsys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GOLDEN = 0.618033988749895
_PAPER = (250, 250, 248)
_INK = (40, 40, 44)
_ROW = 18
_SWATCH = 12
_DASH = 6  # pixels
_LONGEST = 60  # characters of a name in a legend of masks


def class_colours(count: int) -> np.ndarray:
    """Returns: (count, 3) uint8 RGB. A class keeps its colour when classes are added behind it."""
    saturations, values = (0.80, 0.55, 0.95), (0.95, 0.75, 0.60)
    colours = [
        colorsys.hsv_to_rgb((i * _GOLDEN) % 1.0, saturations[i % 3], values[i // 3 % 3])
        for i in range(count)
    ]
    return (255 * np.array(colours).reshape(count, 3)).round().astype(np.uint8)


def overlay(
    image: np.ndarray, labels: np.ndarray, count: int, *, alpha: float = 0.55
) -> np.ndarray:
    """Paints the classes over an image, with a thin light line where they meet.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers; those outside 0..count-1 leave the image as it is.
        count: number of classes.
        alpha: share of the class colour in a painted pixel, 0-1.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: image and labels differ in size.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image is {image.shape[:2]} pixels, its label map {labels.shape}")
    labels = labels.astype(np.int64)
    named = (labels >= 0) & (labels < count)
    colours = class_colours(count)[np.where(named, labels, 0)].astype(np.float32)
    painted = image * (1 - alpha) + colours * alpha
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    painted[edge] = painted[edge] * 0.4 + 255 * 0.6
    return np.where((named | edge)[..., None], painted, image).round().astype(np.uint8)


def legend(labels: np.ndarray, names: Sequence[str], *, height: int) -> np.ndarray:
    """Draws the classes of a label map with their colour and share, largest first.

    Args:
        labels: (H, W) integers.
        names: the classes; labels outside are left out.
        height: pixels of the panel, at least; it grows when there are more classes.

    Returns:
        (>= height, width, 3) uint8 RGB.
    """
    labels = labels[(labels >= 0) & (labels < len(names))].astype(np.int64)
    counts = np.bincount(labels, minlength=len(names))
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    colours = class_colours(len(names))
    shares = [f"{names[i]}  {100 * counts[i] / counts.sum():.0f} %" for i in order]
    return _panel(colours[order], shares, height)


def labelled_picture(
    image: np.ndarray, labels: np.ndarray, names: Sequence[str], *, short_side: int = 256
) -> np.ndarray:
    """Image, overlay and legend side by side; small images are enlarged so that they can be seen.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers over `names`.
        names: the classes.
        short_side: pixels that the short side has at least in the picture.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    return beside(
        [enlarged(image, short_side), enlarged_overlay(image, labels, len(names), short_side)],
        legend(labels, names, height=0),
    )


def overlay_masks(image: np.ndarray, masks: np.ndarray, *, alpha: float = 0.4) -> np.ndarray:
    """Paints masks that may overlap over an image: each tinted and with an outline in its colour.

    Where masks overlap, tints mix; where outlines run together, they take turns as dashes.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (T, H, W) bool; each keeps its colour when masks are added behind it.
        alpha: share of the colours in a painted pixel, 0-1.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: image and masks differ in size.
    """
    if image.shape[:2] != masks.shape[1:]:
        raise ValueError(f"image is {image.shape[:2]} pixels, its masks {masks.shape[1:]}")
    colours = class_colours(len(masks)).astype(np.float32)
    outlines = [_outline(mask) for mask in masks]
    tint, covered = np.zeros(image.shape, np.float32), np.zeros(image.shape[:2], np.int64)
    for mask, colour in zip(masks, colours):
        tint[mask] += colour
        covered += mask
    tint /= np.maximum(covered, 1)[..., None]
    painted = np.where(covered[..., None] > 0, image * (1 - alpha) + tint * alpha, image)
    meeting = np.sum(outlines, axis=0, dtype=np.int64)
    rows, columns = np.indices(image.shape[:2])
    turn = (rows + columns) // _DASH % np.maximum(meeting, 1)
    for outline, colour in zip(outlines, colours):
        painted[outline & (turn == 0)] = colour
        turn -= outline  # of the outlines that meet here, the next one's place in turn
    return painted.round().astype(np.uint8)


def masks_picture(
    image: np.ndarray, masks: np.ndarray, names: Sequence[str], *, short_side: int = 256
) -> np.ndarray:
    """Image, masks over it and legend side by side, enlarged like `labelled_picture`.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (T, H, W) bool.
        names: of the masks; long ones are cut in the legend.
        short_side: pixels that the short side has at least in the picture.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    large = enlarged(image, short_side)
    size = (large.shape[1], large.shape[0])
    resized = [
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for mask in masks
    ]
    painted = overlay_masks(large, np.stack(resized).astype(bool))
    short = [n if len(n) <= _LONGEST else f"{n[: _LONGEST - 3]}..." for n in names]
    texts = [f"{name}  {100 * mask.mean():.0f} %" for name, mask in zip(short, masks)]
    return beside([large, painted], _panel(class_colours(len(masks)), texts, 0))


def enlarged(image: np.ndarray, short_side: int) -> np.ndarray:
    """Returns: the image with a short side of at least `short_side` pixels."""
    factor = max(1.0, short_side / min(image.shape[:2]))
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if factor > 1 else image


def enlarged_overlay(
    image: np.ndarray, labels: np.ndarray, count: int, short_side: int
) -> np.ndarray:
    """Returns: the overlay at the size of `enlarged`, its lines still one pixel thin."""
    large = enlarged(image, short_side)
    size = (large.shape[1], large.shape[0])
    resized = cv2.resize(
        labels.astype(np.int32).astype(np.float32), size, interpolation=cv2.INTER_NEAREST
    )
    return overlay(large, resized.astype(np.int64), count)


def beside(pictures: Sequence[np.ndarray], *more: np.ndarray, gap: int = 6) -> np.ndarray:
    """Returns: the pictures in a row on light paper, tops aligned."""
    row = [*pictures, *more]
    height = max(picture.shape[0] for picture in row)
    width = sum(picture.shape[1] for picture in row) + gap * (len(row) - 1)
    paper = np.full((height, width, 3), _PAPER, np.uint8)
    left = 0
    for picture in row:
        paper[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return paper


def sheet(
    pictures: Sequence[np.ndarray], *, columns: int, titles: Optional[Sequence[str]] = None
) -> np.ndarray:
    """Lays pictures out in rows, a title above each where given.

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
        row = [_padded(cell, width) for cell in cells[start : start + columns]]
        rows.append(beside(row))
    full = max(row.shape[1] for row in rows)
    gap = np.full((6, full, 3), _PAPER, np.uint8)
    stacked = [part for row in rows for part in (_padded(row, full), gap)]
    return np.concatenate(stacked[:-1])


def curves(
    path: Union[str, Path],
    panels: Dict[str, Dict[str, Tuple[Sequence[float], Sequence[float]]]],
    *,
    across: str = "iteration",
) -> None:
    """Writes a PNG with one panel a quantity.

    Args:
        path: the file, overwritten.
        panels: y-axis title to {line name: (x values, y values)}.
        across: x-axis title.
    """
    from matplotlib.figure import Figure  # half a second that only who draws should pay

    figure = Figure(figsize=(5.2 * len(panels), 3.4), layout="constrained")
    for position, (title, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), position)
        for name, (x, y) in lines.items():
            axes.plot(x, y, label=name, linewidth=1.6, marker="o" if len(x) < 12 else None)
        axes.set_xlabel(across)
        axes.set_ylabel(title)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def save_picture(path: Union[str, Path], picture: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB by the file's ending; folders are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=12)


def _panel(colours: np.ndarray, texts: Sequence[str], height: int) -> np.ndarray:
    """A legend: one row per colour with its text."""
    font = _font()
    width = 40 + max([int(font.getlength(text)) for text in texts], default=40)
    panel = Image.new("RGB", (width, max(height, _ROW * len(texts) + 10)), _PAPER)
    draw = ImageDraw.Draw(panel)
    for row, (colour, text) in enumerate(zip(colours, texts)):
        top = 6 + row * _ROW
        box = (10, top + 2, 10 + _SWATCH, top + 2 + _SWATCH)
        draw.rectangle(box, fill=tuple(int(c) for c in colour), outline=_INK)
        draw.text((30, top), text, fill=_INK, font=font)
    return np.asarray(panel)


def _outline(mask: np.ndarray) -> np.ndarray:
    """The outermost two pixels of a mask, at the image's border too."""
    inside = cv2.erode(
        mask.astype(np.uint8),
        np.ones((3, 3), np.uint8),
        iterations=2,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return mask & (inside == 0)


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    band = Image.new(
        "RGB", (max(picture.shape[1], 8 + int(_font().getlength(title))), _ROW), _PAPER
    )
    ImageDraw.Draw(band).text((2, 2), title, fill=_INK, font=_font())
    width = band.width
    return np.concatenate([np.asarray(band), _padded(picture, width)])


def _padded(picture: np.ndarray, width: int) -> np.ndarray:
    missing = max(0, width - picture.shape[1])
    paper = np.full((picture.shape[0], missing, 3), _PAPER, np.uint8)
    return np.concatenate([picture, paper], axis=1) if missing else picture
