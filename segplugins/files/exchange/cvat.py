"""CVAT for images 1.1: one XML file with polygons, masks, boxes and ellipses."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional
from xml.parsers import expat
from xml.sax.saxutils import XMLGenerator

import numpy as np

from segplugins.files.exchange.content import Content, ellipse, joined_keys, joined_masks, turned
from segplugins.files.exchange.export import (
    AnnotatedImage,
    copy_picture,
    count_lost,
    object_mask,
    objects_of,
)
from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.values import as_flag, as_number, as_size
from segplugins.files.write import replacing
from segplugins.structures.regions import Region, box_of_mask, check_runs, encode_mask

_SHAPES = ("polygon", "box", "mask", "ellipse")
_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")
_OURS = ("iscrowd", "score")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_cvat(
    path: Path,
    policy: FaultPolicy = STRICT,
    *,
    image_root: Optional[Path] = None,
    box_masks: bool = False,
) -> Content:
    """Reads the annotations.xml of an export "CVAT for images 1.1".

    Polygons, ellipses and masks of one label and "group_id" are one object. Points, lines, cuboids
    and tags have no area: a remark.

    Args:
        path: XML.
        policy: receives the faults of pictures and shapes, which are left out if it returns.
        image_root: unused: the names in the file lead from there.
        box_masks: whether rectangles are masks of that shape.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such XML.
    """
    reader = _Reader(FileFaults(str(path), policy))
    _parse(Path(path), reader.start, reader.text, reader.end)
    if not reader.is_annotations:
        raise ValueError(f"{path} has no <annotations>: it is no export of CVAT")
    return reader.content(box_masks)


def _parse(
    path: Path,
    start: Callable[[str, Dict[str, str]], None],
    text: Callable[[str], None],
    end: Callable[[str], None],
) -> None:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text

    def refuse(*_: Any) -> None:
        raise ValueError(f"{path} defines entities, which no export of CVAT does; it is not read")

    parser.EntityDeclHandler = refuse  # a few of them can stand for gigabytes
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise ValueError(f"{path} is no XML that can be read: {error}") from error


class _Reader:
    """Collects what the elements of the file say."""

    def __init__(self, faults: FileFaults):
        self.is_annotations = False
        self._faults = faults
        self._above: List[str] = []
        self._text = ""
        self._labels: List[str] = []
        self._images: List[Dict[str, Any]] = []
        self._shape: Optional[Dict[str, Any]] = None
        self._attribute = ""

    def start(self, name: str, attributes: Dict[str, str]) -> None:
        """Begins an element."""
        if not self._above:
            self.is_annotations = name == "annotations"
        if name == "track":
            raise ValueError(
                f"{self._faults.file} holds tracks of a video; export it from CVAT as 'CVAT for "
                "images 1.1', which gives the shapes of each frame"
            )
        self._above.append(name)
        self._text = ""
        if name == "image":
            self._images.append({**attributes, "shapes": []})
        elif self._above[-2:-1] == ["image"]:
            self._shape = {"kind": name, "attributes": {}, **attributes}
            self._images[-1]["shapes"].append(self._shape)
        elif name == "attribute" and self._shape is not None:
            self._attribute = attributes.get("name", "")

    def text(self, text: str) -> None:
        """Adds text of an element."""
        self._text += text

    def end(self, name: str) -> None:
        """Ends an element."""
        self._above.pop()
        if name == "attribute" and self._shape is not None:
            self._shape["attributes"][self._attribute] = self._text.strip()
        elif name == "name" and self._above[-1:] == ["label"]:
            self._labels.append(self._text.strip())
        elif self._above[-1:] == ["image"]:
            self._shape = None

    def content(self, box_masks: bool) -> Content:
        """Returns what was collected, in COCO's form."""
        content = Content(dict.fromkeys(self._labels), box_masks=box_masks)
        for number, image in enumerate(self._images):
            try:
                height, width = as_size(image.get("height"), image.get("width"))
                if not image.get("name"):
                    raise ValueError("name is missing")
            except ValueError as error:
                message = f"height, width and name of a picture: {error}"
                self._faults.report("image-size", message, field=f"image {number}")
                continue
            file_name = image["name"].replace("\\", "/")
            content.add_image(file_name, height=height, width=width)
            self._add_shapes(image["shapes"], file_name, (height, width), content)
        return content

    def _add_shapes(
        self, shapes: List[Dict[str, Any]], file_name: str, size: tuple, content: Content
    ) -> None:
        objects: Dict[Any, tuple] = {}
        for position, shape in enumerate(shapes):
            where = {"record": file_name, "field": f"{shape['kind']} {position}"}
            if shape["kind"] in _WITHOUT_AREA:
                message = f"a {shape['kind']} has no area and is left out"
                self._faults.report("region", message, remark=True, **where)
                continue
            try:
                found, more = _read_shape(shape, size), _more(shape)
            except (ValueError, KeyError) as error:
                message = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                self._faults.report("region", message, **where)
                continue
            place = f"{file_name} {where['field']}"
            group = shape.get("group_id", "0")
            key = position if group == "0" or isinstance(found, tuple) else (shape["label"], group)
            place, label, before, keys = objects.get(key, (place, shape["label"], None, {}))
            try:
                mask = found if before is None else joined_masks(before, found, *size)
            except ValueError as error:
                message = f"it cannot be joined to the object of its group: {error}"
                self._faults.report("region", message, **where)
                continue
            objects[key] = (place, label, mask, joined_keys(keys, more))
        for place, label, found, more in objects.values():
            add = content.add_box if isinstance(found, tuple) else content.add_mask
            add(place, file_name, label, found, **more)


