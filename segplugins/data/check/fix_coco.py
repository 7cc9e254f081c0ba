"""Cleaned copies of COCO instance and panoptic files."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from detectron2.data import MetadataCatalog

from segplugins.data.check.edits import Edits, normalised
from segplugins.data.check.run import Checked
from segplugins.files.exchange import is_foreign, read_foreign
from segplugins.files.faults import Collect
from segplugins.files.json_file import dump_json, read_json
from segplugins.files.values import Id, as_box, as_flag, as_id, as_mask, as_number, as_path, as_side
from segplugins.structures.regions import box_of_mask, decode_mask


def _drawn_mask(value: Any) -> Any:
    """Returns a mask in normal form, without polygons that cover nothing."""
    mask = as_mask(value)
    return [polygon for polygon in mask if len(polygon) >= 6] if isinstance(mask, list) else mask


_IMAGE_FORMS = {"id": as_id, "file_name": as_path, "height": as_side, "width": as_side}
_SEGMENT_FORMS = {
    "id": as_id,
    "category_id": as_id,
    "iscrowd": lambda value: int(as_flag(value)),
    "area": as_number,
}
_ANNOTATION_FORMS = {
    **_SEGMENT_FORMS,
    "image_id": as_id,
    "bbox": as_box,
    "segmentation": _drawn_mask,
}


def clean_instances(checked: Checked, path: str) -> Tuple[str, Counter]:
    """Cleans a COCO instance file.

    Args:
        checked: the set.
        path: of the file.

    Returns:
        JSON text, and what was left out or mended.
    """
    content, edits, done = _content(checked, path)
    images = _images(content, edits, checked, done)
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    categories, category_of = _categories(content, edits, done)
    image_of = _aliases(content, edits, "images")
    out = {entry for _, entry in edits.regions}
    free = 1 + max([0, *_numbers(content["annotations"])])
    kept = []
    for position, annotation in edits.apply(content["annotations"], "annotations"):
        annotation = normalised(annotation, _forms(annotation, _ANNOTATION_FORMS), done)
        annotation["image_id"] = image_of.get(annotation["image_id"], annotation["image_id"])
        number = annotation["category_id"]
        annotation["category_id"] = category_of.get(number, number)
        if not _has_id(annotation):
            annotation["id"] = free + position
        if annotation["image_id"] in sizes and annotation["id"] not in out:
            kept.append(_completed(annotation, sizes[annotation["image_id"]], done))
    if is_foreign(Path(path)):
        kept = [{**annotation, "id": number} for number, annotation in enumerate(kept, 1)]
        faults = [fault for fault in checked.faults if fault.position < 0 and fault.entry is None]
        done["shapes and files left out"] = len(faults)
    done["images left out"] += len(content["images"]) - len(images)
    done["annotations left out"] += len(content["annotations"]) - len(kept)
    text = dump_json({**content, "images": images, "annotations": kept, "categories": categories})
    return text, done


def clean_panoptic(checked: Checked, path: str) -> Tuple[str, Counter]:
    """Cleans a COCO panoptic file; see `clean_instances`."""
    content, edits, done = _content(checked, path)
    images = _images(content, edits, checked, done)
    numbers = {image["id"] for image in images}
    categories, category_of = _categories(content, edits, done)
    image_of = _aliases(content, edits, "images")
    records = checked.loaded.records
    areas = {
        (records[position]["image_id"], entry): value
        for (position, entry), (_, value) in edits.region_values.items()
    }
    kept = []
    for position, annotation in edits.apply(content["annotations"], "annotations"):
        number = as_id(annotation["image_id"])
        annotation["image_id"] = number = image_of.get(number, number)
        if number not in numbers:
            continue
        segments = []
        listed = annotation["segments_info"]
        for _, segment in edits.apply(listed, "annotations", position, "segments_info"):
            segment = normalised(segment, _forms(segment, _SEGMENT_FORMS), done)
            category = segment["category_id"]
            segment["category_id"] = category_of.get(category, category)
            if (number, segment["id"]) in areas:
                segment["area"] = areas[number, segment["id"]]
            segments.append(segment)
        done["segments left out"] += len(listed) - len(segments)
        kept.append({**annotation, "segments_info": segments})
    done["images left out"] += len(content["images"]) - len(images)
    text = dump_json({**content, "images": images, "annotations": kept, "categories": categories})
    return text, done


def _content(checked: Checked, path: str) -> Tuple[Dict[str, Any], Edits, Counter]:
    content = _of_another_program(checked, path) if is_foreign(Path(path)) else read_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise ValueError(f"'{key}' of {path} is no list; nothing of the file can be kept")
    edits = Edits(checked.findings.faults, path)
    return content, edits, edits.count()


def _of_another_program(checked: Checked, path: str) -> Dict[str, Any]:
    """Returns the file in COCO's form; its faults are known, and the entries left out again."""
    metadata = MetadataCatalog.get(checked.loaded.name)
    options = metadata.reading["foreign"]
    return read_foreign(Path(path), Collect(), image_root=Path(metadata.image_root), **options)


