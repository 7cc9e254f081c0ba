"""COCO panoptic files: images and segments that do not fit each other are taken out."""

from typing import Any, Dict, List, Mapping, Optional

from segplugins.data.check.notes import Notes, is_id
from segplugins.data.check.sieve_categories import sift_categories, sift_images
from segplugins.structures.vocabulary import Vocabulary

_LARGEST_ID = 2**24 - 1  # three channels of 8 bits


def sift_panoptic(
    content: Mapping[str, Any], notes: Notes, *, words: Optional[Vocabulary] = None
) -> Dict[str, Any]:
    """Returns a COCO panoptic file without the entries that cannot be read.

    Args:
        content: parsed JSON.
        notes: gets the faults.
        words: classes that categories are found in by name; None: those of the file.
    """
    images, of_image = sift_images(notes.entries(content, "images"), notes)
    categories, of_category = sift_categories(
        notes.entries(content, "categories"), notes, words=words
    )
    for category in categories:
        if category.get("isthing") not in (0, 1):
            message = f"isthing is {category.get('isthing')!r:.40}, expected 0 or 1"
            notes.note("form", message, field=f"category {category['id']}")
            category["isthing"] = 1
    kept: Dict[Any, Dict[str, Any]] = {}
    for position, annotation in enumerate(notes.entries(content, "annotations")):
        number, file = annotation.get("image_id"), annotation.get("file_name")
        where = {"record": number, "field": f"annotations[{position}]"}
        if not is_id(number) or number not in of_image:
            message = f"image_id {number!r:.40} is not listed, or was taken out"
            notes.note("unknown-id", message, **where)
        elif of_image[number] in kept:
            notes.note("id", f"image {number} has two lists of segments", **where)
        elif not isinstance(file, str) or not file or "\0" in file:
            notes.note("path", f"got {file!r:.60}, expected the path of the map", **where)
        else:
            segments = _segments(annotation, of_category, notes)
            kept[of_image[number]] = {
                **annotation,
                "image_id": of_image[number],
                "segments_info": segments,
            }
    for image in images:
        if image["id"] not in kept:
            message = "the image has no segments; it is not trained on"
            notes.note("unknown-id", message, record=image["id"], remark=True)
    return {
        **content,
        "images": images,
        "categories": categories,
        "annotations": list(kept.values()),
    }


def _segments(
    annotation: Mapping[str, Any], of_category: Mapping[Any, Any], notes: Notes
) -> List[Dict[str, Any]]:
    kept: List[Dict[str, Any]] = []
    used = set()
    for segment in notes.entries(annotation, "segments_info"):
        number, category = segment.get("id"), segment.get("category_id")
        where = {"record": annotation["image_id"], "field": f"segment {number!r:.40}"}
        if not isinstance(number, int) or not 0 < number <= _LARGEST_ID:
            notes.note("id", f"segment id {number!r:.40}, expected 1 to {_LARGEST_ID}", **where)
        elif number in used:
            notes.note("id", f"segment id {number} stands twice", **where)
        elif not is_id(category) or category not in of_category:
            notes.note("unknown-id", f"category_id {category!r:.40} is not listed", **where)
        else:
            used.add(number)
            kept.append({**segment, "category_id": of_category[category]})
    return kept
