"""Labels: semantic, panoptic, part and saliency maps as PNG."""

from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np

from ..classes import ClassList, all_parts
from ..observe import VisibleRegion, outstanding
from ..splits import Drawing
from ..words import noun
from .files import write_png

IGNORE = 255
LABEL_FOLDERS = ("semantic", "attributes", "panoptic", "parts", "salient")


def write_labels(root: Path, drawing: Drawing, classes: ClassList) -> None:
    """Writes the label maps of a drawing below `root`/annotations.

    A saliency map is written only where one thing stands out.
    """
    name = f"{drawing.split}/{drawing.stem}.png"
    folder = root / "annotations"
    write_png(folder / "semantic" / name, semantic_map(drawing, classes))
    write_png(folder / "attributes" / name, attribute_map(drawing, classes))
    write_png(folder / "panoptic" / name, panoptic_map(drawing, classes))
    write_png(folder / "parts" / name, part_map(drawing, classes))
    salient = outstanding(drawing.things)
    if salient:
        write_png(folder / "salient" / name, salient_map(drawing, salient))


def semantic_map(drawing: Drawing, classes: ClassList) -> np.ndarray:
    """Returns (H, W) uint8: the class index of every pixel, 255 where there is none."""
    table = np.full(256, IGNORE, np.uint8)
    for region in (*drawing.stuff, *drawing.things):
        table[region.segment] = classes.names.index(region.name)
    return table[drawing.picture.segments]


def attribute_map(drawing: Drawing, classes: ClassList) -> np.ndarray:
    """Returns (H, W) uint8: the index of class and colour together, 255 where there is none."""
    table = np.full(256, IGNORE, np.uint8)
    for region in (*drawing.stuff, *drawing.things):
        table[region.segment] = classes.looks.index((region.name, region.colour))
    return table[drawing.picture.segments]


def attribute_names(classes: ClassList) -> List[str]:
    """Returns the classes of the attribute maps: "sky", "red car", "person in blue", ..."""
    return [noun(name, colour) if colour else name for name, colour in classes.looks]


def panoptic_ids(drawing: Drawing, classes: ClassList) -> Dict[int, int]:
    """Returns the panoptic id of every segment: unique in the image by its lowest byte."""
    ids = {}
    for region in (*drawing.stuff, *drawing.things):
        index = classes.names.index(region.name) + 1
        # The upper bytes only make the file pleasant to look at: one hue per class.
        ids[region.segment] = (
            region.segment + 256 * (index * 53 % 256) + 65536 * (index * 101 % 256)
        )
    return ids


def panoptic_map(drawing: Drawing, classes: ClassList) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB with id = R + 256 G + 65536 B, as COCO panoptic files have it."""
    table = np.zeros((256, 3), np.uint8)
    for segment, value in panoptic_ids(drawing, classes).items():
        table[segment] = (value & 255, value >> 8 & 255, value >> 16)
    return table[drawing.picture.segments]


def part_map(drawing: Drawing, classes: ClassList) -> np.ndarray:
    """Returns (H, W) uint8: index of the part, the number of parts where there is none."""
    ours = classes.parts
    table = np.full(256, len(ours), np.uint8)
    for value, part in enumerate(all_parts(), start=1):
        if part in ours:
            table[value] = ours.index(part)
    return table[drawing.picture.parts]


def part_names(classes: ClassList) -> List[str]:
    """Returns the classes of the part maps: "car wheel", ..., and "background" as the last."""
    return [*(f"{name} {part}" for name, part in classes.parts), "background"]


def salient_map(drawing: Drawing, salient: Sequence[VisibleRegion]) -> np.ndarray:
    """Returns (H, W) uint8: 255 on what stands out, else 0."""
    table = np.zeros(256, np.uint8)
    for region in salient:
        table[region.segment] = 255
    return table[drawing.picture.segments]
