"""Catalog records of COCO instance files (also LVIS, boxes only, SeginW) and of panoptic files.

Categories are told apart by name, not by number: files of one data set number them differently.
"""

import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from detectron2.structures import BoxMode

from segplugins.data.readers.boxes import BoxTable
from segplugins.files.coco import InstanceFile
from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.coco_categories import (
    CategoryEntry,
    class_of_name,
    folded_name,
    is_thing,
)
from segplugins.files.coco_images import ImageEntry
from segplugins.files.coco_panoptic import PanopticFile
from segplugins.files.values import Id
from segplugins.structures.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_CATEGORY_LISTS = (
    ("negative_classes", "neg_category_ids"),
    ("not_exhaustive_classes", "not_exhaustive_category_ids"),
)


def vocabulary_of_categories(categories: Sequence[CategoryEntry], name: str) -> Vocabulary:
    """Returns the categories of a file, in the order of their ids, as a vocabulary.

    Raises:
        ValueError: there is none.
    """
    return Vocabulary(
        name=name,
        classes=tuple(category.name for category in categories),
        is_thing=tuple(is_thing(category) for category in categories),
    )


def class_indices(categories: Sequence[CategoryEntry], vocabulary: Vocabulary) -> Dict[Id, int]:
    """Returns, per category id of a file, the class of the vocabulary with that name."""
    index = class_of_name(vocabulary)
    return {category.id: index[folded_name(category.name)] for category in categories}


def instance_records(
    file: InstanceFile,
    indices: Mapping[Id, int],
    image_root: Path,
    *,
    boxes_only: bool = False,
) -> List[dict]:
    """Returns one record per image, images without an object included.

    Args:
        file: what `read_instances` read.
        indices: class by category id; annotations get the class as "category_id".
        image_root: folder of its images.
        boxes_only: boxes are cut at the border of the image, and those under 1 pixel are left out
            and counted in the log; "annotations" is then compact, see `BoxColumns`.

    Returns:
        Records; of LVIS also with "negative_classes" and "not_exhaustive_classes", class indices.
    """
    records = {
        number: _image_record(image, image_root, indices) for number, image in file.images.items()
    }
    if boxes_only:
        table = BoxTable(file.annotations, indices, file.images)
        for number, record in records.items():
            record["annotations"] = table.of_image(number)
        if table.left_out:
            logger.warning(
                "%s: %d of %d boxes left out, they are under 1 pixel inside their image",
                file.path,
                table.left_out,
                len(file.annotations),
            )
        return list(records.values())
    for annotation in file.annotations:
        records[annotation.image_id]["annotations"].append(_annotation(annotation, indices))
    return list(records.values())


def _image_record(image: ImageEntry, root: Path, indices: Mapping[Id, int]) -> dict:
    record: Dict[str, Any] = {
        "file_name": str(root / image.file_name),
        "height": image.height,
        "width": image.width,
        "image_id": image.id,
        "annotations": [],
    }
    for ours, theirs in _CATEGORY_LISTS:
        listed = getattr(image, theirs)
        if listed is not None:
            record[ours] = [indices[number] for number in listed]
    return record


def _annotation(annotation: InstanceEntry, indices: Mapping[Id, int]) -> dict:
    record: Dict[str, Any] = {
        "id": annotation.id,
        "iscrowd": annotation.iscrowd,
        "category_id": indices[annotation.category_id],
    }
    for key in ("area", "attributes", "score"):
        value = getattr(annotation, key)
        if value is not None:
            record[key] = value
    if annotation.bbox is not None:
        record["bbox"], record["bbox_mode"] = annotation.bbox, BoxMode.XYWH_ABS
    if annotation.segmentation is not None:
        record["segmentation"] = annotation.segmentation
    return record


def panoptic_records(
    file: PanopticFile, indices: Mapping[Id, int], image_root: Path, map_root: Path
) -> List[dict]:
    """Returns one record per image with segments.

    Args:
        file: what `read_panoptic` read.
        indices: class by category id; segments get the class as "category_id".
        image_root: folder of its images.
        map_root: folder of its segment maps, PNG.
    """
    things = {category.id: is_thing(category) for category in file.categories}
    records = []
    for annotation in file.annotations:
        image = file.images[annotation.image_id]
        segments = [
            {
                **segment,
                "category_id": indices[segment["category_id"]],
                "isthing": things[segment["category_id"]],
            }
            for segment in annotation.segments_info
        ]
        records.append(
            {
                "file_name": str(image_root / image.file_name),
                "height": image.height,
                "width": image.width,
                "image_id": annotation.image_id,
                "pan_seg_file_name": str(map_root / annotation.file_name),
                "segments_info": segments,
            }
        )
    return records
