"""COCO: writes an instance file, or a panoptic file with its maps."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np
from PIL import Image

from segplugins.files.exchange.export import (
    AnnotatedImage,
    copy_picture,
    count_lost,
    object_mask,
    objects_of,
)
from segplugins.files.json_file import dump_json
from segplugins.files.values import as_mask
from segplugins.files.write import replacing, write_text
from segplugins.structures.regions import Region, box_of_mask

_INSTANCES, _PANOPTIC, _MAPS = "instances.json", "panoptic.json", "panoptic"


def write_coco(
    images: Iterable[AnnotatedImage],
    out: Path,
    names: Mapping[str, bool],
    *,
    copy_images: bool = False,
) -> Counter:
    """Writes instances.json; masks stay polygons or RLEs, objects without one have a box.

    Args:
        images: to write, one after the other.
        out: folder.
        names: of all classes, and whether their instances are counted apart.
        copy_images: put the pictures into out/images.

    Returns:
        What was written, and what the format cannot hold, by name.
    """
    done: Counter = Counter()
    numbers = {name: i for i, name in enumerate(names, 1)}
    listed: List[Dict[str, Any]] = []
    annotations: List[Dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        entry = _image(image, number, out, copy_images)
        if image.not_exhaustive:
            entry["not_exhaustive_category_ids"] = [numbers[t] for t in image.not_exhaustive]
        listed.append(entry)
        for region in objects_of(image, done):
            entry = {"id": len(annotations) + 1, "image_id": number}
            entry |= {"category_id": numbers[region.text], **_shape(region, image)}
            if region.score != 1.0:
                entry["score"] = float(region.score)
            annotations.append(entry)
        count_lost(image, done, keeps=("score", "iscrowd", "not_exhaustive"))
        done["pictures"] += 1
    file = {"images": listed, "annotations": annotations, "categories": _categories(names)}
    write_text(out / _INSTANCES, dump_json(file))
    return done


def _image(image: AnnotatedImage, number: int, out: Path, copy_images: bool) -> Dict[str, Any]:
    if copy_images:
        copy_picture(image, out / "images")
    size = {"height": image.height, "width": image.width}
    return {"id": number, "file_name": image.file_name, **size}


def _categories(names: Mapping[str, bool]) -> List[Dict[str, Any]]:
    return [
        {"id": number, "name": name, "isthing": int(is_thing)}
        for number, (name, is_thing) in enumerate(names.items(), 1)
    ]


def _shape(region: Region, image: AnnotatedImage) -> Dict[str, Any]:
    iscrowd = int(bool(region.extra.get("iscrowd")))
    if region.mask is None:
        x0, y0, x1, y1 = map(float, region.box)
        box = [x0, y0, x1 - x0, y1 - y0]
        return {"bbox": box, "area": box[2] * box[3], "iscrowd": iscrowd}
    mask = object_mask(region, image)
    return {
        "segmentation": as_mask(region.mask),
        "bbox": _xywh(mask),
        "area": int(mask.sum()),
        "iscrowd": iscrowd,
    }


def _xywh(mask: np.ndarray) -> List[float]:
    x0, y0, x1, y1 = box_of_mask(mask)
    return [x0, y0, x1 - x0, y1 - y0]


def write_panoptic(
    images: Iterable[AnnotatedImage],
    out: Path,
    names: Mapping[str, bool],
    *,
    copy_images: bool = False,
    cover: bool = False,
) -> Counter:
    """Writes panoptic.json and panoptic/*.png.

    Regions of one stuff class are one segment.

    Args:
        images: to write, one after the other.
        out: folder.
        names: of all classes, and whether their instances are counted apart.
        copy_images: put the pictures into out/images.
        cover: smaller regions cover larger ones; False: regions that overlap are an error.

    Returns:
        What was written, and what the format cannot hold, by name.

    Raises:
        ValueError: regions overlap, or one has no mask; the message names the picture.
    """
    done: Counter = Counter()
    numbers = {name: i for i, name in enumerate(names, 1)}
    listed: List[Dict[str, Any]] = []
    annotations: List[Dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        listed.append(_image(image, number, out, copy_images))
        ids, segments = _segments(image, names, cover, done)
        for segment in segments:
            segment["category_id"] = numbers[segment["category_id"]]
        file_name = str(Path(image.file_name).with_suffix(".png"))
        png = np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        with replacing(out / _MAPS / file_name) as temporary:
            Image.fromarray(png).save(temporary, "PNG")
        entry = {"image_id": number, "file_name": file_name, "segments_info": segments}
        annotations.append(entry)
        count_lost(image, done, keeps=("iscrowd",))
        done["pictures"] += 1
    file = {"images": listed, "annotations": annotations, "categories": _categories(names)}
    write_text(out / _PANOPTIC, dump_json(file))
    return done


def _segments(
    image: AnnotatedImage, names: Mapping[str, bool], cover: bool, done: Counter
) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
    """Returns ids (H, W) int32, 0 = nothing, and the segments with names instead of numbers."""
    painted: Dict[Any, Tuple[Region, np.ndarray]] = {}
    for position, region in enumerate(objects_of(image, done)):
        if region.mask is None:
            raise ValueError(f"{image.path}: '{region.text}' has a box and no mask")
        mask = object_mask(region, image)
        key = position if names[region.text] else region.text
        before = painted.get(key)
        painted[key] = (region, mask if before is None else mask | before[1])
    ids = np.zeros((image.height, image.width), np.int32)
    order: Sequence[Tuple[Region, np.ndarray]] = list(painted.values())
    if cover:
        order = sorted(order, key=lambda pair: -int(pair[1].sum()))
    for number, (region, mask) in enumerate(order, 1):
        if not cover and (ids[mask] != 0).any():
            other = order[int(ids[mask].max()) - 1][0]
            raise ValueError(
                f"{image.path}: '{region.text}' and '{other.text}' overlap, which a panoptic map "
                "cannot hold; let smaller regions cover larger ones with --overlap cover"
            )
        ids[mask] = number
    segments = []
    for number, (region, _) in enumerate(order, 1):
        shown = ids == number
        if not shown.any():
            done["objects that others cover, left out"] += 1
            continue
        iscrowd = int(bool(region.extra.get("iscrowd")))
        entry = {"id": number, "category_id": region.text, "iscrowd": iscrowd}
        segments.append({**entry, "bbox": _xywh(shown), "area": int(shown.sum())})
    return ids, segments
