"""Regions: JSON lines, one image a line: (text, box, mask) triplets with captions and tags."""

from typing import Any, Dict, List

from ..captions import picture_words, region_captions, worth_naming
from ..dice import Dice
from ..options import WorldOptions
from ..splits import STREAMS, WORDS_STREAM, Drawing


def region_record(drawing: Drawing, options: WorldOptions, *, masks: bool) -> Dict[str, Any]:
    """Returns the line of an image.

    Args:
        drawing: the image.
        options: of its world; their seed chooses the words.
        masks: whether regions carry their mask. Without, only things are regions, as boxes.

    Returns:
        "caption" (salient concepts only), "full_caption", "captions" (both), "tags" (class names),
        "height", "width" (pixels), "regions": each "text" (class name), "box" XYXY in pixels,
        "mask" RLE or None, "is_thing", "extra" with "captions" and "colour".
    """
    light = drawing.scene.land.light
    dice = Dice(options.seed, WORDS_STREAM + STREAMS[drawing.split], drawing.index)
    height, width = drawing.picture.segments.shape
    words = picture_words(dice, drawing.things, drawing.stuff, light)
    regions: List[Dict[str, Any]] = [
        {
            "text": region.name,
            "box": list(region.box),
            "mask": region.rle if masks else None,
            "is_thing": options.class_list.is_thing(region.name),
            "extra": {"captions": region_captions(region, width, light), "colour": region.colour},
        }
        for region in (*drawing.things, *(worth_naming(drawing.stuff) if masks else ()))
        if region.worded
    ]
    return {
        **words,
        "captions": [words["caption"], words["full_caption"]],
        "height": height,
        "width": width,
        "regions": regions,
    }
