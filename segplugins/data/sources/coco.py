"""COCO, LVIS and panoptic files, and those of annotation programs: labelme, CVAT, YOLO."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from segplugins.data.catalog import (
    as_vocabulary,
    check_count,
    existing_file,
    existing_folder,
    update_metadata,
)
from segplugins.data.readers.coco import (
    class_indices,
    instance_records,
    panoptic_records,
    vocabulary_of_categories,
)
from segplugins.data.sources import values
from segplugins.data.sources.description import Source, key, known_classes, seen_indices
from segplugins.files.coco import read_instances
from segplugins.files.coco_categories import CategoryEntry
from segplugins.files.coco_panoptic import read_panoptic
from segplugins.files.exchange.yolo import SPLITS, YoloFile
from segplugins.files.faults import FaultPolicy
from segplugins.files.values import Id
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

Words = Union[str, Vocabulary, Sequence[str], None]
Folder = Union[str, Sequence[str]]


def boxes_or_masks(value: object) -> Task:
    """Returns the task of an instance file: of the key boxes_only, or as it is."""
    if isinstance(value, bool):
        return Task.DETECTION if value else Task.INSTANCE
    if isinstance(value, str) and value in (Task.DETECTION, Task.INSTANCE):
        return Task(value)
    raise ValueError("expected true or false")


def _keep_renamed(value: object) -> Mapping[int, str]:
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping from category ids to names")
    return dict(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class CategorySource(Source):
    """What annotation files with categories have in common.

    Args:
        json_file: annotations, relative to $DETECTRON2_DATASETS.
        image_root: folder of images; of several the first that exists.
        vocabulary: registered name, vocabulary, or class names; categories of the file are found
            in it by name. None: the categories of the file, once it is read.
        seen: names or indices of the classes that a model may have been trained on.
    """

    names_key: ClassVar[str]

    json_file: str = key("annotations", values.path, is_path=True)
    image_root: Folder = key("images", values.paths, is_path=True)
    vocabulary: Words = key("vocabulary", values.words, default=None)
    seen: Optional[Sequence] = key("seen", values.classes, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary is not None:
            words = as_vocabulary(self.vocabulary, self.name, things=self.things)
            object.__setattr__(self, "vocabulary", words)
            object.__setattr__(self, "seen", seen_indices(self.seen, words.classes, self.name))
        elif any(isinstance(each, str) for each in self.seen or ()):
            raise ValueError(
                f"data set '{self.name}': seen holds names, which need a vocabulary; give one, or "
                "the indices of the categories"
            )

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"seen": self.seen, **known_classes(self.vocabulary, self.names_key)}

    def _paths(self) -> Tuple[Path, Path]:
        path = existing_file(self.json_file, self.name, self.prepare)
        return path, existing_folder(self.image_root, self.name, self.prepare)

    def _classes(self, categories: Sequence[CategoryEntry]) -> Tuple[Vocabulary, Dict[Id, int]]:
        """Returns the vocabulary and, per category id of the file, its class."""
        words = self.vocabulary
        if words is None:
            words = vocabulary_of_categories(categories, self.name)
            register_vocabulary(words)
        return words, class_indices(categories, words)


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceSource(CategorySource):
    """A COCO instance file: COCO, LVIS, Objects365, SeginW or a user's own.

    Args:
        task: INSTANCE, or DETECTION for boxes without masks.
        evaluator_type: "coco" or "lvis".
        keep_parts: so many parts of the file's image paths stand below `image_root`; None: all.
        renamed: better names by category id, if those of the file are misspelt.
    """

    things: ClassVar[bool] = True
    names_key: ClassVar[str] = "thing_classes"

    task: Task = key("boxes_only", boxes_or_masks, default=Task.INSTANCE)
    evaluator_type: str = key(None, values.choice("coco", "lvis"), default="coco")
    keep_parts: Optional[int] = key(None, values.whole(1, 100), default=None)
    renamed: Optional[Mapping[int, str]] = key(None, _keep_renamed, default=None)

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per image."""
        path, images = self._paths()
        boxes_only = self.task is Task.DETECTION
        # Evaluation reads the file in the same way.
        reading = {
            "vocabulary": self.vocabulary,
            "renamed": self.renamed,
            "keep_parts": self.keep_parts,
            **self._options(),
        }
        file = read_instances(path, policy, image_root=images, boxes_only=boxes_only, **reading)
        words, indices = self._classes(file.categories)
        update_metadata(
            self.name,
            json_file=str(path),
            image_root=str(images),
            vocabulary=words.name,
            thing_classes=list(words.classes),
            thing_dataset_id_to_contiguous_id=indices,
            annotation_source=("instances", str(path)),
            reading=reading,
        )
        records = instance_records(file, indices, images, boxes_only=boxes_only)
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return [{**record, "task": self.task, "vocabulary": words.name} for record in records]

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"evaluator_type": self.evaluator_type, **super().known()}

    def _options(self) -> Dict[str, object]:
        """Returns what reading a file of another program needs besides."""
        return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class CvatSource(InstanceSource):
    """The annotations.xml of an export "CVAT for images 1.1".

    Args:
        box_masks: whether rectangles are masks of that shape, or boxes without a mask.
    """

    box_masks: bool = key("box_masks", values.boolean, default=False)

    def _options(self) -> Dict[str, object]:
        return {"foreign": {"box_masks": self.box_masks}}


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelmeSource(CvatSource):
    """A folder with a labelme file per picture.

    Args:
        json_file: folder of the files; "": they lie beside the pictures.
    """

    json_file: Folder = key("annotations", values.paths, default="", is_path=True)

    def _paths(self) -> Tuple[Path, Path]:
        images = existing_folder(self.image_root, self.name, self.prepare)
        files = self.json_file or self.image_root
        return existing_folder(files, self.name, self.prepare), images


