"""labelme: a JSON file per picture with polygons, rectangles, circles and masks."""

import base64
import binascii
import io
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from segplugins.files.coco_images import picture_size
from segplugins.files.exchange.content import (
    Content,
    ellipse,
    flat_points,
    joined_keys,
    joined_masks,
)
from segplugins.files.exchange.export import (
    AnnotatedImage,
    copy_picture,
    count_lost,
    object_mask,
    objects_of,
)
from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.folders import FileFolder
from segplugins.files.json_file import dump_json, read_json
from segplugins.files.raster import decode
from segplugins.files.values import as_box, as_flag, as_id, as_number, as_side, as_size
from segplugins.files.write import write_text
from segplugins.structures.regions import Region, box_of_mask, encode_mask

_VERSION = "5.5.0"
_WITH_AREA = ("polygon", "rectangle", "circle", "mask")
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_KEYS = ("label", "points", "group_id", "shape_type", "flags", "mask", "description", "score")


def read_labelme(
    folder: Path,
    policy: FaultPolicy = STRICT,
    *,
    image_root: Optional[Path] = None,
    box_masks: bool = False,
) -> Content:
    """Reads the labelme files in a folder and below it, in the order of their names.

    Shapes of one label and "group_id" are one object. Points and lines have no area: a remark.

    Args:
        folder: with one JSON file per picture.
        policy: receives the faults of files and shapes, which are left out if it returns.
        image_root: folder of the pictures; "imagePath" leads there from the JSON file, or else
            its name is looked for.
        box_masks: whether rectangles are masks of that shape.

    Raises:
        FileNotFoundError: no JSON file is in the folder.
    """
    files = FileFolder(Path(folder), "json").files()
    if not files:
        raise FileNotFoundError(f"no labelme file *.json in {folder}")
    content = Content(box_masks=box_masks)
    for stem, paths in files.items():
        path = Path(paths[0])
        faults = FileFaults(str(path), policy)
        try:
            file, image = _read_head(path, f"{stem}.json", image_root)
        except (ValueError, OSError) as error:
            faults.report("form", str(error).removeprefix(f"annotation file {path} "))
            continue
        content.add_image(**image)
        _read_shapes(file["shapes"], f"{stem}.json", image, content, faults)
    return content


def _read_head(
    path: Path, name: str, image_root: Optional[Path]
) -> Tuple[Mapping[str, Any], Dict[str, Any]]:
    """Returns the content of a file, and its picture: "file_name", "height", "width"."""
    file = read_json(path)
    if not isinstance(file, Mapping) or not isinstance(file.get("shapes"), list):
        raise ValueError("no list 'shapes' in it: it is no labelme file")
    image = {
        key: None if file.get(given) is None else as_side(file[given])
        for key, given in (("height", "imageHeight"), ("width", "imageWidth"))
    }
    if None not in image.values():
        as_size(**image)
    file_name = _picture(file.get("imagePath"), path, name, image_root)
    if None in image.values() and image_root is not None:
        image["height"], image["width"] = picture_size(image_root / file_name)
    return file, {"file_name": file_name, **image}


def _read_shapes(
    shapes: Sequence[Any],
    name: str,
    image: Mapping[str, Any],
    content: Content,
    faults: FileFaults,
) -> None:
    image_id = image["file_name"]
    groups: Dict[Tuple[str, Any], Dict[str, Any]] = {}
    for position, shape in enumerate(shapes):
        place = f"shapes[{position}]"
        try:
            found = _read_shape(shape, image)
        except (ValueError, TypeError, binascii.Error) as error:
            faults.report("region", str(error), record=image_id, field=place)
            continue
        if isinstance(found, str):
            message = f"a shape of type '{found}' has no area and is left out"
            faults.report("region", message, record=image_id, field=place, remark=True)
            continue
        group = shape.get("group_id")
        first = groups.setdefault((shape["label"], place if group is None else group), found)
        if first is found:
            found["place"] = f"{name} {place}"
            continue
        try:
            _join(first, found, image)
        except ValueError as error:
            message = f"it cannot be joined to the object of its group: {error}"
            faults.report("region", message, record=image_id, field=place)
    for (label, _), found in groups.items():
        place, more = found.pop("place"), found.pop("more")
        if "corners" in found:
            content.add_box(place, image_id, label, found["corners"], **more)
        else:
            content.add_mask(place, image_id, label, found["mask"], **more)