def _forms(entry: Mapping[str, Any], forms: Mapping[str, Any]) -> Dict[str, Any]:
    """Leaves null alone: a value that is not given has no normal form."""
    return {key: form for key, form in forms.items() if entry.get(key) is not None}


def _images(
    content: Mapping[str, Any], edits: Edits, checked: Checked, done: Counter
) -> List[Dict[str, Any]]:
    records = {record["image_id"]: record for record in checked.loaded.records}
    faulty = {checked.loaded.records[position]["image_id"] for position in edits.records}
    kept = []
    for _, image in edits.apply(content["images"], "images"):
        image = normalised(image, _forms(image, _IMAGE_FORMS), done)
        record = records.get(image["id"])
        if image["id"] in faulty:
            continue
        for key in ("height", "width"):
            if image.get(key) is None and record is not None:
                image[key] = record[key]
                done["sizes taken from pictures"] += 1
        kept.append(image)
    return kept


def _categories(
    content: Mapping[str, Any], edits: Edits, done: Counter
) -> Tuple[List[Dict[str, Any]], Dict[Id, Id]]:
    kept = edits.apply(content["categories"], "categories")
    categories = [normalised(category, {"id": as_id}, done) for _, category in kept]
    return categories, _aliases(content, edits, "categories")


def _aliases(content: Mapping[str, Any], edits: Edits, key: str) -> Dict[Id, Id]:
    """Returns, per id of an entry that stands for another one, the id of that."""
    return {
        as_id(content[key][place[1]]["id"]): number
        for place, number in edits.same.items()
        if place[0] == key
    }


def _numbers(annotations: List[Any]) -> List[int]:
    numbers = [as_id(annotation["id"]) for annotation in annotations if _has_id(annotation)]
    return [number for number in numbers if isinstance(number, int)]


def _has_id(annotation: Any) -> bool:
    try:
        as_id(annotation["id"])
    except (ValueError, KeyError, TypeError):
        return False
    return True


def _completed(annotation: Dict[str, Any], size: Tuple[int, int], done: Counter) -> Dict[str, Any]:
    """Makes a missing box and area from the mask."""
    missing = [key for key in ("bbox", "area") if annotation.get(key) is None]
    mask = annotation.get("segmentation")
    if not missing or not mask:
        return annotation
    if isinstance(mask, dict) and mask.get("size") is None:
        mask["size"] = list(size)
    try:
        bitmap = decode_mask(mask, *size)
    except ValueError:
        return annotation  # of a set of boxes, which does not read masks
    box = box_of_mask(bitmap)
    if box is None:
        return annotation
    x0, y0, x1, y1 = box
    made = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(bitmap.sum())}
    done["boxes and areas made from masks"] += len(missing)
    return {**annotation, **{key: made[key] for key in missing}}
