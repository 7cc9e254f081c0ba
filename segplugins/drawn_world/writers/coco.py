"""COCO: instance and panoptic JSON."""

from typing import Any, Dict, List, Sequence

from ..classes import ClassList
from ..observe import VisibleRegion
from ..splits import Drawing
from .labels import panoptic_ids

LICENCE = "CC0-1.0"


def image_entry(drawing: Drawing) -> Dict[str, Any]:
    """Returns the "images" entry of a drawing."""
    height, width = drawing.picture.segments.shape
    return {
        "id": drawing.image_id,
        "file_name": f"{drawing.stem}.png",
        "height": height,
        "width": width,
    }


def annotation_id(drawing: Drawing, region: VisibleRegion) -> int:
    """Returns a number that no other thing in any image of the world has."""
    return drawing.image_id * 256 + region.segment


def instance_entries(drawing: Drawing, classes: ClassList) -> List[Dict[str, Any]]:
    """Returns the "annotations" entries: one per visible thing, masks as RLE of what is visible.

    Beside COCO's keys an entry has "attributes": colour and support.
    """
    return [
        {
            "id": annotation_id(drawing, region),
            "image_id": drawing.image_id,
            "category_id": classes.names.index(region.name) + 1,
            "bbox": xywh(region),
            "area": region.area,
            "iscrowd": 0,
            "segmentation": region.rle,
            "attributes": {"colour": region.colour, "support": region.support},
        }
        for region in drawing.things
    ]


def panoptic_entry(drawing: Drawing, classes: ClassList) -> Dict[str, Any]:
    """Returns the "annotations" entry of an image in a panoptic file."""
    ids = panoptic_ids(drawing, classes)
    return {
        "image_id": drawing.image_id,
        "file_name": f"{drawing.stem}.png",
        "segments_info": [
            {
                "id": ids[region.segment],
                "category_id": classes.names.index(region.name) + 1,
                "area": region.area,
                "bbox": xywh(region),
                "iscrowd": 0,
            }
            for region in (*drawing.stuff, *drawing.things)
        ],
    }


def instance_file(records: Sequence[Dict[str, Any]], classes: ClassList) -> Dict[str, Any]:
    """Returns a COCO instance file; its categories are the things, with id = class index + 1."""
    return {
        "info": {"description": "the drawn world, instances", "version": "1"},
        "licenses": [{"id": 1, "name": LICENCE}],
        "images": [record["image"] for record in records],
        "annotations": [entry for record in records for entry in record["instances"]],
        "categories": [
            {"id": index + 1, "name": name, "supercategory": "thing"}
            for index, name in enumerate(classes.names)
            if classes.is_thing(name)
        ],
    }


def panoptic_file(records: Sequence[Dict[str, Any]], classes: ClassList) -> Dict[str, Any]:
    """Returns a COCO panoptic file; its categories are all classes, with id = class index + 1."""
    return {
        "info": {"description": "the drawn world, panoptic", "version": "1"},
        "licenses": [{"id": 1, "name": LICENCE}],
        "images": [record["image"] for record in records],
        "annotations": [record["panoptic"] for record in records],
        "categories": [
            {"id": index + 1, "name": name, "isthing": int(classes.is_thing(name))}
            for index, name in enumerate(classes.names)
        ],
    }


def xywh(region: VisibleRegion) -> List[int]:
    """Returns the box as COCO writes it: left, top, width, height."""
    left, top, right, bottom = region.box
    return [left, top, right - left, bottom - top]
