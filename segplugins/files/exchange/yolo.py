"""YOLO: a data.yaml, and beside the pictures a text file each with a line per object."""

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

import yaml

from segplugins.files.coco_images import picture_size
from segplugins.files.exchange.content import Content
from segplugins.files.exchange.export import (
    AnnotatedImage,
    copy_picture,
    count_lost,
    object_mask,
    objects_of,
)
from segplugins.files.exchange.outlines import one_polygon
from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.folders import FileFolder
from segplugins.files.text import read_lines, read_yaml
from segplugins.files.values import as_number
from segplugins.files.write import write_text
from segplugins.structures.regions import Region

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_SLACK = 1e-3  # by which programs write values below 0 and above 1
_DIGITS = 8  # behind the point: 0.0001 pixels of a picture of 10,000


class YoloFile:
    """A data.yaml: where the pictures of each split are, and the names of the classes.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no file {path}")
        content = read_yaml(self.path, what="data file of YOLO")
        if not isinstance(content, dict) or "names" not in content:
            raise ValueError(f"{path} has no 'names': it is no data file of YOLO")
        self.names = _names(content["names"], self.path)
        self._check_kind(content)
        self.root = self._root(content.get("path"))
        self._content = content

    def _check_kind(self, content: Mapping[str, Any]) -> None:
        if content.get("kpt_shape") is not None:
            raise ValueError(
                f"{self.path} has 'kpt_shape': its lines hold keypoints, which are neither boxes "
                "nor masks; export boxes or polygons"
            )
        count = content.get("nc")
        if count is not None and count != len(self.names):
            raise ValueError(f"{self.path}: 'nc' is {count!r:.40}, but {len(self.names)} names")

    def _root(self, given: Any) -> Path:
        folder = self.path.absolute().parent
        if isinstance(given, str) and (folder / given).is_dir():
            return folder / given
        return folder  # the path of another machine; what lies beside the file counts

    def pictures(self, split: str) -> List[Path]:
        """Returns the pictures of a split, in the order of their names or of a list.

        Raises:
            ValueError: the file has no such split.
            FileNotFoundError: its folder or list is not there.
        """
        given = self._content.get(split)
        if given is None:
            has = [each for each in SPLITS if self._content.get(each) is not None]
            raise ValueError(f"{self.path} has no '{split}'; it has {has}")
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise ValueError(
                f"{self.path}, '{split}': got {given!r:.60}, expected a path or several"
            )
        found: List[Path] = []
        for each in given:
            place = self._place(each, split)
            if place.suffix == ".txt":
                found += [self._listed(line, place) for line in read_lines(place)]
            else:
                found += [
                    Path(path) for paths in FileFolder(place).files().values() for path in paths
                ]
        return found

    def _place(self, given: str, split: str) -> Path:
        # Some programs write "../train/images" for a folder beside the file.
        readings = [given, given[3:]] if given.startswith("../") else [given]
        for reading in readings:
            if (self.root / reading).exists():
                return self.root / reading
        raise FileNotFoundError(f"{self.path}, '{split}': there is no {self.root / given}")

    def _listed(self, line: str, source: Path) -> Path:
        return source.parent / line if line.startswith("./") else self.root / line


def _names(given: Any, path: Path) -> List[str]:
    if isinstance(given, Mapping):
        if set(given) != set(range(len(given))):
            raise ValueError(f"{path}: 'names' has the numbers {[*given]!r:.60}, expected 0..K-1")
        given = [given[number] for number in range(len(given))]
    if not isinstance(given, list) or not given or not all(isinstance(n, str) for n in given):
        raise ValueError(f"{path}: 'names' is {given!r:.60}, expected a list of names")
    repeated = [name for name, count in Counter(given).items() if count > 1]
    if repeated:
        raise ValueError(f"{path}: 'names' has '{repeated[0]}' twice; names must differ")
    return given


def read_yolo(
    path: Path,
    policy: FaultPolicy = STRICT,
    *,
    image_root: Optional[Path] = None,
    box_masks: bool = False,
    split: str = "train",
) -> Content:
    """Reads the label files of one split.

    A line is a class number and the corners of a polygon, or centre and size of a box, in parts of
    the picture's width and height. A picture without a label file shows no object.

    Args:
        path: data.yaml.
        policy: receives the faults of files and lines, which are left out if it returns.
        image_root: folder that the pictures are named from; None: the root of the file.
        box_masks: whether boxes are masks of that shape.
        split: "train", "val" or "test".

    Raises:
        FileNotFoundError, ValueError: see `YoloFile`.
    """
    file = YoloFile(path)
    root = Path(image_root or file.root).absolute()
    content = Content(file.names, box_masks=box_masks)
    without = 0
    for picture in file.pictures(split):
        label = label_file(picture)
        faults = FileFaults(str(label), policy)
        try:
            height, width = picture_size(picture)
        except ValueError as error:
            faults.report("image-size", str(error))
            continue
        name = os.path.relpath(picture, root)
        content.add_image(name, height=height, width=width)
        without += not label.is_file()
        for number, line in _lines(label):
            try:
                _add_line(
                    content,
                    line.split(),
                    name,
                    f"{label.name} line {number}",
                    file.names,
                    (height, width),
                )
            except ValueError as error:
                faults.report("region", str(error), record=name, field=f"line {number}")
    if without:
        logger.info("%d pictures of '%s' in %s have no label file: no object", without, split, path)
    return content


def _lines(path: Path) -> List[tuple]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def label_file(picture: Path) -> Path:
    """Returns the label file of a picture: the last folder "images" becomes "labels"."""
    parts = list(picture.with_suffix(".txt").parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return Path(*parts)


def _add_line(
    content: Content,
    values: Sequence[str],
    image_id: str,
    place: str,
    names: Sequence[str],
    size: tuple,
) -> None:
    number = as_number(values[0])
    if number != int(number) or not 0 <= number < len(names):
        raise ValueError(f"class {values[0]}, expected 0 to {len(names) - 1}")
    numbers = [as_number(value) for value in values[1:]]
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        raise ValueError(
            f"{len(numbers)} values behind the class, expected 4 of a box, or 3 or more corners"
        )
    if not -_SLACK <= min(numbers) <= max(numbers) <= 1 + _SLACK:
        raise ValueError(f"values from {min(numbers)} to {max(numbers)}, expected 0 to 1")
    height, width = size
    pixels = [value * (width, height)[i % 2] for i, value in enumerate(numbers)]
    name = names[int(number)]
    if len(pixels) > 4:
        content.add_mask(place, image_id, name, [pixels])
        return
    x, y, w, h = pixels
    content.add_box(place, image_id, name, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))


def write_yolo(
    images: Iterable[AnnotatedImage], out: Path, names: Sequence[str], split: str
) -> Counter:
    """Writes data.yaml, images/<split> and labels/<split>.

    An object is one polygon: parts and holes of a mask are joined by lines that cover nothing.
    What lies outside the picture is cut off, for values end at its borders.
    The format holds neither crowds nor scores. A further split goes into the same folder.

    Args:
        images: to write, one after the other.
        out: folder.
        names: of all classes.
        split: "train", "val" or "test".

    Returns:
        What was written, and what the format cannot hold, by name.

    Raises:
        ValueError: the folder holds another set of classes; there is no class; an object lies
            outside its picture.
    """
    done: Counter = Counter()
    index = {name: number for number, name in enumerate(names)}
    data = _data_file(out, names, split)
    for image in images:
        copy = copy_picture(image, out / "images" / split)
        lines = [
            f"{index[region.text]} {_values(region, image)}\n" for region in objects_of(image, done)
        ]
        write_text(label_file(copy), "".join(lines))
        count_lost(image, done)
        done["pictures"] += 1
    write_text(out / "data.yaml", yaml.safe_dump(data, allow_unicode=True, sort_keys=False))
    return done


def _data_file(out: Path, names: Sequence[str], split: str) -> Dict[str, Any]:
    if not names:
        raise ValueError(
            f"no class to write to {out}: a data file of YOLO needs one, and the data set has "
            "neither a vocabulary nor an object"
        )
    data: Dict[str, Any] = {"names": dict(enumerate(names))}
    path = out / "data.yaml"
    if path.is_file():
        before = YoloFile(path)
        if before.names != list(names):
            raise ValueError(f"{path} has the classes {before.names}, this set has {list(names)}")
        data = read_yaml(path)
    return {**data, split: f"images/{split}"}


def _values(region: Region, image: AnnotatedImage) -> str:
    height, width = image.height, image.width
    if region.mask is None:
        x0, y0 = (max(float(value), 0.0) for value in region.box[:2])
        x1, y1 = map(min, map(float, region.box[2:]), (width, height))
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"{image.path}: the box of '{region.text}' lies outside the picture")
        pixels = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
    elif _is_one_inside(region.mask, height, width):
        pixels = [float(value) for value in region.mask[0]]
    else:
        pixels = one_polygon(object_mask(region, image))
    parts = [value / (width, height)[i % 2] for i, value in enumerate(pixels)]
    return " ".join(f"{part:.{_DIGITS}f}".rstrip("0").rstrip(".") for part in parts)


def _is_one_inside(mask: Any, height: int, width: int) -> bool:
    """Whether a mask is a single polygon that does not leave the picture."""
    if not isinstance(mask, list) or len(mask) != 1:
        return False
    limits = (width, height)
    return all(0 <= value <= limits[i % 2] for i, value in enumerate(mask[0]))
