"""The "annotations" of COCO instance files: brought to normal form and compared with each other."""

from collections import Counter
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

import msgspec
import numpy as np

from segplugins.files.coco_boxes import DifferingBoxes
from segplugins.files.coco_images import ImageEntry
from segplugins.files.coco_masks import read_mask_texts
from segplugins.files.coco_plain import Plain, References, image_sizes, plain_annotations
from segplugins.files.faults import FileFaults
from segplugins.files.masks import check_masks, differing_boxes
from segplugins.files.values import LARGEST_ID, Id, as_box, as_flag, as_id, as_mask, as_number

# Annotations that are read at a time: as many as stay in the processor's cache.
_MASKS, _BOXES = 1_000, 20_000
_NO_BOX = (0, 0, 0, 0)


class InstanceEntry(msgspec.Struct, gc=False):
    """One object; as decoded, then in normal form.

    Args:
        id: tells it from the others.
        image_id: of its picture.
        category_id: of its class.
        bbox: [x, y, width, height] in pixels, or None: then it is that of the mask.
        area: in square pixels, or None: then it is that of the mask, or else of the box.
        segmentation: RLE, polygons, or None; see `as_mask`. As decoded it may be JSON text.
        iscrowd: 1 = a crowd, neither trained on nor scored.
        ignore: LVIS: 1 = not scored.
        score: below 1 where a machine drew it, or None.
        attributes: what else the source says, or None.
        position: index in the file.
    """

    id: Any = None
    image_id: Any = None
    category_id: Any = None
    bbox: Any = None
    area: Any = None
    segmentation: msgspec.Raw = None
    iscrowd: Any = 0
    ignore: Any = 0
    score: Any = None
    attributes: Any = None
    position: int = -1


def read_annotations(
    listed: Iterable[Tuple[int, InstanceEntry]],
    images: Dict[Id, ImageEntry],
    image_of: Mapping[Id, Id],
    category_of: Optional[Mapping[Id, Id]],
    faults: FileFaults,
    *,
    boxes_only: bool = False,
) -> List[InstanceEntry]:
    """Brings annotations to normal form.

    Args:
        listed: position in the file and entry.
        images: by id; pictures that mix masks and boxes are taken out.
        image_of: per image id of the file the id of the image that it stands for.
        category_of: likewise; None: classes do not matter.
        faults: receives what is wrong.
        boxes_only: masks are neither read nor checked.

    Returns:
        Those that have a place: a mask that fits its picture, or a box.
    """
    reader = _Reader(images, image_of, category_of, faults, boxes_only)
    kept: List[InstanceEntry] = []
    for batch in _batches(listed, _BOXES if boxes_only else _MASKS):
        kept += reader.read(batch)
    reader.boxes.report(len(kept), reader.report)
    kept.sort(key=lambda annotation: annotation.position)
    reader.number(kept)
    kept = reader.of_real_pixels(kept)
    return kept if boxes_only else reader.of_one_kind(kept)


def _batches(
    listed: Iterable[Tuple[int, InstanceEntry]], size: int
) -> Iterator[List[InstanceEntry]]:
    batch: List[InstanceEntry] = []
    for position, annotation in listed:
        annotation.position = position
        batch.append(annotation)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


