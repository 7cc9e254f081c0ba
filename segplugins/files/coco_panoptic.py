"""COCO panoptic files: images, categories and the segments of each map."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List, Mapping, Optional, Set, Union

import msgspec

from segplugins.files.coco import entries_of
from segplugins.files.coco_categories import (
    CategoryEntry,
    class_of_name,
    folded_name,
    read_categories,
)
from segplugins.files.coco_images import ImageEntry, read_images
from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.json_file import read_json
from segplugins.files.values import Id, as_flag, as_id, as_number, as_path, existing_form
from segplugins.structures.vocabulary import Vocabulary

_LARGEST_ID = 2**24 - 1  # three channels of 8 bits


class PanopticEntry(msgspec.Struct):
    """The segments of one image; as decoded, then in normal form.

    Args:
        image_id: of the picture.
        file_name: path of the map below the folder of maps.
        segments_info: mappings with "id", "category_id", "iscrowd" and, if the file has them,
            "area" in pixels and whatever else it says.
        position: index in the file.
    """

    image_id: Any = None
    file_name: Any = None
    segments_info: Any = None
    position: int = -1


@dataclass
class PanopticFile:
    """A COCO panoptic file in normal form.

    Args:
        path: of the file.
        images: by id.
        categories: in the order of their ids.
        annotations: at most one per image.
    """

    path: str
    images: Dict[Id, ImageEntry] = field(default_factory=dict)
    categories: List[CategoryEntry] = field(default_factory=list)
    annotations: List[PanopticEntry] = field(default_factory=list)


def read_panoptic(
    path: Union[str, Path],
    policy: FaultPolicy = STRICT,
    *,
    image_root: Optional[Path] = None,
    map_root: Optional[Path] = None,
    vocabulary: Optional[Vocabulary] = None,
) -> PanopticFile:
    """Reads a COCO panoptic file to the end.

    An annotation without "file_name" has the map of the stem of its image, with ".png".

    Args:
        path: of the JSON file.
        policy: receives the faults of single entries, which are left out if it returns.
        image_root: folder of the pictures, for sizes that the file lacks; None: unknown.
        map_root: folder of the maps, for the Unicode form of their names; None: unknown.
        vocabulary: classes that the categories must be among; None: the file decides.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such JSON file; a `FaultError` of a strict policy is one too.
    """
    content = read_json(path, "images", "annotations", "categories")
    faults = FileFaults(str(path), policy)
    images, image_of = read_images(
        entries_of(content, "images", ImageEntry, faults), faults, image_root=image_root
    )
    listed = entries_of(content, "annotations", PanopticEntry, faults)
    categories, category_of = read_categories(
        entries_of(content, "categories", CategoryEntry, faults),
        faults,
        used=_used_categories(listed),
        vocabulary=vocabulary,
    )
    _read_things(categories, vocabulary, faults)
    kept: Dict[Id, PanopticEntry] = {}
    image_of_map: Dict[str, Id] = {}
    for position, annotation in listed:
        annotation.position = position
        if not _refers(annotation, image_of, kept, faults):
            continue
        try:
            annotation.file_name = _map_name(annotation, images[annotation.image_id], map_root)
        except ValueError as error:
            faults.report("path", f"{error}: of the map", **_place(annotation))
            continue
        before = image_of_map.setdefault(annotation.file_name, annotation.image_id)
        if before != annotation.image_id:
            message = f"the map {annotation.file_name} is that of image {before} already"
            faults.report("id", message, **_place(annotation))
            continue
        _read_segments(annotation, category_of, faults)
        kept[annotation.image_id] = annotation
    for number in images:
        if number not in kept:
            message = "the image has no segments; it is not trained on"
            faults.report("unknown-id", message, record=number, remark=True)
    return PanopticFile(str(path), images, categories, list(kept.values()))


def _used_categories(listed: List[Any]) -> Set[Id]:
    used = set()
    for _, annotation in listed:
        segments = annotation.segments_info
        for segment in segments if isinstance(segments, list) else ():
            try:
                used.add(as_id(segment["category_id"]))
            except (ValueError, TypeError, KeyError):
                continue
    return used


def _read_things(
    categories: List[CategoryEntry], vocabulary: Optional[Vocabulary], faults: FileFaults
) -> None:
    index = {} if vocabulary is None else class_of_name(vocabulary)
    for category in categories:
        try:
            if category.isthing is None:
                raise ValueError("None, expected 0 or 1")
            category.isthing = as_flag(category.isthing)
        except ValueError as error:
            field = f"category {category.id}"
            place = {"entry": ("categories", category.position), "mend": ("isthing", 1)}
            faults.report("form", f"isthing is {error}", field=field, **place)
            category.isthing = True
        if vocabulary is not None:
            is_thing = vocabulary.is_thing[index[folded_name(category.name)]]
            if is_thing != category.isthing:
                message = _difference(category, vocabulary.name)
                faults.report("name", message, field=f"category {category.id}")
                category.isthing = is_thing


def _difference(category: CategoryEntry, vocabulary: str) -> str:
    """Returns the message for a thing that the vocabulary takes for stuff, or the other way."""
    name, here, there = category.name, "stuff", "a thing"
    if category.isthing:
        here, there = there, here
    entry = f"{{name: {name}, thing: {str(category.isthing).lower()}}}"
    return (
        f"'{name}' is {here} in the file and {there} in vocabulary '{vocabulary}', so that its "
        f"objects would be counted in another way; write {entry} there, or leave the vocabulary "
        "out: the file has the classes"
    )


def _crowd(value: Any) -> int:
    try:
        return int(as_flag(value))
    except ValueError as error:
        raise ValueError(f"iscrowd is {error}") from None


def _place(annotation: PanopticEntry) -> Dict[str, Any]:
    return {
        "record": annotation.image_id,
        "field": f"annotations[{annotation.position}]",
        "entry": ("annotations", annotation.position),
    }


def _refers(
    annotation: PanopticEntry,
    image_of: Mapping[Id, Id],
    kept: Mapping[Id, PanopticEntry],
    faults: FileFaults,
) -> bool:
    given = annotation.image_id
    try:
        number = image_of.get(as_id(given))
    except ValueError:
        number = None
    if number is None:
        message = f"image_id {given!r:.40} is not listed, or was taken out"
        faults.report("unknown-id", message, **_place(annotation))
        return False
    annotation.image_id = number
    if number in kept:
        faults.report("id", f"image {number} has two lists of segments", **_place(annotation))
        return False
    return True


def _map_name(annotation: PanopticEntry, image: ImageEntry, map_root: Optional[Path]) -> str:
    name = annotation.file_name
    if name in (None, ""):
        name = str(PurePosixPath(image.file_name).with_suffix(".png"))
        if map_root is not None and not (map_root / name).exists():
            name = PurePosixPath(name).name
    path = as_path(name)
    return path if map_root is None else existing_form(map_root, path)


def _read_segments(
    annotation: PanopticEntry, category_of: Mapping[Id, Id], faults: FileFaults
) -> None:
    content = {"segments_info": annotation.segments_info}
    above = ("annotations", annotation.position)
    kept: Dict[int, Dict[str, Any]] = {}
    for position, segment in faults.entries(content, "segments_info", above=above):
        given = segment.get("id")
        place = {
            "record": annotation.image_id,
            "field": f"segment {given!r:.40}",
            "entry": (*above, "segments_info", position),
        }
        try:
            number = _segment_id(given)
            category = category_of.get(as_id(segment.get("category_id")))
            crowd = _crowd(segment.get("iscrowd"))
        except ValueError as error:
            faults.report("id" if "segment id" in str(error) else "form", str(error), **place)
            continue
        if number in kept:
            faults.report("id", f"segment id {number} stands twice", **place)
        elif category is None:
            message = f"category_id {segment.get('category_id')!r:.40} is not listed"
            faults.report("unknown-id", message, **place)
        else:
            kept[number] = {**segment, "id": number, "category_id": category}
            if "iscrowd" in segment:
                kept[number]["iscrowd"] = crowd
            _read_area(kept[number], faults, place)
    annotation.segments_info = list(kept.values())


def _segment_id(given: Any) -> int:
    try:
        number = as_id(given)
    except ValueError:
        number = None
    if not isinstance(number, int) or not 0 < number <= _LARGEST_ID:
        raise ValueError(f"segment id {given!r:.40}, expected 1 to {_LARGEST_ID}")
    return number


def _read_area(segment: Dict[str, Any], faults: FileFaults, place: Dict[str, Any]) -> None:
    """Leaves a missing area to the map."""
    area = segment.pop("area", None)
    if area is None:
        return
    try:
        segment["area"] = as_number(area)
    except ValueError:
        segment["area"] = -1
    if segment["area"] < 0:
        del segment["area"]
        faults.report("area", f"area is {area!r:.40}", mend=("area", None), **place)
