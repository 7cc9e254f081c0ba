"""Visible regions of a picture: every thing and stuff class with its mask, box and place."""

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import numpy as np
from pycocotools import mask as coco_mask

from .classes import all_stuff, all_things
from .paint import FIRST_THING, STUFF_SEGMENTS, Picture
from .scene import Scene

# A thing counts for words (phrases, captions, tags) from this share of the picture on, in
# thousandths: about 33 pixels of a 128 x 128 one.
_WORTH_A_WORD = 2


@dataclass(frozen=True)
class VisibleRegion:
    """A thing of which at least one pixel can be seen; or a stuff class.

    Args:
        segment: its value in `Picture.segments`.
        name: its class.
        colour: name of its colour, "" where it has its own.
        support: the stuff that it stands on; "sky" for what flies; "" for stuff.
        area: visible pixels.
        box: (left, top, right, bottom) in pixels of what is visible, right and bottom exclusive.
        rle: COCO RLE of what is visible, counts as text.
        salience: how much it catches the eye; compare within one picture.
        speed: units to the right per frame.
        worded: whether it is big enough to be talked about.
    """

    segment: int
    name: str
    colour: str
    support: str
    area: int
    box: Tuple[int, int, int, int]
    rle: Dict[str, Any]
    salience: int
    speed: int
    worded: bool


def observe(scene: Scene, picture: Picture) -> Tuple[List[VisibleRegion], List[VisibleRegion]]:
    """Returns the visible things, in painting order, and the visible stuff, in class order."""
    areas = np.bincount(picture.segments.ravel(), minlength=256)
    values = [value for value in range(1, 256) if areas[value]]
    masks = picture.segments[..., None] == np.array(values, np.uint8)
    rles = coco_mask.encode(np.asfortranarray(masks.view(np.uint8)))
    boxes = coco_mask.toBbox(rles).astype(np.int64).tolist()
    things, stuff = [], []
    pixels = picture.segments.size
    for value, rle, (left, top, wide, high) in zip(values, rles, boxes):
        rle = {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
        area = int(areas[value])
        where = (left, top, left + wide, top + high)
        worded = area * 1000 >= _WORTH_A_WORD * pixels
        if value < FIRST_THING:
            name = all_stuff()[value - STUFF_SEGMENTS[all_stuff()[0]]]
            stuff.append(VisibleRegion(value, name, "", "", area, where, rle, 0, 0, worded))
            continue
        thing = scene.things[value - FIRST_THING]
        salience = _salience(thing.name, area, where, picture.segments.shape)
        things.append(
            VisibleRegion(
                value,
                thing.name,
                thing.colour,
                thing.support,
                area,
                where,
                rle,
                salience,
                thing.speed,
                worded,
            )
        )
    return things, stuff


def _salience(name: str, area: int, box: Tuple[int, int, int, int], size: Tuple[int, ...]) -> int:
    """Area, weighed by class and by how near the middle it is (twice as much as in a corner)."""
    height, width = size[:2]
    across = abs(box[0] + box[2] - width) * 100 // width
    down = abs(box[1] + box[3] - height) * 100 // height
    central = 200 - (across + down) // 2
    return area * 10000 // (height * width) * all_things()[name].salient * central // 200


def outstanding(things: List[VisibleRegion]) -> List[VisibleRegion]:
    """Returns the one thing that stands out, in a list; an empty list where none does.

    It must be half again as salient as the next, and not hang behind the landscape.
    """
    ranked = sorted(things, key=lambda region: -region.salience)
    ranked = [region for region in ranked if all_things()[region.name].place != "sky"]
    if not ranked or not ranked[0].worded:
        return []
    if len(ranked) > 1 and 2 * ranked[0].salience < 3 * ranked[1].salience:
        return []
    return ranked[:1]
