"""Registration of sets with classes: one call makes one known to training and evaluation.

One function per kind of source; the readers stand in read_*.py, sets of phrases in
register_phrases.py. Folders and files are relative to $DETECTRON2_DATASETS and are looked at when
a set is loaded.
"""

from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from segplugins.data.catalog import (
    as_vocabulary,
    check_count,
    check_order,
    dataset_root,
    existing_file,
    existing_folder,
    register,
    update_metadata,
)
from segplugins.data.read_folders import pair_by_stem
from segplugins.data.readers.coco import (
    class_indices,
    instance_records,
    panoptic_records,
    vocabulary_of_categories,
)
from segplugins.files.coco import read_instances
from segplugins.files.coco_categories import CategoryEntry
from segplugins.files.coco_panoptic import read_panoptic
from segplugins.files.faults import FaultPolicy
from segplugins.files.json_file import read_json
from segplugins.files.values import Id
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

Words = Union[str, Vocabulary, Sequence[str]]
Folder = Union[str, Sequence[str]]  # of several the first that exists
Count = Union[int, Sequence[int], None]


def register_semantic(
    name: str,
    *,
    image_root: Folder,
    label_root: str,
    vocabulary: Words,
    image_ext: str = "jpg",
    label_ext: str = "png",
    ignore_label: int = 255,
    seen: Optional[Sequence[int]] = None,
    class_map: Optional[Sequence[int]] = None,
    eval_classes: Optional[Sequence[str]] = None,
    licence: Optional[str] = None,
    expected: Count = None,
    prepare: Optional[str] = None,
    categories_file: Optional[str] = None,
    task: Task = Task.SEMANTIC,
    **metadata: object,
) -> None:
    """Registers a folder of images and a folder of label maps, one per image, of the same stem.

    Args:
        name: of the data set.
        image_root: folder of images, relative to $DETECTRON2_DATASETS; of several the first that
            exists.
        label_root: folder of single-channel label maps of 8 or 16 bits.
        vocabulary: registered name, vocabulary, or class names; label k is its class k.
        image_ext: how image files end.
        label_ext: how label files end.
        ignore_label: label of pixels that carry no class.
        seen: indices of the classes whose masks a model may have been trained on; the others are
            reported as unseen.
        class_map: per class of the vocabulary the evaluated class it counts as. None: itself.
        eval_classes: names of the evaluated classes, for `class_map`. None: the vocabulary's.
        licence: under which the source gives it out.
        expected: number of images, or several that are right.
        prepare: command that makes the folders.
        categories_file: COCO JSON of the source; where it is there, its categories must be the
            classes in their order.
        task: SEMANTIC, or PART.
        metadata: what else the set is known by.

    Raises:
        ValueError: `class_map` or `seen` do not fit the vocabulary; on loading: another number of
            images than expected.
        FileNotFoundError: on loading: a folder is missing, or a label without an image.
    """
    words = as_vocabulary(vocabulary, name)
    evaluated = tuple(eval_classes) if eval_classes is not None else words.classes
    _check_classes(name, words, evaluated, seen, class_map)

    def load(policy: FaultPolicy) -> List[dict]:
        images = existing_folder(image_root, name, prepare)
        labels = existing_folder(label_root, name, prepare)
        if categories_file is not None and (dataset_root() / categories_file).is_file():
            path = dataset_root() / categories_file
            listed = sorted(read_json(path, "categories")["categories"], key=lambda c: c["id"])
            without_none = [c for c in words.classes if c != words.none_class]
            check_order(without_none, [category["name"] for category in listed], path)
        pairs = pair_by_stem(images, labels, image_ext, label_ext, policy)
        check_count(name, len(pairs), expected, prepare, policy)
        return [
            {
                "file_name": image,
                "sem_seg_file_name": label,
                "image_id": Path(label).stem,
                "dataset": name,
                "task": task,
                "vocabulary": words.name,
            }
            for image, label in pairs
        ]

    register(
        name,
        load,
        evaluator_type="sem_seg",
        vocabulary=words.name,
        stuff_classes=list(evaluated),
        ignore_label=ignore_label,
        seen=None if seen is None else tuple(seen),
        class_map=None if class_map is None else tuple(class_map),
        licence=licence,
        image_root=image_root if isinstance(image_root, str) else image_root[0],
        sem_seg_root=label_root,
        task=task,
        **metadata,
    )


def _check_classes(
    name: str,
    words: Vocabulary,
    evaluated: Sequence[str],
    seen: Optional[Sequence[int]],
    class_map: Optional[Sequence[int]],
) -> None:
    if class_map is None and len(evaluated) != len(words):
        raise ValueError(
            f"data set '{name}': {len(evaluated)} eval_classes for {len(words)} classes of "
            f"vocabulary '{words.name}' need a class_map from the one to the other"
        )
    if class_map is not None and len(class_map) != len(words):
        raise ValueError(
            f"data set '{name}': class_map has {len(class_map)} entries for {len(words)} classes"
        )
    for what, indices in (("class_map", class_map), ("seen", seen)):
        wrong = [index for index in indices or () if not 0 <= index < len(evaluated)]
        if wrong:
            raise ValueError(
                f"data set '{name}': {what} holds {wrong[0]}, expected 0 to {len(evaluated) - 1}"
            )


