"""Colours over images: label maps with lines between classes, masks with outlines.

Images are (H, W, 3) uint8 RGB. All of it works on bytes, so that a large picture costs its own
size a few times and no more.
"""

from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from segplugins.pictures.sizes import line_width

LABEL_MAP_ALPHA = 0.6
MASK_ALPHA = 0.42
_EDGE_LIGHT = 0.75  # share of white in the line between two classes
_MANY_EDGES = 0.3  # share of the pixels on lines
_DASHES = 5  # line widths

Slices = Tuple[slice, slice]


def paint_label_map(
    image: np.ndarray,
    labels: np.ndarray,
    colours: np.ndarray,
    *,
    segments: Optional[np.ndarray] = None,
    alpha: float = LABEL_MAP_ALPHA,
) -> np.ndarray:
    """Returns the image with classes painted over it and a light line where they meet.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers; those outside 0..K-1 leave the image as it is.
        colours: (K, 3) uint8 RGB.
        segments: (H, W) integers; the lines are where these change, such as numbers of instances.
            Left out: the classes.
        alpha: share of the colour in a painted pixel, 0-1.

    Raises:
        ValueError: image and label map differ in size.
    """
    check_size(image, labels.shape, "label map")
    classes = class_indices(labels, len(colours))
    painted = cv2.addWeighted(image, 1 - alpha, _coloured(classes, colours), alpha, 0)
    cv2.copyTo(image, (classes == len(colours)).view(np.uint8), painted)
    edge = _edges(classes if segments is None else segments, line_width(*image.shape[:2]))
    # In a map of specks white lines would cover the classes.
    light = _EDGE_LIGHT if edge.mean() <= _MANY_EDGES else _EDGE_LIGHT / 3
    painted[edge] = _mixed(painted[edge], (255, 255, 255), light)
    return painted


def seen_class_colours(
    image: np.ndarray, labels: np.ndarray, colours: np.ndarray, *, alpha: float = LABEL_MAP_ALPHA
) -> np.ndarray:
    """Returns the colours of classes as they are seen over an image: blended with what is there.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers.
        colours: (K, 3) uint8 RGB.
        alpha: share of the colours in painted pixels, 0-1.

    Returns:
        (K, 3) uint8 RGB; a class without pixels keeps its colour.
    """
    seen = np.array(colours, np.uint8)
    for index in range(len(colours)):
        pixels = image[labels == index]
        if len(pixels):
            seen[index] = np.round((1 - alpha) * pixels.mean(axis=0) + alpha * colours[index])
    return seen


def class_indices(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns the labels with all outside 0..count-1 as `count`, (H, W) in the smallest type."""
    kind = np.min_scalar_type(count)
    inside = (labels >= 0) & (labels < count)
    return np.where(inside, labels, count).astype(kind)


def _coloured(classes: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: the colour of each index, black for an index without one."""
    if classes.dtype != np.uint8:
        return np.concatenate([colours, np.zeros((1, 3), np.uint8)])[classes]
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(colours), 0] = colours
    return cv2.LUT(cv2.merge([classes] * 3), table)


class Region(NamedTuple):
    """The pixels of a mask, cut to its bounding box so that many masks of a large picture fit.

    `place`: rows and columns of the box; `inside`: (h, w) uint8, 1 = inside; `area`: pixels.
    """

    place: Slices
    inside: np.ndarray
    area: int


def region_of(mask: np.ndarray) -> Region:
    """Returns the region of a mask (H, W) bool; that of an empty mask has no pixels."""
    pixels = np.ascontiguousarray(mask).view(np.uint8) if mask.dtype == bool else mask > 0
    left, top, width, height = cv2.boundingRect(np.asarray(pixels, np.uint8))
    place = (slice(top, top + height), slice(left, left + width))
    inside = np.array(pixels[place], np.uint8)
    return Region(place, inside, int(np.count_nonzero(inside)))


