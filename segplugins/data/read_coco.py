"""COCO's JSON files: instances (also LVIS, boxes only, SeginW) and panoptic segments.

Categories are told apart by name, not by number: files of one data set number them differently.
"""

import json
import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from detectron2.structures import BoxMode

from segplugins.structures.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_KEPT = ("id", "iscrowd", "area", "attributes", "score")


def read_json(path: Path, *keys: str) -> Dict[str, Any]:
    """Returns the content of an annotation file.

    Raises:
        ValueError: it is no JSON, or one of the keys is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the latter where it is nested without end
        raise ValueError(f"annotation file {path} is not readable: {error}") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"annotation file {path} has no {missing}; is it the right file?")
    return content


def vocabulary_of_categories(categories: Sequence[Mapping[str, Any]], name: str) -> Vocabulary:
    """Returns the categories of a file, in the order of their ids, as a vocabulary.

    Raises:
        ValueError: there is none, one has no name, or two have the same.
    """
    ordered = sorted(categories, key=lambda category: category["id"])
    return Vocabulary(
        name=name,
        classes=tuple(str(category.get("name", "")).strip() for category in ordered),
        is_thing=tuple(bool(category.get("isthing", True)) for category in ordered),
    )


def class_indices(
    categories: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, path: Path
) -> Dict[int, int]:
    """Returns, per category id of a file, the class of the vocabulary with that name.

    Raises:
        ValueError: a category is none of the classes, or an id stands twice.
    """
    known: Dict[str, int] = {}
    for index, texts in enumerate(vocabulary.synonyms):
        for text in texts:
            known.setdefault(_plain(text), index)
    known.update({_plain(name): index for index, name in enumerate(vocabulary.classes)})
    indices: Dict[int, int] = {}
    for category in categories:
        name = _plain(str(category.get("name", "")))
        if name not in known or category["id"] in indices:
            raise ValueError(
                f"{path}: category {category['id']} '{category.get('name')}' stands twice or is "
                f"none of the {len(vocabulary)} classes of vocabulary '{vocabulary.name}'"
            )
        indices[category["id"]] = known[name]
    return indices


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def instance_records(
    content: Mapping[str, Any],
    indices: Mapping[int, int],
    image_root: Path,
    *,
    path: Path,
    boxes_only: bool = False,
    keep_parts: Optional[int] = None,
) -> List[dict]:
    """Reads instances.

    Args:
        content: of a COCO or LVIS file, see `read_json`.
        indices: class by category id; annotations get the class as "category_id".
        image_root: folder of its images; an LVIS image stands in a folder of it, by its URL.
        path: of the file, for messages.
        boxes_only: read boxes and leave masks; boxes are cut at the border of the image, and those
            under 1 pixel are left out and counted in the log.
        keep_parts: so many parts of an image's path in the file stand below `image_root`; None:
            all of them.

    Returns:
        One record per image, images without an object included. Of LVIS: "negative_classes" and
        "not_exhaustive_classes", class indices.

    Raises:
        ValueError: an annotation of an unknown image or category.
    """
    records = {
        image["id"]: _image_record(image, image_root, indices, keep_parts)
        for image in content["images"]
    }
    left_out = 0
    for annotation in content["annotations"]:
        record = records.get(annotation.get("image_id"))
        if record is None or annotation.get("category_id") not in indices:
            raise ValueError(
                f"{path}: annotation {annotation.get('id')} is of image "
                f"{annotation.get('image_id')} and category {annotation.get('category_id')}; the "
                "file lists no such pair"
            )
        kept = _annotation(annotation, indices, record, boxes_only)
        if kept is None:
            left_out += 1
        else:
            record["annotations"].append(kept)
    if left_out:
        logger.warning(
            "%s: %d of %d annotations left out: %s",
            path,
            left_out,
            len(content["annotations"]),
            "boxes under 1 pixel" if boxes_only else "polygons of fewer than 3 points",
        )
    return list(records.values())


def _image_record(
    image: Mapping[str, Any], root: Path, indices: Mapping[int, int], keep_parts: Optional[int]
) -> dict:
    # LVIS has no file names, but the URLs of COCO: .../train2017/000000391895.jpg
    file = image.get("file_name") or "/".join(image["coco_url"].split("/")[-2:])
    if keep_parts is not None:
        file = "/".join(file.split("/")[-keep_parts:])
    record = {
        "file_name": str(root / file),
        "height": int(image["height"]),
        "width": int(image["width"]),
        "image_id": image["id"],
        "annotations": [],
    }
    for ours, theirs in (
        ("negative_classes", "neg_category_ids"),
        ("not_exhaustive_classes", "not_exhaustive_category_ids"),
    ):
        if theirs in image:
            record[ours] = [indices[number] for number in image[theirs]]
    return record


def _annotation(
    annotation: Mapping[str, Any], indices: Mapping[int, int], record: dict, boxes_only: bool
) -> Optional[dict]:
    kept = {key: annotation[key] for key in _KEPT if key in annotation}
    kept["category_id"] = indices[annotation["category_id"]]
    kept["iscrowd"] = int(annotation.get("iscrowd", 0))
    if "bbox" in annotation:
        kept["bbox"], kept["bbox_mode"] = annotation["bbox"], BoxMode.XYWH_ABS
    if boxes_only:
        return _clipped(kept, record)
    mask = annotation.get("segmentation")
    if isinstance(mask, list):
        mask = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
        if not mask and annotation["segmentation"]:
            return None
    if mask:
        kept["segmentation"] = mask
    return kept


def _clipped(kept: dict, record: dict) -> Optional[dict]:
    x, y, width, height = kept["bbox"]
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, record["width"]), min(y + height, record["height"])
    if not (x1 - x0 >= 1 and y1 - y0 >= 1):  # also where a number is NaN
        return None
    return {**kept, "bbox": [x0, y0, x1, y1], "bbox_mode": BoxMode.XYXY_ABS}


def panoptic_records(
    content: Mapping[str, Any],
    indices: Mapping[int, int],
    image_root: Path,
    map_root: Path,
    *,
    path: Path,
) -> List[dict]:
    """Reads panoptic segments.

    Args:
        content: of a COCO panoptic file, see `read_json`.
        indices: class by category id; segments get the class as "category_id".
        image_root: folder of its images.
        map_root: folder of its segment maps, PNG.
        path: of the file, for messages.

    Returns:
        One record per annotated image.

    Raises:
        ValueError: a segment of an unknown image or category.
    """
    things = {category["id"]: bool(category["isthing"]) for category in content["categories"]}
    images = {image["id"]: image for image in content["images"]}
    records = []
    for annotation in content["annotations"]:
        image = images.get(annotation["image_id"])
        unknown = {s["category_id"] for s in annotation["segments_info"]} - set(indices)
        if image is None or unknown:
            raise ValueError(
                f"{path}: the segments of image {annotation['image_id']} are of an image or of "
                f"categories {sorted(unknown)} that the file does not list"
            )
        records.append(
            {
                "file_name": str(image_root / image["file_name"]),
                "height": int(image["height"]),
                "width": int(image["width"]),
                "image_id": annotation["image_id"],
                "pan_seg_file_name": str(map_root / annotation["file_name"]),
                "segments_info": [
                    {
                        **segment,
                        "category_id": indices[segment["category_id"]],
                        "isthing": things[segment["category_id"]],
                    }
                    for segment in annotation["segments_info"]
                ],
            }
        )
    return records