def register_instances(
    name: str,
    *,
    json_file: str,
    image_root: Folder,
    vocabulary: Optional[Words] = None,
    task: Task = Task.INSTANCE,
    evaluator_type: str = "coco",
    seen: Optional[Sequence[int]] = None,
    licence: Optional[str] = None,
    expected: Count = None,
    prepare: Optional[str] = None,
    keep_parts: Optional[int] = None,
    renamed: Optional[Mapping[int, str]] = None,
    **metadata: object,
) -> None:
    """Registers a COCO instance file: COCO, LVIS, Objects365, SeginW or a user's own.

    Args:
        name: of the data set.
        json_file: annotations, relative to $DETECTRON2_DATASETS.
        image_root: folder of images; of several the first that exists.
        vocabulary: registered name, vocabulary, or class names; categories of the file are found
            in it by name. None: the categories of the file, once it is read.
        task: INSTANCE, or DETECTION for boxes without masks.
        evaluator_type: "coco" or "lvis".
        seen: indices of the classes that a model may have been trained on.
        licence: under which the source gives it out.
        expected: number of images.
        prepare: command that makes the file.
        keep_parts: so many parts of the file's image paths stand below `image_root`; None: all.
        renamed: better names by category id, where those of the file are misspelt.
        metadata: what else the set is known by.

    Raises:
        FileNotFoundError: on loading: file or folder is missing.
        ValueError: on loading: the file does not fit the vocabulary or itself.
    """
    words = None if vocabulary is None else as_vocabulary(vocabulary, name, things=True)

    def load(policy: FaultPolicy) -> List[dict]:
        path = existing_file(json_file, name, prepare)
        images = existing_folder(image_root, name, prepare)
        boxes_only = task is Task.DETECTION
        file = read_instances(
            path,
            policy,
            image_root=images,
            vocabulary=words,
            renamed=renamed,
            keep_parts=keep_parts,
            boxes_only=boxes_only,
        )
        found, indices = _classes_of_file(file.categories, words, name)
        update_metadata(
            name,
            json_file=str(path),
            image_root=str(images),
            vocabulary=found.name,
            thing_classes=list(found.classes),
            thing_dataset_id_to_contiguous_id=indices,
            annotation_source=("instances", str(path)),
        )
        records = instance_records(file, indices, images, boxes_only=boxes_only)
        check_count(name, len(records), expected, prepare, policy)
        return [{**record, "task": task, "vocabulary": found.name} for record in records]

    register(
        name,
        load,
        evaluator_type=evaluator_type,
        seen=None if seen is None else tuple(seen),
        licence=licence,
        task=task,
        **{**known_classes(words, "thing_classes"), **metadata},
    )


def register_panoptic(
    name: str,
    *,
    json_file: str,
    map_root: str,
    image_root: Folder,
    vocabulary: Optional[Words] = None,
    seen: Optional[Sequence[int]] = None,
    licence: Optional[str] = None,
    expected: Count = None,
    prepare: Optional[str] = None,
    **metadata: object,
) -> None:
    """Registers a COCO panoptic file with its folder of segment maps.

    Args:
        name: of the data set.
        json_file: annotations, relative to $DETECTRON2_DATASETS.
        map_root: folder of PNG maps.
        image_root: folder of images.
        vocabulary: as for `register_instances`; things and stuff in one.
        seen: indices of the classes that a model may have been trained on.
        licence: under which the source gives it out.
        expected: number of images.
        prepare: command that makes the file.
        metadata: what else the set is known by.

    Raises:
        FileNotFoundError: on loading: file or folder is missing.
        ValueError: on loading: the file does not fit the vocabulary or itself.
    """
    words = None if vocabulary is None else as_vocabulary(vocabulary, name)

    def load(policy: FaultPolicy) -> List[dict]:
        path = existing_file(json_file, name, prepare)
        images = existing_folder(image_root, name, prepare)
        maps = existing_folder(map_root, name, prepare)
        file = read_panoptic(path, policy, image_root=images, map_root=maps, vocabulary=words)
        found, indices = _classes_of_file(file.categories, words, name)
        update_metadata(
            name,
            panoptic_json=str(path),
            panoptic_root=str(maps),
            annotation_source=("panoptic", str(path)),
            vocabulary=found.name,
            stuff_classes=list(found.classes),
        )
        records = panoptic_records(file, indices, images, maps)
        check_count(name, len(records), expected, prepare, policy)
        return [{**record, "task": Task.PANOPTIC, "vocabulary": found.name} for record in records]

    register(
        name,
        load,
        evaluator_type="panoptic",
        ignore_label=255,
        seen=None if seen is None else tuple(seen),
        licence=licence,
        task=Task.PANOPTIC,
        **{**known_classes(words, "stuff_classes"), **metadata},
    )


def _classes_of_file(
    categories: Sequence[CategoryEntry], words: Optional[Vocabulary], name: str
) -> Tuple[Vocabulary, Dict[Id, int]]:
    """Returns the vocabulary and, per category id of the file, its class."""
    if words is None:
        words = vocabulary_of_categories(categories, name)
        register_vocabulary(words)
    return words, class_indices(categories, words)


def known_classes(words: Optional[Vocabulary], key: str) -> Dict[str, object]:
    """Returns what metadata can say before the file is read.

    Args:
        words: the vocabulary, or None where the file decides.
        key: "thing_classes" or "stuff_classes".
    """
    return {} if words is None else {"vocabulary": words.name, key: list(words.classes)}
