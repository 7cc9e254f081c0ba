"""The true instances of a data set, from the records of the catalog.

Values are accepted in the forms that annotation files may have them in, see files/values.py.
"""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from segplugins.evaluation.instance_truth import InstanceTruth, TrueImage, TrueInstance, to_rle
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.targets import regions_of
from segplugins.files.values import as_box, as_flag, as_id, as_mask, as_number, as_side
from segplugins.structures.regions import Region

_MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def truth_from_records(records: Sequence[Mapping], names: Sequence[str]) -> InstanceTruth:
    """Takes the truth from the catalog.

    Args:
        records: with "image_id", "height", "width" and either "regions" (those with a class index
            count; `extra` may hold "iscrowd" and "area") or detectron2's "annotations".
        names: K class names.

    Raises:
        ValueError: a record has neither, lacks its size, or holds an instance that is none: a class
            outside 0..K-1, a box, mask, area or "iscrowd" that is no such thing; names the image.
    """
    images = {}
    for record in records:
        image = images[record["image_id"]] = _image(record)
        for facts in _facts_of(record):
            try:
                image.instances.append(_instance(facts, image, len(names)))
            except ValueError as error:
                raise ValueError(f"{describe(record)}: {error}") from error
    return InstanceTruth(tuple(names), tuple(range(len(names))), images)


def _image(record: Mapping[str, Any]) -> TrueImage:
    sides = []
    for name in ("height", "width"):
        try:
            sides.append(as_side(record.get(name)))
        except ValueError as error:
            raise ValueError(f"{describe(record)}: {name} {error}") from None
    return TrueImage(*sides)


def _facts_of(record: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    """Returns the annotations of a record in detectron2's form."""
    if "regions" in record:
        return [_of_region(region) for region in regions_of(record) if region.has_target]
    if "annotations" in record:
        return record["annotations"]
    raise ValueError(f"{describe(record)}: neither regions nor annotations to score by")


def _of_region(region: Region) -> Mapping[str, Any]:
    return {
        "category_id": region.class_index,
        "bbox": region.box,
        "bbox_mode": BoxMode.XYXY_ABS,
        "segmentation": region.mask,
        "iscrowd": region.extra.get("iscrowd"),
        "area": region.extra.get("area"),
    }


def _instance(facts: Mapping[str, Any], image: TrueImage, num_classes: int) -> TrueInstance:
    """Without an "area" among the facts it is that of the mask, or else of the box."""
    category = _category(facts.get("category_id"), num_classes)
    mask = as_mask(facts.get("segmentation"))
    rle = None if mask is None else to_rle(mask, image.height, image.width)
    box = _box(facts, rle)
    try:
        crowd = as_flag(facts.get("iscrowd"))
    except ValueError as error:
        raise ValueError(f"an instance of class {category} has iscrowd {error}") from None
    area = _area(facts.get("area"), category, image)
    if area is None:
        area = float(box[2] * box[3] if rle is None else coco_mask.area(rle))
    return TrueInstance(category, box, area, crowd, crowd, rle)


def _category(value: Any, num_classes: int) -> int:
    try:
        category = as_id(value)
    except ValueError:
        category = None
    if not isinstance(category, int) or not 0 <= category < num_classes:
        raise ValueError(f"an instance of class {value!r}, expected 0..{num_classes - 1}")
    return category


def _box(facts: Mapping[str, Any], rle: Optional[dict]) -> Tuple[float, float, float, float]:
    """Returns x, y, width and height: the box that is given, or else that of the mask."""
    if facts.get("bbox") is None:
        if rle is None:
            raise ValueError("an instance has neither a box nor a mask")
        return tuple(map(float, coco_mask.toBbox(rle)))
    box, mode = as_box(facts["bbox"]), facts.get("bbox_mode")
    if mode not in _MODES:
        raise ValueError(f"bbox_mode {mode!r}, expected BoxMode.XYXY_ABS or XYWH_ABS")
    box = BoxMode.convert(box, BoxMode(mode), BoxMode.XYWH_ABS)
    if box[2] < 0 or box[3] < 0:
        raise ValueError(f"the box {facts['bbox']!r:.80} ends before it begins")
    return tuple(box)


def _area(value: Any, category: int, image: TrueImage) -> Optional[float]:
    if value is None:
        return None
    pixels = image.height * image.width
    try:
        area = as_number(value)
    except ValueError:
        area = -1.0
    if not 0 <= area <= pixels:
        raise ValueError(
            f"an instance of class {category} has the area {value!r}, expected 0 to {pixels}, the "
            "pixels of its image"
        )
    return float(area)
