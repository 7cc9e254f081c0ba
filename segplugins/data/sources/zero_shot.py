"""Sets of zero-shot classification and of retrieval: lists, objects in pictures, captions."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Dict, List, Sequence, Tuple, Union

from segplugins.data.catalog import (
    as_vocabulary,
    check_count,
    dataset_metadata,
    existing_file,
    existing_folder,
)
from segplugins.data.read_regions import read_regions
from segplugins.data.sources import values
from segplugins.data.sources.coco import InstanceSource
from segplugins.data.sources.description import Source, key
from segplugins.files.faults import Fault, FaultPolicy
from segplugins.files.json_file import parse_json, read_json
from segplugins.files.text import read_lines
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

Folder = Union[str, Sequence[str]]
Words = Union[str, Vocabulary, Sequence[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassListSource(Source):
    """A list of pictures with one class each.

    Args:
        list_file: a line per picture: its path and the number of its class.
        image_root: folder that the paths are relative to.
        vocabulary: registered name, vocabulary, or class names, in the order of the numbers.
    """

    task: ClassVar[Task] = Task.CLASSIFICATION

    list_file: str = key("list", values.path, is_path=True)
    image_root: Folder = key("images", values.paths, is_path=True)
    vocabulary: Words = key("vocabulary", values.words)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "vocabulary", as_vocabulary(self.vocabulary, self.name))

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"evaluator_type": "classification", "vocabulary": self.vocabulary.name}

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per line, with "class_index"."""
        path = existing_file(self.list_file, self.name, self.prepare)
        folder = existing_folder(self.image_root, self.name, self.prepare)
        count = len(self.vocabulary)
        records = []
        for number, line in enumerate(read_lines(path, policy, what="list of pictures") or []):
            name, _, label = line.rpartition(" ")
            if not (name.strip() and label.isdecimal() and int(label) < count):
                wanted = f"a path and the number of a class, 0 to {count - 1}"
                message = f"'{line}' is no line of a list, expected {wanted}"
                policy.report(Fault("class", message, str(path), f"line {number + 1}"))
                continue
            image = {"file_name": str(folder / name.strip()), "image_id": number}
            records.append({**image, "class_index": int(label), "task": self.task})
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return records


@dataclass(frozen=True, kw_only=True, eq=False)
class CropSource(Source):
    """The objects of a COCO instance file: what the box of each shows is a picture of its class.

    Crowds are left out.

    Args:
        json_file: the file, relative to $DETECTRON2_DATASETS.
        image_root: folder of the images.
        vocabulary: registered name, vocabulary, or class names, in which the categories of the file
            are found by name.
        least_side: boxes with a shorter side, in pixels, are left out.
    """

    task: ClassVar[Task] = Task.CLASSIFICATION

    json_file: str = key("annotations", values.path, is_path=True)
    image_root: Folder = key("images", values.paths, is_path=True)
    vocabulary: Words = key("vocabulary", values.words)
    least_side: int = key("least_side", values.whole(1, 10**6), default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        words = as_vocabulary(self.vocabulary, self.name, things=True)
        object.__setattr__(self, "vocabulary", words)

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {
            "evaluator_type": "classification",
            "vocabulary": self.vocabulary.name,
            "thing_classes": list(self.vocabulary.classes),
        }

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per object, with its box as "crop" and "class_index"."""
        source = InstanceSource(
            name=self.name,
            json_file=self.json_file,
            image_root=self.image_root,
            vocabulary=self.vocabulary,
            prepare=self.prepare,
        )
        images = source.records(policy)
        metadata = dataset_metadata(self.name)
        records = []
        for image in images:
            for number, region in enumerate(read_regions(image, metadata)):
                if region.box is None or region.extra.get("iscrowd"):
                    continue
                crop = _pixels(region.box)
                if min(crop[2] - crop[0], crop[3] - crop[1]) >= self.least_side:
                    records.append(
                        {
                            "file_name": image["file_name"],
                            "image_id": f"{image['image_id']}-{number}",
                            "crop": crop,
                            "class_index": region.class_index,
                            "task": self.task,
                        }
                    )
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return records


def _pixels(box: Sequence[float]) -> Tuple[int, int, int, int]:
    """Returns the whole pixels that a box (x0, y0, x1, y1) touches."""
    x0, y0, x1, y1 = box
    return max(0, math.floor(x0)), max(0, math.floor(y0)), math.ceil(x1), math.ceil(y1)


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrievalSource(Source):
    """Pictures and their captions, which are to find each other.

    Args:
        captions_file: COCO's caption file, or JSON lines with "file_name" and "captions".
        image_root: folder of the images.
        most: captions of an image that count, from the first on; 0 = all.
    """

    task: ClassVar[Task] = Task.RETRIEVAL

    captions_file: str = key("captions", values.path, is_path=True)
    image_root: Folder = key("images", values.paths, is_path=True)
    most: int = key("most", values.whole(0, 10**6), default=5)

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"evaluator_type": "retrieval", "vocabulary": None}

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per image with captions."""
        path = existing_file(self.captions_file, self.name, self.prepare)
        folder = existing_folder(self.image_root, self.name, self.prepare)
        read = _lines if path.suffix == ".jsonl" else _coco
        records = []
        for name, captions in read(path):
            if not captions:
                policy.report(Fault("captions", f"'{name}' has no caption", str(path)))
                continue
            records.append(
                {
                    "file_name": str(folder / name),
                    "image_id": name,
                    "captions": captions[: self.most or None],
                    "texts": captions[: self.most or None],
                    "task": self.task,
                }
            )
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return records


def _lines(path: Path) -> List[Tuple[str, List[str]]]:
    images = []
    for number, line in enumerate(read_lines(path, what="file of captions"), start=1):
        content = _object(line, f"{path} line {number}")
        images.append((str(content["file_name"]), _texts(content.get("captions"))))
    return images


def _object(line: str, where: str) -> dict:
    """Returns the object of a JSON line, which names a file."""
    content = parse_json(line.encode(), where)
    if not isinstance(content, dict) or not isinstance(content.get("file_name"), str):
        raise ValueError(f"{where}: expected an object with 'file_name' and 'captions'")
    return content


def _coco(path: Path) -> List[Tuple[str, List[str]]]:
    content = read_json(path, "images", "annotations")
    captions: Dict[object, List[str]] = {}
    for entry in content["annotations"]:
        captions.setdefault(entry["image_id"], []).extend(_texts([entry["caption"]]))
    return [(each["file_name"], captions.get(each["id"], [])) for each in content["images"]]


def _texts(value: object) -> List[str]:
    listed = value if isinstance(value, list) else []
    return [" ".join(str(text).split()) for text in listed if str(text).strip()]