def paint_masks(
    image: np.ndarray,
    masks: Iterable[np.ndarray],
    colours: np.ndarray,
    *,
    alpha: float = MASK_ALPHA,
) -> np.ndarray:
    """Returns the image with masks painted over it, small ones on top, each with an outline.

    Where masks overlap, their colours mix; where outlines run together, they take turns as dashes.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: N of (H, W) bool.
        colours: (N, 3) uint8 RGB.
        alpha: share of a colour in a painted pixel, 0-1.

    Raises:
        ValueError: image and a mask differ in size.
    """
    regions = []
    for mask in masks:
        check_size(image, mask.shape, "mask")
        regions.append(region_of(mask))
    return paint_regions(image, regions, colours, alpha=alpha)


def paint_regions(
    image: np.ndarray, regions: Sequence[Region], colours: np.ndarray, *, alpha: float = MASK_ALPHA
) -> np.ndarray:
    """Returns `paint_masks` of masks that are cut to regions already."""
    painted = image.copy()
    width = line_width(*image.shape[:2]) + 1
    order = [i for i, region in enumerate(regions) if region.area]
    order.sort(key=lambda i: -regions[i].area)
    outlines: List[Tuple[Slices, np.ndarray]] = []
    for index in order:
        place, inside, _ = regions[index]
        _tint(painted[place], inside, colours[index], alpha)
        outlines.append((place, outline(inside, width)))
    _draw_outlines(painted, outlines, colours[order], _DASHES * width)
    return painted


def check_size(image: np.ndarray, size: Tuple[int, ...], what: str) -> None:
    """Raises a ValueError unless an image is (H, W, 3) uint8 and as large as its map or mask."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"image is {image.shape} of {image.dtype}, expected (height, width, 3) of uint8, RGB"
        )
    if image.shape[:2] != tuple(size):
        raise ValueError(f"image is {image.shape[:2]} pixels, its {what} {tuple(size)}")


def outline(mask: np.ndarray, width: int) -> np.ndarray:
    """Returns the outermost `width` pixels of a mask, at its border too; (H, W) bool."""
    side = 2 * width + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    inner = cv2.erode(
        mask.astype(np.uint8, copy=False), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return (mask > 0) & (inner == 0)


def _tint(region: np.ndarray, mask: np.ndarray, colour: np.ndarray, alpha: float) -> None:
    """Mixes a colour into the masked pixels of a region, in place."""
    steps = np.arange(256)[:, None] * (1 - alpha) + np.asarray(colour, float) * alpha
    tinted = cv2.LUT(region, steps.round().astype(np.uint8)[:, None])
    region[:] = cv2.copyTo(tinted, mask, region.copy())


def _draw_outlines(
    picture: np.ndarray,
    outlines: Sequence[Tuple[Slices, np.ndarray]],
    colours: np.ndarray,
    dash: int,
) -> None:
    meeting = np.zeros(picture.shape[:2], np.uint16)
    for place, line in outlines:
        meeting[place] += line
    outlines_drawn = np.zeros_like(meeting)
    for (place, line), colour in zip(outlines, colours):
        rows, columns = np.nonzero(line)
        turn = (rows + place[0].start + columns + place[1].start) // dash
        own_turn = turn % meeting[place][rows, columns] == outlines_drawn[place][rows, columns]
        picture[place][rows[own_turn], columns[own_turn]] = colour
        outlines_drawn[place] += line


def _edges(classes: np.ndarray, width: int) -> np.ndarray:
    """Where a pixel's value differs from that of the one above or to its left, (H, W) bool."""
    edge = np.zeros(classes.shape, np.uint8)
    edge[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    edge[1:] |= classes[1:] != classes[:-1]
    if width > 1:
        edge = cv2.dilate(edge, np.ones((width, width), np.uint8))
    return edge.astype(bool)


def _mixed(pixels: np.ndarray, colour: Sequence[int], share: float) -> np.ndarray:
    mixed = pixels.astype(np.float32) * (1 - share) + np.asarray(colour, np.float32) * share
    return mixed.round().astype(np.uint8)
