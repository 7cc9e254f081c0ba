"""Results as pictures to show: colours, outlines, names, scores and a legend.

    painted = draw_label_map(image, label_map, ("sky", "grass", "red car"))
    painted = draw_masks(image, masks, ("person", "person", "dog"), scores=(0.98, 0.71, 0.66))
    save_picture("painted.jpg", painted)

Images are (H, W, 3) uint8 RGB. A small image is enlarged for drawing and a huge one reduced, see
`sizes.drawing_size`; letters, lines and legend suit the size of the drawn picture.
"""

from dataclasses import dataclass
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from segplugins.pictures.colours import class_colours, distinct_colours, picture_colours
from segplugins.pictures.legend import LegendRow, draw_legend
from segplugins.pictures.names import NamePlates
from segplugins.pictures.painting import (
    LABEL_MAP_ALPHA,
    MASK_ALPHA,
    check_size,
    class_indices,
    paint_label_map,
    paint_regions,
    region_of,
)
from segplugins.pictures.rows import class_rows, grouped_rows, mean_colour, mean_colours, with_score
from segplugins.pictures.sheets import beside, stacked
from segplugins.pictures.sizes import (
    LONGEST,
    drawing_size,
    line_width,
    resized_image,
    resized_labels,
    text_size,
)

_WIDE = 1.9  # width over height from which things stand below each other
_MOST_NAMED = 80  # instances that get a plate


@dataclass(frozen=True)
class Style:
    """How results are drawn.

    Args:
        legend: whether a legend with every painted name is added.
        plates: whether names stand on their regions.
        original: whether the image itself is shown beside the painted one.
        alpha: share of the colours in painted pixels, 0-1; None = 0.6 for maps, 0.42 for masks.
        short_side: pixels to which a small image is enlarged, while its long side is below 1024.
        longest_side: pixels of the drawn image at most.
        min_score: instances of a lower score are counted in the legend, not painted; detectors
            that answer with a hundred of them would hide the image.
    """

    legend: bool = True
    plates: bool = True
    original: bool = False
    alpha: Optional[float] = None
    short_side: int = 256
    longest_side: int = LONGEST
    min_score: float = 0.25

    def size(self, image: np.ndarray) -> Tuple[int, int]:
        """Returns the height and width at which an image is drawn."""
        return drawing_size(
            *image.shape[:2], short_side=self.short_side, longest_side=self.longest_side
        )

    def opacity(self, default: float) -> float:
        """Returns `alpha`, or the default if there is none."""
        return default if self.alpha is None else self.alpha


DEFAULT_STYLE = Style()


def draw_label_map(
    image: np.ndarray,
    label_map: np.ndarray,
    names: Sequence[str],
    *,
    scores: Optional[Sequence[float]] = None,
    unpainted: Sequence[int] = (),
    colours: Optional[np.ndarray] = None,
    segments: Optional[np.ndarray] = None,
    style: Style = DEFAULT_STYLE,
) -> np.ndarray:
    """Returns an image with its classes painted over it, their names on them and a legend.

    Args:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) integers; those outside 0..K-1 leave the image as it is.
        names: the K classes. A name has its colour in every picture, see `class_colours`.
        scores: K numbers 0-1 that are shown with the names; NaN = none.
        unpainted: classes that leave the image as it is, such as "none of these".
        colours: (K, 3) uint8 RGB; left out: those of the names, see `picture_colours`.
        segments: (H, W) integers that change where a line is drawn; left out: the classes.
        style: what is shown beside the colours, and how large.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: image and label map differ in size.
    """
    check_size(image, label_map.shape, "label map")
    size = style.size(image)
    image = resized_image(image, size)
    classes = class_indices(resized_labels(label_map, size), len(names))
    for index in unpainted:
        classes[classes == index] = len(names)
    areas = np.bincount(classes.ravel(), minlength=len(names) + 1)
    present = [int(i) for i in np.argsort(-areas[:-1], kind="stable") if areas[i]]
    if colours is None:
        colours = picture_colours(names, present)
    lines = None if segments is None else resized_labels(segments, size)
    painted = paint_label_map(
        image, classes, colours, segments=lines, alpha=style.opacity(LABEL_MAP_ALPHA)
    )
    texts = {i: with_score(names[i], scores, i) for i in present}
    rows = class_rows(painted, classes, areas, texts)
    plates = NamePlates(painted, text_size(*size))
    for index in present if style.plates else ():
        plates.inside(plates.cells(classes == index), texts[index], colours[index])
    return _arranged(image, painted, rows, style)


def draw_masks(
    image: np.ndarray,
    masks: Iterable[np.ndarray],
    names: Sequence[str],
    *,
    scores: Optional[Sequence[float]] = None,
    vocabulary: Optional[Sequence[str]] = None,
    unpainted: str = "",
    style: Style = DEFAULT_STYLE,
) -> np.ndarray:
    """Returns an image with masks painted over it, each with outline, name and score; and a legend.

    Masks may overlap. Those of one name share its colour in different shades.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: N of (H, W) bool; an empty one stands in the legend alone. Of an iterator only one at
            a time is in memory at its full size.
        names: of the N masks: classes or phrases.
        scores: N numbers 0-1 that are shown with the names; NaN = none.
        vocabulary: all names that pictures of this run may show, so that each keeps its colour;
            left out: those of this picture.
        unpainted: the legend's last row, about what is not among these masks.
        style: what is shown beside the colours, and how large.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: image and masks differ in size, or masks, names and scores in number.
    """
    size = style.size(image)
    regions = []
    for mask in masks:
        check_size(image, np.shape(mask), "mask")
        regions.append(region_of(resized_labels(np.asarray(mask), size)))
    _check_numbers(len(regions), names, scores)
    image = resized_image(image, size)
    colours = _shades(names, _colours_of(names, vocabulary))
    painted = paint_regions(image, regions, colours, alpha=style.opacity(MASK_ALPHA))
    areas = [region.area for region in regions]
    seen = [mean_colour(painted, region) for region in regions]
    shown = [None] * len(names) if scores is None else scores
    rows = grouped_rows(names, seen, areas, size[0] * size[1], shown)
    rows += [LegendRow(unpainted, None)] if unpainted else []
    plates = NamePlates(painted, text_size(*size))
    for index in _largest(areas, _MOST_NAMED) if style.plates else ():
        text = with_score(names[index], scores, index)
        plates.atop(plates.region_cells(regions[index]), text, colours[index])
    return _arranged(image, painted, rows, style)


