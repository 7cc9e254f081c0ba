"""Any catalog record to regions or a label map: the only module that knows how the forms differ.

A record describes its targets in one of five forms: "regions" (the one record, see
structures/regions.py), "mask_file_name" (a grey mask of one phrase, or with "object_id" the pixels
of that number in it), "pan_seg_file_name" with "segments_info" (a map of segments), "annotations"
(COCO instances) or "sem_seg_file_name" (a map of classes). Where it has several, its task decides.
H, W are the image size in pixels.
"""

from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from detectron2.structures import BoxMode

from segplugins.data.read_images import record_name, strict_for
from segplugins.files.faults import FaultPolicy
from segplugins.files.label_coding import IGNORED, LabelCoding, coding_of, read_classes
from segplugins.files.label_maps import read_label_map as read_label_file
from segplugins.files.label_maps import read_mask
from segplugins.files.panoptic_ids import read_segment_ids
from segplugins.structures.regions import Region, Task, encode_mask

_FORMS = ("regions", "mask_file_name", "pan_seg_file_name", "annotations", "sem_seg_file_name")
_FORM_OF_TASK = {
    Task.SEMANTIC: "sem_seg_file_name",
    Task.PART: "sem_seg_file_name",
    Task.PANOPTIC: "pan_seg_file_name",
    Task.INSTANCE: "annotations",
    Task.DETECTION: "annotations",
}
_TASK_OF_FORM = {
    "pan_seg_file_name": Task.PANOPTIC,
    "annotations": Task.INSTANCE,
    "sem_seg_file_name": Task.SEMANTIC,
}


@dataclass(frozen=True)
class LabelMap:
    """Targets that do not overlap.

    Args:
        ids: (H, W) int32: index into `segments`, or the class itself where there are none;
            IGNORED where the pixel belongs to no target.
        segments: per id "category_id", "isthing" and, of crowds, "iscrowd"; None for classes.
        path: the file it comes from.
        sentences: of a mask file: phrases that mean its one segment.
    """

    ids: np.ndarray
    segments: Optional[Sequence[Mapping[str, Any]]]
    path: str
    sentences: Sequence[str] = ()


def target_form(record: Mapping[str, Any]) -> Optional[str]:
    """Returns which of the five forms describes the targets of a record; None if none does."""
    preferred = _FORM_OF_TASK.get(record.get("task"))
    if "regions" not in record and preferred in record:
        return preferred
    return next((form for form in _FORMS if form in record), None)


def has_label_map(record: Mapping[str, Any]) -> bool:
    """Whether the targets of a record stand in a map: then it is moved whole, not mask by mask."""
    return target_form(record) in ("sem_seg_file_name", "pan_seg_file_name", "mask_file_name")


def task_of(record: Mapping[str, Any], metadata: Any) -> Task:
    """Returns the task: the record's, its data set's, or the one that the form stands for."""
    task = record.get("task") or getattr(metadata, "task", None)
    form = target_form(record)
    if task is not None:
        return Task(task)
    return _TASK_OF_FORM.get(form, Task.REFERRING)


def read_regions(record: Mapping[str, Any], metadata: Any) -> List[Region]:
    """Reads the targets of one image, in any of the five forms.

    Args:
        record: a catalog record.
        metadata: of its data set: "thing_classes" for annotations, "stuff_classes" and
            "ignore_label" for maps.

    Returns:
        N regions in the order of the source. Maps give one region per class or segment, with RLE
        masks. Crowds are kept, with extra["iscrowd"] = 1. Class indices are the data set's. A mask
        file gives one region, without mask where it shows nothing.

    Raises:
        ValueError: the record has none of the forms, or its content does not fit the classes.
        FileNotFoundError: a map is not there.
    """
    form = target_form(record)
    if form is None:
        raise ValueError(
            f"{record_name(record)}: none of {list(_FORMS)} says what the image shows; give an "
            "empty list of regions for an image without targets"
        )
    if form == "regions":
        return [r if isinstance(r, Region) else Region(**r) for r in record["regions"]]
    if form == "annotations":
        names = metadata.thing_classes
        return [_region_of_annotation(a, names, record) for a in record["annotations"]]
    if form == "mask_file_name":
        label_map = _read_mask(record)
        shown = label_map.ids == 0
        text, sentences = label_map.sentences[0], list(label_map.sentences)
        mask = encode_mask(shown) if shown.any() else None
        return [Region(text, mask=mask, extra={"sentences": sentences})]
    return _regions_of_map(record, metadata)


def _read_mask(record: Mapping[str, Any]) -> LabelMap:
    path = record["mask_file_name"]
    sentences = list(record.get("sentences") or record.get("texts") or ())
    if not sentences:
        raise ValueError(f"{record_name(record)}: a mask file, but neither texts nor sentences")
    shown = object_mask(path, record, strict_for(record))
    ids = np.where(shown, 0, IGNORED).astype(np.int32)
    segments = [{"category_id": 0, "isthing": True}]
    return LabelMap(ids=ids, segments=segments, path=path, sentences=sentences)