@dataclass(frozen=True, kw_only=True, eq=False)
class YoloSource(CvatSource):
    """One split of a YOLO data set.

    Args:
        json_file: data.yaml.
        image_root: folder that pictures are named from; "": the root that the file names.
        split: "train", "val" or "test".
    """

    json_file: str = key("data", values.path, is_path=True)
    image_root: Folder = key("images", values.paths, default="", is_path=True)
    split: str = key("split", values.choice(*SPLITS), default="train")

    def _paths(self) -> Tuple[Path, Path]:
        path = existing_file(self.json_file, self.name, self.prepare)
        if not self.image_root:
            return path, YoloFile(path).root
        return path, existing_folder(self.image_root, self.name, self.prepare)

    def _options(self) -> Dict[str, object]:
        return {"foreign": {"box_masks": self.box_masks, "split": self.split}}


@dataclass(frozen=True, kw_only=True, eq=False)
class PanopticSource(CategorySource):
    """A COCO panoptic file with its folder of segment maps; things and stuff in one vocabulary.

    Args:
        map_root: folder of PNG maps.
    """

    names_key: ClassVar[str] = "stuff_classes"
    task: ClassVar[Task] = Task.PANOPTIC

    map_root: Folder = key("maps", values.paths, is_path=True)

    def records(self, policy: FaultPolicy) -> List[dict]:
        """Returns a record per image."""
        path, images = self._paths()
        maps = existing_folder(self.map_root, self.name, self.prepare)
        file = read_panoptic(
            path, policy, image_root=images, map_root=maps, vocabulary=self.vocabulary
        )
        words, indices = self._classes(file.categories)
        update_metadata(
            self.name,
            panoptic_json=str(path),
            panoptic_root=str(maps),
            annotation_source=("panoptic", str(path)),
            vocabulary=words.name,
            stuff_classes=list(words.classes),
        )
        records = panoptic_records(file, indices, images, maps)
        check_count(self.name, len(records), self.expected, self.prepare, policy)
        return [{**record, "task": Task.PANOPTIC, "vocabulary": words.name} for record in records]

    def known(self) -> Dict[str, object]:
        """Returns the metadata that are known before a file is read."""
        return {"evaluator_type": "panoptic", "ignore_label": 255, **super().known()}
