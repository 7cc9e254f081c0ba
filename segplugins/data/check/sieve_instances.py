"""COCO instance files: entries that do not fit each other or have no right form are taken out.

What needs the image, such as whether a mask fits it, is for check/record.py.
"""

from typing import Any, Dict, List, Mapping, Optional, Set

from segplugins.data.check.notes import Notes, is_id, is_number
from segplugins.data.check.sieve_categories import sift_categories, sift_images
from segplugins.structures.vocabulary import Vocabulary

_CATEGORY_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


def sift_instances(
    content: Mapping[str, Any],
    notes: Notes,
    *,
    words: Optional[Vocabulary] = None,
    renamed: Optional[Mapping[int, str]] = None,
    boxes_only: bool = False,
    with_categories: bool = True,
) -> Dict[str, Any]:
    """Returns a COCO instance file without the entries that cannot be read.

    Args:
        content: parsed JSON.
        notes: gets the faults.
        words: classes that categories are found in by name; None: those of the file.
        renamed: better names by category id.
        boxes_only: masks are not read.
        with_categories: False where nobody asks for classes (referring expressions).
    """
    images, of_image = sift_images(notes.entries(content, "images"), notes)
    cleaned = {**content, "images": images}
    of_category = None
    if with_categories:
        categories, of_category = sift_categories(
            notes.entries(content, "categories"), notes, words=words, renamed=renamed
        )
        cleaned["categories"] = categories
        for image in images:
            _sift_category_lists(image, of_category, notes)
    cleaned["annotations"] = kept = []
    seen: Dict[Any, Mapping] = {}
    for position, annotation in enumerate(notes.entries(content, "annotations")):
        sifted = _annotation(annotation, position, of_image, of_category, notes)
        if sifted is None or _is_repeated(annotation, seen, notes):
            continue
        if _sift_shape(sifted, notes, boxes_only):
            kept.append(sifted)
    _number(kept, notes)
    return cleaned


def _annotation(
    annotation: Mapping[str, Any],
    position: int,
    of_image: Mapping[Any, Any],
    of_category: Optional[Mapping[Any, Any]],
    notes: Notes,
) -> Optional[Dict[str, Any]]:
    """Returns a copy with the ids of the image and category that are kept for its own."""
    number = annotation.get("id")
    name = f"annotation {number}" if is_id(number) else f"annotations[{position}]"
    sifted = dict(annotation)
    for key, known in (("image_id", of_image), ("category_id", of_category)):
        if known is None:
            continue
        given = annotation.get(key)
        if not is_id(given) or given not in known:
            message = f"{key} {given!r:.40} is not listed, or was taken out"
            notes.note("unknown-id", message, record=annotation.get("image_id"), field=name)
            return None
        sifted[key] = known[given]
    if annotation.get("iscrowd", 0) not in (0, 1):
        message = f"iscrowd is {annotation['iscrowd']!r:.40}, expected 0 or 1"
        notes.note("form", message, record=sifted["image_id"], field=name)
        return None
    return sifted


def _is_repeated(annotation: Mapping[str, Any], seen: Dict[Any, Mapping], notes: Notes) -> bool:
    """Whether the same annotation came before; one of another content keeps its place."""
    number = annotation.get("id")
    if not is_id(number):
        return False
    before = seen.setdefault(number, annotation)
    if before is annotation:
        return False
    message = f"annotation id {number} stands twice"
    notes.note("id", message, record=annotation.get("image_id"), field=f"annotation {number}")
    return before == annotation


def _sift_shape(annotation: Dict[str, Any], notes: Notes, boxes_only: bool) -> bool:
    """Takes out of an annotation what is no box, no polygon, no area; False where nothing stays."""
    where = {"record": annotation["image_id"], "field": f"annotation {annotation.get('id')}"}
    box = annotation.get("bbox")
    if "bbox" in annotation and not (
        isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
    ):
        notes.note("box", f"bbox {box!r:.80}, expected 4 finite numbers x, y, w, h", **where)
        del annotation["bbox"]
    elif box is not None and not (box[2] > 0 and box[3] > 0):
        notes.note("box", f"bbox {box!r:.80} has no area: w and h must be above 0", **where)
        del annotation["bbox"]
    if "area" in annotation and not (is_number(annotation["area"]) and annotation["area"] >= 0):
        notes.note("area", f"area is {annotation['area']!r:.40}", **where)
        del annotation["area"]
    had_mask = not boxes_only and bool(annotation.get("segmentation"))
    if had_mask and not _sift_mask(annotation, notes, where):
        return False  # no box without a mask: the others of its image have masks
    if not had_mask and box is None:
        notes.note("form", "neither bbox nor segmentation says where it is", **where)
    return had_mask or "bbox" in annotation


def _sift_mask(annotation: Dict[str, Any], notes: Notes, where: Mapping[str, Any]) -> bool:
    mask = annotation["segmentation"]
    if isinstance(mask, list):
        mask = annotation["segmentation"] = _polygons(mask, notes, where)
    elif not isinstance(mask, Mapping):
        message = f"segmentation {mask!r:.60}, expected an RLE or polygons"
        notes.note("polygon", message, **where)
        return False
    return bool(mask)


def _polygons(polygons: List[Any], notes: Notes, where: Mapping[str, Any]) -> List[Any]:
    """Returns those that are lists of 3 or more points; their values are looked at later."""
    kept = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            size = len(polygon) if isinstance(polygon, list) else repr(polygon)[:40]
            message = f"a polygon of {size} values, expected 3 or more (x, y) pairs"
            notes.note("polygon", message, **where)
        else:
            kept.append(polygon)
    return kept


def _number(annotations: List[Dict[str, Any]], notes: Notes) -> None:
    """Gives ids to annotations that have none, or one that came before."""
    used: Set[Any] = set()
    free = 1 + max((a["id"] for a in annotations if isinstance(a.get("id"), int)), default=0)
    for annotation in annotations:
        number = annotation.get("id")
        if not is_id(number):
            message = f"an annotation without an id: {number!r:.40}"
            notes.note("id", message, record=annotation["image_id"])
        if not is_id(number) or number in used:
            annotation["id"], free = free, free + 1
        used.add(annotation["id"])


def _sift_category_lists(
    image: Dict[str, Any], of_category: Mapping[Any, Any], notes: Notes
) -> None:
    for key in _CATEGORY_LISTS:
        if key not in image:
            continue
        listed = image[key] if isinstance(image[key], list) else [image[key]]
        unknown = [number for number in listed if not is_id(number) or number not in of_category]
        if unknown:
            message = f"{key} holds {unknown[:5]}, which is no category"
            notes.note("unknown-id", message, record=image["id"], field=key)
        image[key] = [of_category[number] for number in listed if number not in unknown]