def object_mask(path: str, record: Mapping[str, Any], policy: FaultPolicy) -> Optional[np.ndarray]:
    """Returns the mask of a record's one phrase, (H, W) bool; None if the policy lets a fault pass.

    Args:
        path: a grey mask, or if the record has an "object_id" a map of object numbers.
        record: of the catalog.
        policy: gets the faults.
    """
    if "object_id" not in record:
        return read_mask(path, policy)
    numbers = read_label_file(path, policy, what="map of objects")
    return None if numbers is None else numbers == record["object_id"]


def read_label_map(record: Mapping[str, Any], metadata: Any) -> LabelMap:
    """Reads a map of classes or of segments.

    Raises:
        ValueError: a value outside the classes; segments that only the file or only the record
            knows; the record has no map.
        FileNotFoundError: the file is not there.
    """
    form = target_form(record)
    if form == "pan_seg_file_name":
        return _read_segments(record, metadata)
    if form == "mask_file_name":
        return _read_mask(record)
    if "sem_seg_file_name" not in record:
        raise ValueError(
            f"{record_name(record)} has no label map, only {form}; a model that learns from label "
            "maps needs 'sem_seg_file_name' or 'pan_seg_file_name'"
        )
    path = record["sem_seg_file_name"]
    ids = read_classes(path, label_coding(metadata), strict_for(record))
    return LabelMap(ids=ids, segments=None, path=path)


def label_coding(metadata: Any) -> LabelCoding:
    """Returns what the label files of a data set mean.

    Args:
        metadata: of the data set: "label_coding", or else "stuff_classes" and "ignore_label".
    """
    coding = getattr(metadata, "label_coding", None)
    if coding is not None:
        return coding
    names = getattr(metadata, "stuff_classes", None)
    ignore_label = getattr(metadata, "ignore_label", 255)
    return coding_of(None if names is None else len(names), ignore_label)


def box_corners(box: Any, mode: BoxMode = BoxMode.XYWH_ABS) -> Tuple[float, float, float, float]:
    """Returns (x0, y0, x1, y1) of the box of an annotation.

    Raises:
        ValueError: it is not four numbers.
    """
    try:
        a, b, c, d = map(float, box)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a box must be four numbers, got {box!r:.80}") from error
    if mode == BoxMode.XYWH_ABS:
        return a, b, a + c, b + d
    return tuple(BoxMode.convert((a, b, c, d), mode, BoxMode.XYXY_ABS))


def _region_of_annotation(annotation: Mapping, names: Sequence[str], record: Mapping) -> Region:
    index = annotation["category_id"]
    if not 0 <= index < len(names):
        raise ValueError(
            f"{record_name(record)}: category_id {index} is outside the {len(names)} classes"
        )
    box = annotation.get("bbox")
    if box is not None:
        mode = annotation.get("bbox_mode", BoxMode.XYWH_ABS)
        box = box_corners(box, mode)
    extra = {key: annotation[key] for key in ("id", "iscrowd", "extra") if annotation.get(key)}
    return Region(
        text=names[index],
        box=box,
        mask=annotation.get("segmentation") or None,
        class_index=index,
        score=float(annotation.get("score", 1.0)),
        extra=extra,
    )


def _regions_of_map(record: Mapping[str, Any], metadata: Any) -> List[Region]:
    label_map = read_label_map(record, metadata)
    names = metadata.stuff_classes
    present = np.flatnonzero(np.bincount(label_map.ids.ravel() - IGNORED)[1:])
    regions = []
    for index in present:
        segment = {"category_id": int(index), "isthing": False}
        if label_map.segments is not None:
            segment = label_map.segments[index]
        regions.append(
            Region(
                text=names[segment["category_id"]],
                mask=encode_mask(label_map.ids == index),
                class_index=segment["category_id"],
                is_thing=bool(segment["isthing"]),
                extra={key: segment[key] for key in ("id", "iscrowd") if segment.get(key)},
            )
        )
    return regions


def _read_segments(record: Mapping[str, Any], metadata: Any) -> LabelMap:
    path, segments = record["pan_seg_file_name"], list(record["segments_info"])
    raw = read_segment_ids(path, strict_for(record))
    listed = np.array([0] + [segment["id"] for segment in segments], dtype=np.int64)
    order = np.argsort(listed)
    position = np.searchsorted(listed[order], raw).clip(max=len(listed) - 1)
    ids = order[position].astype(np.int32) - 1
    unknown = listed[ids + 1] != raw
    absent = np.bincount(ids.ravel() + 1, minlength=len(listed))[1:] == 0
    if unknown.any() or absent.any():
        raise ValueError(
            f"{record_name(record)}: panoptic map {path} and its segments_info differ: ids "
            f"{np.unique(raw[unknown])[:5].tolist()} stand only in the map, "
            f"{listed[1:][absent][:5].tolist()} only in the record"
        )
    _check_categories(segments, getattr(metadata, "stuff_classes", None), record)
    return LabelMap(ids=ids, segments=segments, path=path)


def _check_categories(
    segments: Sequence[Mapping], names: Optional[Sequence[str]], record: Mapping
) -> None:
    for segment in segments:
        if names is not None and not 0 <= segment["category_id"] < len(names):
            raise ValueError(
                f"{record_name(record)}: segment {segment['id']} has category_id "
                f"{segment['category_id']}, outside the {len(names)} classes"
            )