def draw_panoptic(
    image: np.ndarray,
    segment_map: np.ndarray,
    segments: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    *,
    style: Style = DEFAULT_STYLE,
) -> np.ndarray:
    """Returns an image with segments painted over it, things apart from each other; and a legend.

    Args:
        image: (H, W, 3) uint8 RGB.
        segment_map: (H, W) integers, ids of segments; pixels of other ids stay as they are.
        segments: detectron2's `segments_info`: "id", "category_id" in 0..K-1, "isthing" (True if
            left out), "score" (optional, 0-1).
        names: the K categories.
        style: what is shown beside the colours, and how large.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: image and segment map differ in size.
    """
    check_size(image, segment_map.shape, "segment map")
    size = style.size(image)
    image = resized_image(image, size)
    indices = _segment_indices(resized_labels(segment_map, size), segments)
    categories = [names[segment["category_id"]] for segment in segments]
    colours = _shades(categories, _colours_of(categories, names))
    painted = paint_label_map(image, indices, colours, alpha=style.opacity(LABEL_MAP_ALPHA))
    areas = np.bincount(indices.ravel(), minlength=len(segments) + 1)
    seen = mean_colours(painted, indices, areas)
    areas = areas[:-1]
    rows = grouped_rows(categories, seen, areas, indices.size, [None] * len(segments))
    plates = NamePlates(painted, text_size(*size))
    order = _largest(areas.tolist(), _MOST_NAMED) if style.plates else ()
    for index in sorted(order, key=lambda i: not segments[i].get("isthing", True)):
        segment = segments[index]
        text = with_score(categories[index], [segment.get("score", np.nan)], 0)
        put = plates.atop if segment.get("isthing", True) else plates.inside
        put(plates.cells(indices == index), text, colours[index])
    return _arranged(image, painted, rows, style)


def _check_numbers(masks: int, names: Sequence, scores: Optional[Sequence]) -> None:
    counts = {"masks": masks, "names": len(names)}
    if scores is not None:
        counts["scores"] = len(scores)
    if len(set(counts.values())) > 1:
        given = ", ".join(f"{count} {what}" for what, count in counts.items())
        raise ValueError(f"masks, names and scores belong together, got {given}")


def _colours_of(names: Sequence[str], vocabulary: Optional[Sequence[str]]) -> np.ndarray:
    """(N, 3) uint8: colours of names in a vocabulary, distinct in the picture."""
    all_names = list(dict.fromkeys([*(vocabulary or ()), *names]))
    table = dict(zip(all_names, class_colours(all_names)))
    present = list(dict.fromkeys(names))
    distinct = distinct_colours(
        np.array([table[name] for name in present], np.uint8).reshape(-1, 3)
    )
    colour_of = dict(zip(present, distinct))
    return np.array([colour_of[name] for name in names], np.uint8).reshape(-1, 3)


def _shades(names: Sequence[str], colours: np.ndarray) -> np.ndarray:
    """Instances of one name in lighter and darker shades of its colour, by turns; (N, 3) uint8."""
    turns, shaded = {}, colours.astype(np.float32)
    for index, name in enumerate(names):
        turn = turns[name] = turns.get(name, -1) + 1
        share, towards = ((0.0, 0), (0.3, 255), (0.25, 0), (0.5, 255))[turn % 4]
        shaded[index] += share * (towards - shaded[index])
    return shaded.round().astype(np.uint8)


def _segment_indices(ids: np.ndarray, segments: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Places in `segments` by id, their number where there is none; (H, W) integers."""
    known_ids = np.array([segment["id"] for segment in segments], np.int64)
    if not len(known_ids):
        return np.zeros(ids.shape, np.uint8)
    order = np.argsort(known_ids)
    place = np.searchsorted(known_ids[order], ids).clip(max=len(known_ids) - 1)
    is_known = known_ids[order][place] == ids
    count = len(known_ids)
    return np.where(is_known, order[place], count).astype(np.min_scalar_type(count))


def _largest(areas: Sequence[int], most: int) -> List[int]:
    order = sorted(range(len(areas)), key=lambda index: -areas[index])
    return [index for index in order if areas[index]][:most]


def _arranged(
    image: np.ndarray, painted: np.ndarray, rows: List[LegendRow], style: Style
) -> np.ndarray:
    """The parts side by side, or one above the other where the image is wide."""
    height, width = painted.shape[:2]
    letters = text_size(height, width)
    gap = 4 + 2 * line_width(height, width)
    wide = width > _WIDE * height
    parts = [image, painted] if style.original else [painted]
    picture = parts[0] if len(parts) == 1 else (stacked if wide else beside)(parts, gap=gap)
    if not style.legend:
        return picture
    if wide:
        return stacked([picture, draw_legend(rows, letters, width=picture.shape[1])], gap=gap)
    return beside([picture, draw_legend(rows, letters, height=height)], gap=gap)
