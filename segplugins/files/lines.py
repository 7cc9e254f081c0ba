"""Region lines: one record per image, as JSON lines, Parquet or shards of both; our own form."""

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from segplugins.files.coco_categories import class_of_name, folded_name
from segplugins.files.coco_images import picture_size
from segplugins.files.faults import STRICT, FaultPolicy, FileFaults
from segplugins.files.json_file import parse_json
from segplugins.files.masks import MaskError, box_difference, check_masks, differing_boxes
from segplugins.files.region_shards import numbered_records, shard_files
from segplugins.files.values import (
    Id,
    as_box,
    as_flag,
    as_id,
    as_mask,
    as_number,
    as_path,
    as_size,
    existing_form,
    is_unicode,
)
from segplugins.structures.regions import Region, Task, check_box
from segplugins.structures.vocabulary import Vocabulary

_REGION_KEYS = ("text", "box", "mask", "class_index", "is_thing", "score", "extra")


@dataclass
class LineEntry:
    """One picture with its regions, in normal form.

    Args:
        line: number of the line, from 1.
        image_id: "image_id" of the line, else its "file_name".
        file_name: path below the folder of pictures.
        height: in pixels.
        width: in pixels.
        task: of the line, or of the file.
        regions: those that can be used.
        positions: of these regions in the line.
        not_exhaustive: texts of which the picture may show objects that are not annotated.
        more: what else the line says.
    """

    line: int
    image_id: Id
    file_name: str
    height: int
    width: int
    task: Task
    regions: List[Region] = field(default_factory=list)
    positions: List[int] = field(default_factory=list)
    not_exhaustive: Tuple[str, ...] = ()
    more: Dict[str, Any] = field(default_factory=dict)


def read_region_lines(
    path: Union[str, Path],
    policy: FaultPolicy = STRICT,
    *,
    task: Task,
    image_root: Optional[Path] = None,
    vocabulary: Optional[Vocabulary] = None,
) -> List[LineEntry]:
    """Reads region lines to the end.

    A line is {"file_name", "height", "width", "regions": [{"text", "box" XYXY, "mask" RLE or
    polygons, "is_thing", "score", "extra"}]} and what else the source knows, which is kept:
    "not_exhaustive" lists the texts of which not every object is annotated. A line with "error"
    stands for an image that could not be annotated and is passed over.

    Args:
        path: JSON lines, a Parquet file of the same records, or a folder of such shards.
        policy: receives the faults of lines and regions, which are left out if it returns.
        task: of lines that name none.
        image_root: folder of the pictures, for sizes that lines lack; None: unknown.
        vocabulary: the texts are its classes; None: texts are free.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file; a `FaultError` of a strict policy is one too.
        ImportError: a Parquet file, and pyarrow is not installed.
    """
    entries: List[LineEntry] = []
    seen: Dict[Id, Tuple[str, int]] = {}
    for file in shard_files(path):
        reader = _Reader(FileFaults(str(file), policy), task, image_root, vocabulary, seen)
        for number, line in numbered_records(file):
            entry = reader.read(number, line)
            if entry is not None:
                entries.append(entry)
    return _of_real_pixels(entries, FileFaults(str(path), policy))


def _of_real_pixels(entries: List[LineEntry], faults: FileFaults) -> List[LineEntry]:
    """Refuses a file whose coordinates are shares of the sides instead of pixels."""
    regions = [region for entry in entries for region in entry.regions if region.has_target]
    small = all(max(entry.height, entry.width) <= 2 for entry in entries)
    if not regions or small or not all(map(_within_one, regions)):
        return entries
    message = (
        f"the coordinates of all {len(regions)} regions lie within 0 and 1: multiply x by the "
        "width and y by the height of the image, pixels are expected"
    )
    faults.report("normalised", message)
    return []


def _identity(image_id: Id) -> Id:
    """Returns the id; a path in one spelling."""
    try:
        return unicodedata.normalize("NFC", as_path(image_id))
    except ValueError:
        return image_id