def _picture(given: Any, path: Path, name: str, image_root: Optional[Path]) -> str:
    """Returns the path of the picture below `image_root`."""
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"imagePath is {given!r:.40}, expected the name of the picture")
    given = given.replace("\\", "/")
    last = given.rsplit("/", 1)[-1]
    beside = os.path.join(os.path.dirname(name), last)
    if image_root is None:
        return beside
    root = os.path.realpath(image_root)
    led = os.path.relpath(os.path.realpath(path.parent / given), root)
    candidates = [beside, last] if led.startswith("..") else [led, beside, last]
    return next((each for each in candidates if (image_root / each).is_file()), beside)


def _read_shape(shape: Any, size: Mapping[str, Any]) -> Any:
    """Returns "mask" or "corners" with "more", or the type of a shape that has no area."""
    if not isinstance(shape, Mapping):
        raise ValueError(f"a shape is {shape!r:.60}, expected a mapping")
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"the label of a shape is {label!r:.40}, expected a name")
    kind = shape.get("shape_type") or "polygon"
    if kind in _WITHOUT_AREA:
        return kind
    if kind not in _WITH_AREA:
        raise ValueError(f"shape_type is {kind!r:.40}, expected one of {_WITH_AREA}")
    if shape.get("group_id") is not None:
        as_id(shape["group_id"])
    points = flat_points(shape.get("points"))
    if points is None:
        raise ValueError(f"points are {shape.get('points')!r:.60}, expected [[x, y], ...]")
    points = [as_number(value) for value in points]
    more = _more(shape)
    if kind == "polygon":
        return {"mask": [points], "more": more}
    if len(points) != 4:
        raise ValueError(f"a {kind} has {len(points) // 2} points, expected 2")
    if kind == "rectangle":
        return {"corners": points, "more": more}
    if kind == "circle":
        radius = float(np.hypot(points[2] - points[0], points[3] - points[1]))
        return {"mask": [ellipse((points[0], points[1]), (radius, radius))], "more": more}
    return {"mask": _read_mask(shape.get("mask"), points, size), "more": more}


def _more(shape: Mapping[str, Any]) -> Dict[str, Any]:
    flags = shape.get("flags")
    flags = dict(flags) if isinstance(flags, Mapping) else {}
    more: Dict[str, Any] = {"iscrowd": int(as_flag(flags.pop("iscrowd", 0)))}
    if shape.get("score") is not None:
        more["score"] = as_number(shape["score"])
    attributes = {key: value for key, value in shape.items() if key not in _KEYS}
    attributes |= {"flags": flags} if flags else {}
    if shape.get("description"):
        attributes["description"] = shape["description"]
    return {**more, "attributes": attributes} if attributes else more


def _read_mask(text: Any, points: List[float], size: Mapping[str, Any]) -> Dict[str, Any]:
    """Reads the PNG of a part of the picture; its corners are pixels that belong to the part."""
    if not isinstance(text, str):
        raise ValueError(f"mask is {text!r:.40}, expected a PNG as base64 text")
    part = decode(base64.b64decode(text, validate=True), STRICT, what="mask", formats=("PNG",))
    x0, y0, x1, y1 = (int(round(value)) for value in points)
    pixels = np.asarray(part.image.convert("L")) > 0
    if pixels.shape != (y1 - y0 + 1, x1 - x0 + 1):
        raise ValueError(
            f"its mask has {pixels.shape[1]}x{pixels.shape[0]} pixels, its points say "
            f"{x1 - x0 + 1}x{y1 - y0 + 1}"
        )
    height, width = size["height"], size["width"]
    if height is None or width is None:
        raise ValueError("a mask needs imageHeight and imageWidth, which the file does not have")
    if not (x0 >= 0 and y0 >= 0 and x1 < width and y1 < height):
        raise ValueError(f"its mask from {points[:2]} to {points[2:]} leaves the {height}x{width}")
    whole = np.zeros((height, width), bool)
    whole[y0 : y1 + 1, x0 : x1 + 1] = pixels
    return encode_mask(whole)


