"""The true instances of a data set, and how they are read from a COCO or LVIS file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pycocotools import mask as coco_mask

from segplugins.files.coco import read_instances
from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.coco_images import ImageEntry
from segplugins.files.values import Id
from segplugins.structures.regions import check_polygons, rle_counts


class TrueInstance(NamedTuple):
    """One annotation. Its id plays no part: pycocotools takes the id 0 for "unmatched"."""

    category: int  # index, 0..K-1
    box: Tuple[float, float, float, float]  # x, y, width, height in pixels
    area: float  # square pixels, as the file says
    crowd: bool
    ignored: bool
    mask: Optional[dict]  # COCO RLE as pycocotools compares it, or None


@dataclass
class TrueImage:
    """What is known of one image."""

    height: int
    width: int
    instances: List[TrueInstance] = field(default_factory=list)
    absent: FrozenSet[int] = frozenset()  # LVIS: categories that it surely does not show
    not_exhaustive: FrozenSet[int] = frozenset()  # LVIS: categories not annotated everywhere


@dataclass
class InstanceTruth:
    """The true instances of a data set.

    Args:
        names: K category names.
        category_ids: K ids, as the file has them, ascending.
        images: by image id.
        frequency: "r", "c" or "f" per category in an LVIS set, else None.
        is_known: False for a test set, whose file holds no annotations.
    """

    names: Tuple[str, ...]
    category_ids: Tuple[int, ...]
    images: Dict[Any, TrueImage]
    frequency: Optional[Tuple[str, ...]] = None
    is_known: bool = True

    def count_masks(self) -> Tuple[int, int]:
        """Returns how many instances there are, and how many of them have a mask."""
        masks = [i.mask is not None for image in self.images.values() for i in image.instances]
        return len(masks), sum(masks)


def to_rle(mask: Any, height: int, width: int) -> dict:
    """Turns a mask of the truth into the RLE that pycocotools compares.

    Args:
        mask: COCO RLE (text or list counts) or polygons.
        height: of the image in pixels.
        width: of the image in pixels.

    Raises:
        ValueError: it does not fit the image or is no mask; pycocotools itself would read past the
            end of a short RLE and dies on coordinates that are not finite.
    """
    if not isinstance(mask, Mapping):
        check_polygons(mask, height, width)
        return _drawn(mask, height, width)
    if list(mask.get("size", ())) != [height, width]:
        raise ValueError(f"RLE has size {mask.get('size')}, expected [{height}, {width}]")
    runs = rle_counts(mask)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"RLE runs add up to {runs.sum()} pixels, expected {height}*{width}")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)


def _drawn(polygons: Sequence, height: int, width: int) -> dict:
    """Returns checked polygons as the RLE that pycocotools compares."""
    lists = [polygon if type(polygon) is list else list(polygon) for polygon in polygons]
    rles = coco_mask.frPyObjects(lists, height, width)
    return rles[0] if len(rles) == 1 else coco_mask.merge(rles)


def truth_from_file(
    path: str, *, with_masks: bool = True, image_root: Optional[str] = None, **reading: Any
) -> InstanceTruth:
    """Reads a COCO or LVIS annotation file; it is LVIS if its categories have a "frequency".

    The file of a test set has no "annotations": its truth is not known.

    Args:
        path: of the file.
        with_masks: read the masks, which are checked here, not after hours of inference.
        image_root: folder of the pictures, for sizes that the file lacks.
        reading: "vocabulary", "renamed" and "keep_parts" of `read_instances`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, or has a fault; see `segplugins.files.coco.read_instances`.
    """
    file = read_instances(
        path,
        image_root=None if image_root is None else Path(image_root),
        boxes_only=not with_masks,
        with_annotations=False,
        **reading,
    )
    index = {category.id: i for i, category in enumerate(file.categories)}
    frequencies = tuple(category.frequency for category in file.categories)
    federated = bool(frequencies) and all(isinstance(f, str) for f in frequencies)
    images = {number: _image(image, index) for number, image in file.images.items()}
    for annotation in file.annotations:
        image = images[annotation.image_id]
        where = f"{path}: annotation {annotation.id}"
        instance = _from_entry(annotation, index[annotation.category_id], image, where, federated)
        if instance.area > 0 or not federated:  # lvis leaves annotations without area out
            image.instances.append(instance)
    return InstanceTruth(
        names=tuple(category.name for category in file.categories),
        category_ids=tuple(index),
        images=images,
        frequency=frequencies if federated else None,
        is_known=file.has_annotations,
    )


def _image(image: ImageEntry, index: Mapping[Id, int]) -> TrueImage:
    def indices(numbers: Optional[Sequence[Id]]) -> FrozenSet[int]:
        return frozenset(index[number] for number in numbers or ())

    return TrueImage(
        height=image.height,
        width=image.width,
        absent=indices(image.neg_category_ids),
        not_exhaustive=indices(image.not_exhaustive_category_ids),
    )


def _from_entry(
    annotation: InstanceEntry, category: int, image: TrueImage, where: str, federated: bool
) -> TrueInstance:
    """What the file does not say of box and area is made from the mask, or else from the box."""
    mask, box, area = annotation.segmentation, annotation.bbox, annotation.area
    rle = None if mask is None else _rle_of_entry(mask, image, where)
    if box is None:
        box = coco_mask.toBbox(rle)
    if area is None:
        area = box[2] * box[3] if rle is None else coco_mask.area(rle)
    crowd = bool(annotation.iscrowd) and not federated  # LVIS has no crowds
    return TrueInstance(
        category=category,
        box=tuple(map(float, box)),
        area=float(area),
        crowd=crowd,
        # COCO's "ignore" is overwritten by "iscrowd" in pycocotools; lvis reads it.
        ignored=bool(annotation.ignore) if federated else crowd,
        mask=rle,
    )


def _rle_of_entry(mask: Any, image: TrueImage, where: str) -> dict:
    """Returns the RLE of a mask of a file; `read_instances` has checked its polygons."""
    # pycocotools takes a polygon of 4 values for a box.
    if type(mask) is list and all(len(polygon) >= 6 for polygon in mask):
        return _drawn(mask, image.height, image.width)
    return _rle(mask, image, where)


def _rle(mask: Any, image: TrueImage, where: str) -> dict:
    try:
        return to_rle(mask, image.height, image.width)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