def _within_one(region: Region) -> bool:
    if region.mask is None:
        return all(0 <= value <= 1 for value in region.box)
    return type(region.mask) is list and all(0 <= v <= 1 for part in region.mask for v in part)


class _Reader:
    def __init__(
        self,
        faults: FileFaults,
        task: Task,
        image_root: Optional[Path],
        vocabulary: Optional[Vocabulary],
        seen: Dict[Id, Tuple[str, int]],
    ):
        self._faults = faults
        self._task = task
        self._root = image_root
        self._vocabulary = vocabulary
        self._index = {} if vocabulary is None else class_of_name(vocabulary)
        self._seen = seen

    def read(self, number: int, text: Union[str, Mapping[str, Any]]) -> Optional[LineEntry]:
        """Returns a line in normal form; None if it is at fault or stands for an error."""
        try:
            entry, listed = self._read(number, text)
        except ValueError as error:
            kind = "image-size" if "width and height" in str(error) else "line"
            self._faults.report(kind, str(error), field=f"line {number}", entry=(number,))
            return None
        if entry is None:
            return None
        own = self._faults.file, number
        file, before = self._seen.setdefault(_identity(entry.image_id), own)
        if (file, before) != own:
            other = "" if file == self._faults.file else f" of {file}"
            message = f"line {before}{other} is of the same image {entry.image_id}"
            place = {"record": entry.image_id, "field": f"line {number}", "entry": (number,)}
            self._faults.report("id", message, **place)
            return None
        for position, given in enumerate(listed):
            region = self._region(given, entry, position)
            if region is not None:
                entry.regions.append(region)
                entry.positions.append(position)
        return entry if self._is_of_one_kind(entry) else None

    def _is_of_one_kind(self, entry: LineEntry) -> bool:
        shown = [r for r in entry.regions if r.has_target and not r.extra.get("iscrowd")]
        boxes = sum(region.mask is None for region in shown)
        if boxes in (0, len(shown)):
            return True
        message = (
            f"{boxes} regions have a box and no mask, {len(shown) - boxes} have masks: give all "
            "of an image one kind"
        )
        place = {"record": entry.image_id, "field": f"line {entry.line}", "entry": (entry.line,)}
        self._faults.report("mixed", message, **place)
        return False

    def _read(
        self, number: int, text: Union[str, Mapping[str, Any]]
    ) -> Tuple[Optional[LineEntry], List[Any]]:
        line = parse_json(text.encode(), "it") if isinstance(text, str) else text
        if not isinstance(line, Mapping):
            raise ValueError(f"expected a record in braces, got {line!r:.60}")
        if "error" in line:
            return None, []
        missing = [key for key in ("file_name", "regions") if key not in line]
        if missing:
            raise ValueError(f"key '{missing[0]}' is missing")
        if not isinstance(line["regions"], list):
            raise ValueError(f"regions are {line['regions']!r:.60}, expected a list")
        file_name = as_path(line["file_name"])
        if self._root is not None:
            file_name = existing_form(self._root, file_name)
        height, width = self._size(line, file_name)
        own = {"file_name", "height", "width", "regions", "task", "image_id", "not_exhaustive"}
        given = line.get("task")
        entry = LineEntry(
            line=number,
            image_id=as_id(line.get("image_id", line["file_name"])),
            file_name=file_name,
            height=height,
            width=width,
            task=Task(self._task if given is None else given),
            not_exhaustive=self._not_exhaustive(line.get("not_exhaustive")),
            more={key: value for key, value in line.items() if key not in own},
        )
        return entry, line["regions"]

    def _not_exhaustive(self, given: Any) -> Tuple[str, ...]:
        given = () if given is None else given
        if not isinstance(given, (list, tuple)) or not all(type(each) is str for each in given):
            raise ValueError(f"not_exhaustive is {given!r:.60}, expected a list of texts")
        if self._vocabulary is None:
            return tuple(given)
        for text in given:
            if folded_name(text) not in self._index:
                raise ValueError(
                    f"not_exhaustive has {text!r:.60}, no class of vocabulary "
                    f"'{self._vocabulary.name}'"
                )
        return tuple(self._vocabulary.classes[self._index[folded_name(t)]] for t in given)

    def _size(self, line: Mapping[str, Any], file_name: str) -> Tuple[int, int]:
        given = line.get("height"), line.get("width")
        if None in given:
            if self._root is None:
                raise ValueError(f"width and height are {given[::-1]}, expected numbers of pixels")
            return picture_size(self._root / file_name)
        try:
            return as_size(*given)
        except ValueError as error:
            raise ValueError(f"width and height are {given[::-1]}: {error}") from None

    def _region(self, given: Any, entry: LineEntry, position: int) -> Optional[Region]:
        place = {
            "record": entry.image_id,
            "field": f"line {entry.line}, regions[{position}]",
            "entry": (entry.line, "regions", position),
        }
        try:
            region = self._read_region(given)
            mask, box = region["mask"], region["box"]
            if mask is not None:
                extent = _extent(mask, entry)
                if box is not None and _differs(box, extent, entry):
                    x0, y0, x1, y1 = box
                    message = box_difference([x0, y0, x1 - x0, y1 - y0], extent)
                    self._faults.report("box", message, mend=("box", None), **place)
                    region["box"] = None
            return Region(**region)
        except MaskError as error:
            self._faults.report(error.kind, str(error), **place)
        except ValueError as error:
            self._faults.report("region", str(error), **place)
        return None

    def _read_region(self, given: Any) -> Dict[str, Any]:
        if not isinstance(given, Mapping):
            raise ValueError(f"a region is {given!r:.60}, expected a mapping")
        unknown = sorted(set(given) - set(_REGION_KEYS))
        if unknown:
            raise ValueError(f"a region has the keys {unknown}; known are {_REGION_KEYS}")
        text = given.get("text")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"a region has the text {text!r}")
        if not is_unicode(text):
            raise ValueError(f"a region has the text {text!r:.60}, which is no Unicode")
        index = self._class(text)
        extra = given.get("extra")
        if extra is not None and not isinstance(extra, Mapping):
            raise ValueError(f"extra is {extra!r:.40}, expected a mapping")
        extra = dict(extra or {})
        if "iscrowd" in extra:
            extra["iscrowd"] = int(as_flag(extra["iscrowd"]))
        thing, score = given.get("is_thing"), given.get("score")
        box = given.get("box")
        if box is not None:
            check_box(as_box(box))
        try:
            mask = as_mask(given.get("mask"))
        except ValueError as error:
            kind = "rle" if isinstance(given.get("mask"), Mapping) else "polygon"
            raise MaskError(kind, str(error)) from None
        return {
            "text": text if index < 0 else self._vocabulary.classes[index],
            "box": None if box is None else tuple(map(float, as_box(box))),
            "mask": mask,
            "class_index": index,
            "is_thing": True if thing is None else as_flag(thing),
            "score": 1.0 if score is None else float(as_number(score)),
            "extra": extra,
        }

    def _class(self, text: str) -> int:
        if self._vocabulary is None:
            return -1
        if folded_name(text) not in self._index:
            raise ValueError(f"region '{text}' is no class of vocabulary '{self._vocabulary.name}'")
        return self._index[folded_name(text)]


def _extent(mask: Any, entry: LineEntry) -> np.ndarray:
    checks = check_masks([mask], np.array([[entry.height, entry.width]]))
    if checks.faults:
        raise MaskError(*checks.faults[0])
    if type(mask) is dict:
        mask["size"] = [entry.height, entry.width]
    return checks.extents[0]


def _differs(box: Tuple[float, ...], extent: np.ndarray, entry: LineEntry) -> bool:
    x0, y0, x1, y1 = box
    boxes = np.array([[x0, y0, x1 - x0, y1 - y0]])
    return bool(differing_boxes(boxes, extent[None], np.array([[entry.height, entry.width]]))[0])