def _join(first: Dict[str, Any], other: Dict[str, Any], size: Mapping[str, Any]) -> None:
    """Adds a shape to the object that it belongs to."""
    more = joined_keys(first["more"], other["more"])
    if "corners" in first and "corners" in other:
        a, b = as_box(first["corners"]), as_box(other["corners"])
        xs, ys = [*a[::2], *b[::2]], [*a[1::2], *b[1::2]]
        first |= {"corners": [min(xs), min(ys), max(xs), max(ys)], "more": more}
        return
    mask = joined_masks(_mask_of(first), _mask_of(other), size["height"], size["width"])
    first.pop("corners", None)
    first |= {"mask": mask, "more": more}


def _mask_of(found: Mapping[str, Any]) -> Any:
    if "corners" not in found:
        return found["mask"]
    x0, y0, x1, y1 = found["corners"]
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def write_labelme(
    images: Iterable[AnnotatedImage], out: Path, *, copy_images: bool = False
) -> Counter:
    """Writes a JSON file per picture.

    Polygons stay polygons, those of one object under one "group_id"; RLEs become masks, boxes
    rectangles. Crowds have the flag "iscrowd".

    Args:
        images: to write, one after the other.
        out: folder.
        copy_images: put the pictures beside their files; otherwise files lead to where they are.

    Returns:
        What was written, and what the format cannot hold, by name.
    """
    done: Counter = Counter()
    for image in images:
        path = out / Path(image.file_name).with_suffix(".json")
        picture = image.path
        if copy_images:
            picture = copy_picture(image, out)
        shapes: List[Dict[str, Any]] = []
        for number, region in enumerate(objects_of(image, done), 1):
            shapes += _shapes(region, number, image)
        count_lost(image, done, keeps=("score", "iscrowd"))
        file = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(os.path.relpath(picture, path.parent)).as_posix(),
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        write_text(path, dump_json(file))
        done["files"] += 1
    return done


def _shapes(region: Region, number: int, image: AnnotatedImage) -> List[Dict[str, Any]]:
    flags = {"iscrowd": True} if region.extra.get("iscrowd") else {}
    shape = {"label": region.text, "group_id": None, "flags": flags, "description": ""}
    if region.score != 1.0:
        shape["score"] = float(region.score)
    if region.mask is None:
        x0, y0, x1, y1 = map(float, region.box)
        points = [[x0, y0], [x1, y1]]
        return [{**shape, "shape_type": "rectangle", "points": points}]
    if isinstance(region.mask, list):
        shape["group_id"] = number if len(region.mask) > 1 else None
        rings = [np.reshape(polygon, (-1, 2)).tolist() for polygon in region.mask]
        return [{**shape, "shape_type": "polygon", "points": ring} for ring in rings]
    bitmap = object_mask(region, image)
    x0, y0, x1, y1 = (int(value) for value in box_of_mask(bitmap))
    png = io.BytesIO()
    Image.fromarray(bitmap[y0:y1, x0:x1]).save(png, "PNG")
    mask = base64.b64encode(png.getvalue()).decode("ascii")
    points = [[x0, y0], [x1 - 1, y1 - 1]]
    return [{**shape, "shape_type": "mask", "points": points, "mask": mask}]