def _read_shape(shape: Mapping[str, Any], size: tuple) -> Any:
    """Returns the corners of a box as a tuple, polygons as a list, or an RLE."""
    kind = shape["kind"]
    if kind not in _SHAPES:
        raise ValueError(f"<{kind}> is no shape that is known, expected one of {_SHAPES}")
    if not shape["label"].strip():
        raise ValueError("a shape has no label")
    if kind == "polygon":
        points = shape["points"].replace(",", ";").split(";")
        return [[as_number(value) for value in points]]
    degrees = as_number(shape.get("rotation", 0))
    if kind == "ellipse":
        centre = as_number(shape["cx"]), as_number(shape["cy"])
        return [ellipse(centre, (as_number(shape["rx"]), as_number(shape["ry"])), degrees)]
    if kind == "mask":
        return _read_mask(shape, size)
    x0, y0, x1, y1 = (as_number(shape[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    if not degrees:
        return x0, y0, x1, y1
    centre, half = ((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)
    corners = [(-half[0], -half[1]), (half[0], -half[1]), half, (-half[0], half[1])]
    return [turned(corners, centre, degrees)]


def _read_mask(shape: Mapping[str, Any], size: tuple) -> Dict[str, Any]:
    """Reads run lengths that go along the rows of a part of the picture, background first."""
    part = [as_number(shape[key]) for key in ("left", "top", "width", "height")]
    x, y, width, height = (int(value) for value in part)
    if part != [x, y, width, height]:
        raise ValueError(f"left, top, width and height of a mask are {part}, expected pixels")
    if not (x >= 0 and y >= 0 and 0 < width <= size[1] - x and 0 < height <= size[0] - y):
        raise ValueError(
            f"a mask of {width}x{height} at ({x}, {y}) leaves its picture of {size[1]}x{size[0]}"
        )
    try:
        runs = np.array([int(value) for value in shape["rle"].split(",")], np.int64)
    except (ValueError, OverflowError):
        raise ValueError(f"rle {shape['rle']!r:.40}, expected run lengths with commas") from None
    check_runs(runs, height, width)
    whole = np.zeros(size, bool)
    part = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    whole[y : y + height, x : x + width] = part.reshape(height, width)
    return encode_mask(whole)


def _more(shape: Mapping[str, Any]) -> Dict[str, Any]:
    attributes = dict(shape["attributes"])
    more: Dict[str, Any] = {"iscrowd": int(as_flag(attributes.pop("iscrowd", 0)))}
    if "score" in attributes:
        more["score"] = as_number(attributes.pop("score"))
    return {**more, "attributes": attributes} if attributes else more


def write_cvat(
    images: Iterable[AnnotatedImage],
    out: Path,
    names: Iterable[str],
    *,
    copy_images: bool = False,
) -> Counter:
    """Writes annotations.xml, to be imported as "CVAT for images 1.1".

    Polygons stay polygons, those of one object under one "group_id"; RLEs become masks. Crowds
    and scores are attributes.

    Args:
        images: to write, one after the other.
        out: folder.
        names: of all labels, which CVAT's task needs.
        copy_images: put the pictures into out/images, as in CVAT's own exports.

    Returns:
        What was written, and what the format cannot hold, by name.
    """
    done: Counter = Counter()
    with replacing(out / "annotations.xml") as temporary, open(temporary, "wb") as file:
        xml = _Writer(XMLGenerator(file, "utf-8", short_empty_elements=True))
        xml.begin("annotations")
        xml.leaf("version", "1.1")
        _write_labels(xml, names)
        for number, image in enumerate(images):
            if copy_images:
                copy_picture(image, out / "images")
            size = {"width": image.width, "height": image.height}
            xml.begin("image", id=number, name=image.file_name, **size)
            for group, region in enumerate(objects_of(image, done), 1):
                _write_region(xml, region, group, image)
            xml.end("image")
            count_lost(image, done, keeps=("score", "iscrowd"))
            done["pictures"] += 1
        xml.end("annotations")
        xml.close()
    return done


class _Writer:
    """Writes elements, and refuses characters that XML cannot hold."""

    def __init__(self, generator: XMLGenerator):
        self._xml = generator
        self._xml.startDocument()

    def begin(self, element: str, **attributes: Any) -> None:
        self._xml.startElement(element, {key: _text(value) for key, value in attributes.items()})

    def end(self, element: str) -> None:
        self._xml.endElement(element)
        self._xml.ignorableWhitespace("\n")

    def leaf(self, element: str, content: str, **attributes: Any) -> None:
        self.begin(element, **attributes)
        self._xml.characters(_text(content))
        self.end(element)

    def close(self) -> None:
        self._xml.endDocument()


def _text(value: Any) -> str:
    text = str(value)
    if _NOT_IN_XML.search(text):
        raise ValueError(f"{text!r:.80} holds a character that an XML file cannot hold; rename it")
    return text


def _write_labels(xml: _Writer, names: Iterable[str]) -> None:
    for element in ("meta", "task", "labels"):
        xml.begin(element)
    for name in names:
        xml.begin("label")
        xml.leaf("name", name)
        xml.begin("attributes")
        for ours in _OURS:
            xml.begin("attribute")
            xml.leaf("name", ours)
            xml.leaf("input_type", "text")
            xml.end("attribute")
        xml.end("attributes")
        xml.end("label")
    for element in ("labels", "task", "meta"):
        xml.end(element)


def _write_region(xml: _Writer, region: Region, group: int, image: AnnotatedImage) -> None:
    common = {"label": region.text, "source": "manual" if region.score == 1.0 else "auto"}
    common |= {"occluded": 0, "z_order": 0}
    for kind, attributes in _elements(region, group, image):
        xml.begin(kind, **common, **attributes)
        if region.extra.get("iscrowd"):
            xml.leaf("attribute", "1", name="iscrowd")
        if region.score != 1.0:
            xml.leaf("attribute", repr(float(region.score)), name="score")
        xml.end(kind)


def _elements(region: Region, group: int, image: AnnotatedImage) -> List[tuple]:
    if region.mask is None:
        corners = map(float, region.box)
        return [("box", dict(zip(("xtl", "ytl", "xbr", "ybr"), map(repr, corners))))]
    if isinstance(region.mask, list):
        grouped = {"group_id": group} if len(region.mask) > 1 else {}
        pairs = [np.reshape(polygon, (-1, 2)).tolist() for polygon in region.mask]
        texts = [";".join(f"{x!r},{y!r}" for x, y in points) for points in pairs]
        return [("polygon", {"points": text, **grouped}) for text in texts]
    mask = object_mask(region, image)
    x0, y0, x1, y1 = (int(value) for value in box_of_mask(mask))
    flat = np.concatenate(([False], mask[y0:y1, x0:x1].ravel(), [False]))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate(([0], changes, [len(flat) - 2]))
    runs = np.diff(ends)
    runs = runs[:-1] if runs[-1] == 0 else runs
    place = {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
    return [("mask", {"rle": ", ".join(map(str, runs)), **place})]
