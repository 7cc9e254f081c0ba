"""The true instances of a data set, from a COCO or LVIS file or from the records of the catalog."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from segplugins.evaluation.samples import describe
from segplugins.evaluation.targets import regions_of
from segplugins.structures.regions import Region, check_polygons, rle_counts


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
        polygons = [list(map(float, polygon)) for polygon in mask]
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    if list(mask.get("size", ())) != [height, width]:
        raise ValueError(f"RLE has size {mask.get('size')}, expected [{height}, {width}]")
    runs = rle_counts(mask)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"RLE runs add up to {runs.sum()} pixels, expected {height}*{width}")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)


def truth_from_file(path: str, *, with_masks: bool = True) -> InstanceTruth:
    """Reads a COCO or LVIS annotation file; it is LVIS if its categories have a "frequency".

    The file of a test set has no "annotations": its truth is not known.

    Args:
        path: of the file.
        with_masks: read the masks, which are checked here, not after hours of inference.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, or an annotation names an unknown image or category, has no finite
            box or area, or a mask that does not fit its image.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"annotation file {path} is not readable: {error}") from error
    absent = [key for key in ("images", "categories") if key not in content]
    if absent:
        raise ValueError(f"annotation file {path} has no {absent}; is it one of COCO's form?")
    categories = sorted(content["categories"], key=lambda category: category["id"])
    index = {category["id"]: i for i, category in enumerate(categories)}
    federated = bool(categories) and all("frequency" in category for category in categories)
    images = {image["id"]: _image(image, index) for image in content["images"]}
    for annotation in content.get("annotations", ()):
        where = f"{path}: annotation {annotation.get('id')}"
        if annotation.get("image_id") not in images or annotation.get("category_id") not in index:
            raise ValueError(
                f"{where} is of image {annotation.get('image_id')} and category "
                f"{annotation.get('category_id')}; the file lists no such pair"
            )
        image, category = images[annotation["image_id"]], index[annotation["category_id"]]
        instance = _instance(annotation, category, where, federated, image)
        if with_masks and annotation.get("segmentation"):
            instance = instance._replace(mask=_rle(annotation["segmentation"], image, where))
        if instance.area > 0 or not federated:  # lvis leaves annotations without area out
            image.instances.append(instance)
    return InstanceTruth(
        names=tuple(str(category.get("name", category["id"])) for category in categories),
        category_ids=tuple(index),
        images=images,
        frequency=tuple(c["frequency"] for c in categories) if federated else None,
        is_known="annotations" in content,
    )


def _image(image: Mapping, index: Mapping[int, int]) -> TrueImage:
    def indices(key: str) -> FrozenSet[int]:
        return frozenset(index[i] for i in image.get(key, ()) if i in index)

    return TrueImage(
        height=image["height"],
        width=image["width"],
        absent=indices("neg_category_ids"),
        not_exhaustive=indices("not_exhaustive_category_ids"),
    )


def _instance(
    annotation: Mapping, category: int, where: str, federated: bool, image: TrueImage
) -> TrueInstance:
    box, area = annotation.get("bbox"), annotation.get("area")
    crowd = bool(annotation.get("iscrowd", 0)) and not federated  # LVIS knows no crowds
    if box is None or len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(f"{where} has the box {box!r}, expected four finite numbers")
    most = image.height * image.width
    if area is None or not 0 <= area <= most:  # also where it is NaN
        raise ValueError(
            f"{where} has the area {area!r}, expected 0 to {most}, the pixels of its image"
        )
    return TrueInstance(
        category=category,
        box=tuple(map(float, box)),
        area=float(area),
        crowd=crowd,
        # COCO's "ignore" is overwritten by "iscrowd" in pycocotools; lvis reads it.
        ignored=bool(annotation.get("ignore", 0)) if federated else crowd,
        mask=None,
    )


def _rle(mask: Any, image: TrueImage, where: str) -> dict:
    try:
        return to_rle(mask, image.height, image.width)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def truth_from_records(records: Sequence[Mapping], names: Sequence[str]) -> InstanceTruth:
    """Takes the truth from the catalog.

    Args:
        records: with "image_id", "height", "width" and either "regions" (those with a class index
            count; `extra` may hold "iscrowd" and "area") or detectron2's "annotations".
        names: K class names.

    Raises:
        ValueError: a record has neither, or a class index is none of 0..K-1.
    """
    images = {}
    for record in records:
        image = images[record["image_id"]] = TrueImage(record["height"], record["width"])
        if "regions" in record:
            kept = [region for region in regions_of(record) if region.has_target]
            found = [_from_region(region, image, describe(record)) for region in kept]
        elif "annotations" in record:
            found = [_from_annotation(a, image, describe(record)) for a in record["annotations"]]
        else:
            raise ValueError(f"{describe(record)}: neither regions nor annotations to score by")
        for instance in found:
            if not 0 <= instance.category < len(names):
                raise ValueError(
                    f"{describe(record)}: an instance of class {instance.category}, expected "
                    f"0..{len(names) - 1}"
                )
        image.instances.extend(found)
    return InstanceTruth(tuple(names), tuple(range(len(names))), images)


def _from_region(region: Region, image: TrueImage, where: str) -> TrueInstance:
    rle = None if region.mask is None else _rle(region.mask, image, where)
    if region.box is not None:
        box = BoxMode.convert(list(region.box), BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    else:
        box = coco_mask.toBbox(rle)
    return _known(region.class_index, box, rle, region.extra)


def _from_annotation(annotation: Mapping, image: TrueImage, where: str) -> TrueInstance:
    mask = annotation.get("segmentation")
    rle = _rle(mask, image, where) if mask else None
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYWH_ABS)
    return _known(annotation["category_id"], box, rle, annotation)


def _known(category: int, box: Sequence, rle: Optional[dict], facts: Mapping) -> TrueInstance:
    """Without an "area" among the facts it is that of the mask, or else of the box."""
    crowd, area = bool(facts.get("iscrowd", 0)), facts.get("area")
    if area is None:
        area = box[2] * box[3] if rle is None else coco_mask.area(rle)
    return TrueInstance(category, tuple(map(float, box)), float(area), crowd, crowd, rle)