class _Reader:
    def __init__(
        self,
        images: Dict[Id, ImageEntry],
        image_of: Mapping[Id, Id],
        category_of: Optional[Mapping[Id, Id]],
        faults: FileFaults,
        boxes_only: bool,
    ):
        self._images = images
        self._image_of = image_of
        self._category_of = category_of
        self._faults = faults
        self._boxes_only = boxes_only
        # Referring expressions are made of masks; their file of instances is not theirs to mend.
        self._mend_is_remark = category_of is None
        self._seen: Dict[Id, InstanceEntry] = {}
        self._largest = 0
        self._references = References(
            {number: images[number].size for number, own in image_of.items() if number == own},
            category_of and {number for number, own in category_of.items() if number == own},
        )
        self.boxes = DifferingBoxes()

    def read(self, batch: List[InstanceEntry]) -> List[InstanceEntry]:
        """Returns the annotations that have a place, in normal form; some masks come last."""
        if not self._boxes_only:
            read_mask_texts(batch, self._faults.file)
        plain = plain_annotations(batch, self._references, boxes_only=self._boxes_only)
        rows = plain.rows.tolist()
        chosen = [annotation for annotation, is_plain in zip(batch, rows) if is_plain]
        others = batch if len(chosen) < len(batch) else []
        if not self._are_new(chosen, batch):
            chosen, others, rows = [], batch, [False] * len(batch)
        others = [a for a, is_plain in zip(others, rows) if not is_plain and self.complete(a)]
        if self._boxes_only:
            for annotation in chosen:
                annotation.segmentation = None
        return self._fitting_plain(chosen, plain) + self._fitting_others(others)

    def _fitting_plain(self, annotations: List[InstanceEntry], plain: Plain) -> List[InstanceEntry]:
        masked = [annotation.segmentation is not None for annotation in annotations]
        alone = [a for a, has_mask in zip(annotations, masked) if not has_mask]
        others = [a for a, has_mask in zip(annotations, masked) if has_mask]
        sizes, boxes = plain.sizes[: len(masked)][masked], plain.boxes[: len(masked)][masked]
        return alone + self.fitting(others, sizes, boxes, plain.values)

    def _fitting_others(self, annotations: List[InstanceEntry]) -> List[InstanceEntry]:
        masked = [annotation for annotation in annotations if annotation.segmentation is not None]
        sizes = image_sizes(masked, self._references.sizes)
        boxes = np.array([a.bbox or _NO_BOX for a in masked], np.float64).reshape(-1, 4)
        alone = [annotation for annotation in annotations if annotation.segmentation is None]
        return alone + self.fitting(masked, sizes, boxes, None)

    def _are_new(self, plain: List[InstanceEntry], batch: List[InstanceEntry]) -> bool:
        """Registers plain annotations, unless an id of the batch came before."""
        numbers = [annotation.id for annotation in batch if annotation.id is not None]
        if not {int}.issuperset(map(type, numbers)) or len(set(numbers)) < len(numbers):
            return False
        if not self._seen.keys().isdisjoint(numbers):
            return False
        if numbers and not -LARGEST_ID < min(numbers) <= max(numbers) < LARGEST_ID:
            return False
        self._seen.update((a.id, a) for a in plain if a.id is not None)
        self._largest = max(self._largest, max(numbers, default=0))
        return True

    def complete(self, annotation: InstanceEntry) -> bool:
        """Brings one annotation to normal form; False if it has to be left out."""
        return (
            self._refers(annotation)
            and self._is_new(annotation)
            and self._read_flags(annotation)
            and self._read_place(annotation)
        )

    def report(self, annotation: InstanceEntry, kind: str, message: str, **more: Any) -> None:
        """Reports a fault of an annotation."""
        if self._mend_is_remark and more.get("mend") and kind in ("box", "area"):
            more = {"remark": True}
        number = annotation.id
        name = f"annotation {number}" if type(number) in (int, str) else ""
        self._faults.report(
            kind,
            message,
            record=annotation.image_id,
            field=name or f"annotations[{annotation.position}]",
            entry=("annotations", annotation.position),
            **more,
        )

    def _refers(self, annotation: InstanceEntry) -> bool:
        if annotation.id is not None:
            try:
                annotation.id = as_id(annotation.id)
            except ValueError as error:
                self.report(annotation, "id", f"id: {error}", remark=True)
                annotation.id = None
        if type(annotation.id) is int and annotation.id > self._largest:
            self._largest = annotation.id
        for key, listed in (("image_id", self._image_of), ("category_id", self._category_of)):
            if listed is None:
                continue
            given = getattr(annotation, key)
            try:
                kept = listed.get(given if type(given) is int else as_id(given))
            except ValueError:
                kept = None
            if kept is None:
                message = f"{key} {given!r:.40} is not listed, or was taken out"
                self.report(annotation, "unknown-id", message)
                return False
            if kept is not given:
                setattr(annotation, key, kept)
        return True

    def _is_new(self, annotation: InstanceEntry) -> bool:
        """Reports an id that came before; an annotation of another content keeps its place."""
        number = annotation.id
        if number is None:
            return True
        before = self._seen.setdefault(number, annotation)
        if before is annotation:
            return True
        message = f"annotation id {number} stands twice"
        same = _content(before) == _content(annotation)
        self.report(annotation, "id", message, mend=None if same else ("id", None))
        annotation.id = None
        return not same

    def _read_flags(self, annotation: InstanceEntry) -> bool:
        for key in ("iscrowd", "ignore"):
            value = getattr(annotation, key)
            if value == 0 and type(value) is int:
                continue
            try:
                setattr(annotation, key, int(as_flag(value)))
            except ValueError as error:
                self.report(annotation, "form", f"{key} is {error}")
                return False
        if annotation.score is not None:
            try:
                annotation.score = as_number(annotation.score)
            except ValueError as error:
                self.report(annotation, "form", f"score is {error}")
                return False
        return True

    def _read_place(self, annotation: InstanceEntry) -> bool:
        self._read_area(annotation)
        mask = None if self._boxes_only else annotation.segmentation
        if mask is not None:
            try:
                mask = as_mask(mask)
            except ValueError as error:
                kind = "rle" if str(error).startswith(("RLE", "segmentation is a list")) else ""
                self.report(annotation, kind or "polygon", str(error))
                return False  # no box without a mask: the others of its picture have masks
        if type(mask) is list and min(map(len, mask)) < 6:
            mask = [polygon for polygon in mask if len(polygon) >= 6]
            message = "polygons of fewer than 3 points cover nothing and are left out"
            self.report(annotation, "polygon", message, remark=True)
        annotation.segmentation = mask
        had_box = annotation.bbox is not None
        self._read_box(annotation)
        if mask is None and annotation.bbox is None:
            if not had_box:
                what = "no bbox" if self._boxes_only else "neither bbox nor segmentation"
                self.report(annotation, "form", f"{what} says where it is")
            return False
        return True

    def _read_area(self, annotation: InstanceEntry) -> None:
        area = annotation.area
        if area is None:
            return
        height, width = self._images[annotation.image_id].size
        most = height * width
        if type(area) in (int, float) and 0 <= area <= most:
            return
        try:
            annotation.area = as_number(area)
        except ValueError:
            annotation.area = -1
        if not 0 <= annotation.area <= most:
            annotation.area = None
            message = f"area is {area!r:.40}, expected 0 to {most}, the pixels of its image"
            self.report(annotation, "area", message, mend=("area", None))

    def _read_box(self, annotation: InstanceEntry) -> None:
        box = annotation.bbox
        if box is None or box == []:
            annotation.bbox = None
            return
        mend = None if annotation.segmentation is None else ("bbox", None)
        try:
            box = annotation.bbox = as_box(box)
        except ValueError as error:
            annotation.bbox = None
            self.report(annotation, "box", f"bbox is {error}: x, y, w, h", mend=mend)
            return
        if annotation.segmentation is None and not (box[2] > 0 and box[3] > 0):
            annotation.bbox = None
            message = f"bbox {box!r:.80} has no area: w and h must be above 0"
            self.report(annotation, "box", message)

    def fitting(
        self,
        annotations: List[InstanceEntry],
        sizes: np.ndarray,
        boxes: np.ndarray,
        values: Optional[np.ndarray],
    ) -> List[InstanceEntry]:
        """Returns those whose masks fit their pictures; wrong boxes are left to the masks.

        Args:
            annotations: N, with masks.
            sizes: (N, 2) height, width of their pictures.
            boxes: (N, 4) x, y, width, height; zeros where there is none.
            values: of their polygons, see `check_masks`.
        """
        if not annotations:
            return []
        checks = check_masks([a.segmentation for a in annotations], sizes, values)
        differing = differing_boxes(boxes, checks.extents, sizes)
        flat = ~(boxes[:, 2:] > 0).all(axis=1)
        for index in np.flatnonzero(differing | flat).tolist():
            annotation = annotations[index]
            if index in checks.faults or annotation.bbox is None:
                continue
            if differing[index]:
                self.boxes.add(annotation, checks.extents[index])
            # Otherwise flat, but the same to 2 pixels: an object of a line of pixels.
            annotation.bbox = None
        if values is None:
            for annotation, size in zip(annotations, sizes.tolist()):
                if type(annotation.segmentation) is dict:
                    annotation.segmentation["size"] = size
        for index, (kind, message) in sorted(checks.faults.items()):
            self.report(annotations[index], kind, message)
        if not checks.faults:
            return annotations
        return [a for index, a in enumerate(annotations) if index not in checks.faults]

    def number(self, annotations: List[InstanceEntry]) -> None:
        """Gives ids to the annotations that have none: their positions behind the largest id."""
        missing = [annotation for annotation in annotations if annotation.id is None]
        if not missing:
            return
        free = self._largest + 1
        for annotation in missing:
            annotation.id = free + annotation.position
        message = f"{len(missing)} annotations without an id of their own are numbered from {free}"
        self._faults.report("id", message, remark=True)

    def of_one_kind(self, annotations: List[InstanceEntry]) -> List[InstanceEntry]:
        """Leaves out the pictures of which some objects have a mask and others a box alone."""
        boxes = Counter(a.image_id for a in annotations if a.segmentation is None and not a.iscrowd)
        if not boxes:
            return annotations
        masks = {a.image_id for a in annotations if a.segmentation is not None and not a.iscrowd}
        mixed = masks & boxes.keys()
        for number in sorted(mixed, key=lambda number: self._images[number].position):
            message = (
                f"{boxes[number]} objects have a box and no mask, others have masks: give all of "
                "an image one kind"
            )
            place = {"record": number, "entry": ("images", self._images[number].position)}
            self._faults.report("mixed", message, **place)
        for number in mixed:
            del self._images[number]  # without its objects it would pass for a picture of nothing
        if len(masks) > len(mixed) and len(boxes) > len(mixed):
            message = (
                f"the objects of {len(masks - mixed)} images have masks, those of "
                f"{len(boxes.keys() - mixed)} boxes alone; masks of such a set cannot be scored"
            )
            self._faults.report("mixed", message, remark=True)
        return [a for a in annotations if a.image_id not in mixed] if mixed else annotations

    def of_real_pixels(self, annotations: List[InstanceEntry]) -> List[InstanceEntry]:
        """Refuses a file whose coordinates are shares of the sides instead of pixels."""
        if not annotations or max(max(s.size) for s in self._images.values()) <= 2:
            return annotations
        for annotation in annotations:
            if not _within_one(annotation):
                return annotations
        message = (
            f"the coordinates of all {len(annotations)} annotations lie within 0 and 1: multiply "
            "x by the width and y by the height of the image, pixels are expected"
        )
        self._faults.report("normalised", message)
        return []


def _content(annotation: InstanceEntry) -> Tuple:
    skipped = ("id", "position", "iscrowd", "ignore")
    names = [name for name in annotation.__struct_fields__ if name not in skipped]
    return tuple(repr(getattr(annotation, name)) for name in names)


def _within_one(annotation: InstanceEntry) -> bool:
    box, mask = annotation.bbox, annotation.segmentation
    if type(mask) is dict:
        return False
    if mask is not None:
        return all(0 <= value <= 1 for polygon in mask for value in polygon)
    return all(0 <= value <= 1 for value in box)
