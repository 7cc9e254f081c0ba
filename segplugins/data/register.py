"""Registration: one call makes a folder of images and labels known to training and evaluation.

Folders are relative to $DETECTRON2_DATASETS ("datasets" where it is unset) and are looked at when
a set is loaded, not when it is registered: importing costs nothing and needs no data on disk.
"""

import difflib
import logging
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import (
    Vocabulary,
    get_vocabulary,
    register_vocabulary,
    vocabulary_from_data,
)

logger = logging.getLogger(__name__)

ROOT_VARIABLE = "DETECTRON2_DATASETS"
PARTIAL_VARIABLE = "SEGPLUGINS_PARTIAL_DATASETS"


def dataset_root() -> Path:
    """Returns the folder that all data sets stand in: $DETECTRON2_DATASETS or "datasets"."""
    return Path(os.environ.get(ROOT_VARIABLE) or "datasets")


def existing_folder(
    folder: Union[str, Sequence[str]], name: str, prepare: Optional[str] = None
) -> Path:
    """Returns the folder below the root of all data sets.

    Args:
        folder: relative to `dataset_root()`, or absolute; of several the first that exists.
        name: of the data set, for the message.
        prepare: command that makes the folder, for the message.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folders = [folder] if isinstance(folder, str) else list(folder)
    found = [dataset_root() / each for each in folders if (dataset_root() / each).is_dir()]
    if not found:
        step = f", or make it with `{prepare}`" if prepare else ""
        raise FileNotFoundError(
            f"data set '{name}': no folder {dataset_root() / folders[0]}; set {ROOT_VARIABLE} (now "
            f"'{dataset_root()}') to the folder that holds '{' or '.join(folders)}'{step}"
        )
    return found[0]


def existing_file(file: str, name: str, prepare: Optional[str] = None) -> Path:
    """Like `existing_folder`, for a file."""
    path = dataset_root() / file
    if not path.is_file():
        step = f", or make it with `{prepare}`" if prepare else ""
        raise FileNotFoundError(
            f"data set '{name}': no file {path}; set {ROOT_VARIABLE} (now '{dataset_root()}') to "
            f"the folder that holds '{file}'{step}"
        )
    return path


def check_count(
    name: str, found: int, expected: Union[int, Sequence[int], None], prepare: Optional[str] = None
) -> None:
    """Compares the number of records with what the data set is known to hold.

    A part of a data set gives a number that nobody can compare, so it is an error; with the
    environment variable SEGPLUGINS_PARTIAL_DATASETS set to 1 it is a warning.

    Raises:
        ValueError: another number.
    """
    allowed = (expected,) if isinstance(expected, int) else tuple(expected or ())
    if not allowed or found in allowed:
        return
    message = (
        f"data set '{name}' has {found} records, expected {' or '.join(map(str, allowed))}: a file "
        f"is missing or too much; check with `{prepare or 'ls'}`"
    )
    if os.environ.get(PARTIAL_VARIABLE) == "1":
        logger.warning("%s; %s=1 lets it pass", message, PARTIAL_VARIABLE)
        return
    raise ValueError(f"{message}, or set {PARTIAL_VARIABLE}=1 to work on a part of it")


def pair_by_stem(
    image_root: Path, label_root: Path, image_ext: str, label_ext: str
) -> List[Tuple[str, str]]:
    """Pairs images and label files of the same stem.

    Images without a label file are left out and counted in the log: many sources keep the images
    of several sets in one folder. (detectron2's load_sem_seg does so too, but pairs by position
    where both folders hold the same number of files.)

    Returns:
        (image file, label file), sorted by stem.

    Raises:
        FileNotFoundError: there is no label file, or one has no image.
    """
    images, labels = _files(image_root, image_ext), _files(label_root, label_ext)
    if not labels:
        raise FileNotFoundError(f"no *.{label_ext} label file in {label_root}")
    orphans = sorted(set(labels) - set(images))
    if orphans:
        raise FileNotFoundError(
            f"{len(orphans)} label files in {label_root} have no image '<stem>.{image_ext}' in "
            f"{image_root}; the first is {labels[orphans[0]]}"
        )
    if len(images) > len(labels):
        logger.info("%d images of %s have no label", len(images) - len(labels), image_root)
    return [(images[stem], labels[stem]) for stem in sorted(labels)]


def _files(root: Path, ext: str) -> Dict[str, str]:
    """Returns stem (with its path below root) to file."""
    suffix = "." + ext.lstrip(".").lower()
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if name.lower().endswith(suffix) and not name.startswith("."):
                path = os.path.join(folder, name)
                found[os.path.relpath(path, root)[: -len(suffix)]] = path
    return found


def register(name: str, load: Callable[[], List[dict]], **metadata: object) -> None:
    """Makes a data set known to detectron2 under `name`; the same name again does nothing.

    Args:
        name: in DatasetCatalog and MetadataCatalog.
        load: returns the catalog records; called when the set is used.
        metadata: what the set is known by: "evaluator_type", "vocabulary", "licence", ...
    """
    if name in DatasetCatalog:
        return
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**metadata)


def dataset_metadata(name: str) -> Metadata:
    """Returns the metadata of a registered data set, with what detectron2's own sets leave out.

    Args:
        name: of the data set, ours or one that detectron2 registers.

    Returns:
        Metadata with at least "vocabulary" (a registered name, or None for free text) and
        "ignore_label".

    Raises:
        KeyError: no data set has that name; the message gives those that are most alike.
    """
    if name not in DatasetCatalog:
        alike = difflib.get_close_matches(name, DatasetCatalog.list(), n=5, cutoff=0.4)
        raise KeyError(f"no data set '{name}' is registered; names most alike: {alike}")
    metadata = MetadataCatalog.get(name)
    known = metadata.as_dict()
    if "vocabulary" not in known:
        metadata.vocabulary = _vocabulary_of_classes(name, known)
    if "ignore_label" not in known:
        metadata.ignore_label = 255
    return metadata


def _vocabulary_of_classes(name: str, known: Dict[str, Any]) -> Optional[str]:
    """Registers the classes that detectron2's metadata lists; None where it lists none."""
    things = list(known.get("thing_classes", ()))
    classes = things or list(known.get("stuff_classes", ()))
    if not classes:
        return None
    thing_ids = known.get("thing_dataset_id_to_contiguous_id")
    indices = set(thing_ids.values()) if thing_ids else set(range(len(things)))
    is_thing = tuple(index in indices for index in range(len(classes)))
    register_vocabulary(Vocabulary(name=name, classes=tuple(classes), is_thing=is_thing))
    return name


def load_dataset(name: str) -> List[dict]:
    """Returns the catalog records of a registered data set, each with its "dataset" and its task.

    Raises:
        KeyError: no data set has that name.
        FileNotFoundError: its files are not there.
    """
    metadata = dataset_metadata(name)
    records = DatasetCatalog.get(name)
    for record in records:
        record.setdefault("dataset", name)
        record.setdefault("vocabulary", metadata.vocabulary)
    return records


def as_vocabulary(vocabulary: Union[str, Vocabulary, Sequence[str]], name: str) -> Vocabulary:
    """Returns a registered vocabulary.

    Args:
        vocabulary: the name of a registered one, one to register, or class names that become the
            vocabulary called `name`.
        name: of the data set.
    """
    if isinstance(vocabulary, str):
        return get_vocabulary(vocabulary)
    if not isinstance(vocabulary, Vocabulary):
        vocabulary = vocabulary_from_data(
            list(vocabulary), name=name, source=f"classes of data set '{name}'"
        )
    register_vocabulary(vocabulary)
    return vocabulary


def register_semantic(
    name: str,
    *,
    image_root: Union[str, Sequence[str]],
    label_root: str,
    vocabulary: Union[str, Vocabulary, Sequence[str]],
    image_ext: str = "jpg",
    label_ext: str = "png",
    ignore_label: int = 255,
    seen: Optional[Sequence[int]] = None,
    class_map: Optional[Sequence[int]] = None,
    eval_classes: Optional[Sequence[str]] = None,
    licence: Optional[str] = None,
    expected: Union[int, Sequence[int], None] = None,
    prepare: Optional[str] = None,
    task: Task = Task.SEMANTIC,
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
        task: SEMANTIC, or PART.

    Raises:
        ValueError: `class_map` or `seen` do not fit the vocabulary; on loading: another number of
            images than expected.
        FileNotFoundError: on loading: a folder is missing, or a label without an image.
    """
    words = as_vocabulary(vocabulary, name)
    evaluated = tuple(eval_classes) if eval_classes is not None else words.classes
    _check_classes(name, words, evaluated, seen, class_map)

    def load() -> List[dict]:
        images = existing_folder(image_root, name, prepare)
        labels = existing_folder(label_root, name, prepare)
        pairs = pair_by_stem(images, labels, image_ext, label_ext)
        check_count(name, len(pairs), expected, prepare)
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
