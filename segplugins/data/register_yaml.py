"""Registration without code: a YAML file describes a data set, DATASETS.REGISTER names the file.

    kind: semantic
    vocabulary: [sky, building, pole, road]
    sets:
      my_train: {images: images/train, labels: labels/train}
      my_val: {images: images/val, labels: labels/val}

Keys above "sets" hold for all sets. Paths are relative to "root", which is the folder of the file
unless it is given; $DETECTRON2_DATASETS in it stands for the folder of all data sets.
"""

from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

import yaml
from detectron2.data import DatasetCatalog

from segplugins.data.catalog import ROOT_VARIABLE, dataset_root
from segplugins.data.read_video import youtube_evaluation_records, youtube_training_records
from segplugins.data.register import register_instances, register_panoptic, register_semantic
from segplugins.data.register_phrases import (
    register_referring,
    register_regions,
    register_salient,
    register_videos,
)
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import (
    Vocabulary,
    parse_vocabulary,
    register_vocabulary,
    vocabulary_from_data,
)

_COMMON = ("licence", "expected")


def _instances(name: str, **keys: Any) -> None:
    boxes_only = keys.pop("boxes_only", False)
    register_instances(name, task=Task.DETECTION if boxes_only else Task.INSTANCE, **keys)


def _video(name: str, split: str, **keys: Any) -> None:
    read = youtube_training_records
    if split != "train":
        read = partial(youtube_evaluation_records, split=split)
    register_videos(name, read, **keys)


def _regions(name: str, task: str = "referring", **keys: Any) -> None:
    register_regions(name, task=Task(task), **keys)


# Kind: what registers it, and per key of the file the argument and whether it is a path.
_Keys = Mapping[str, Tuple[str, bool]]
_KINDS: Dict[str, Tuple[Callable[..., None], _Keys]] = {
    "semantic": (
        register_semantic,
        {
            "images": ("image_root", True),
            "labels": ("label_root", True),
            "image_ext": ("image_ext", False),
            "label_ext": ("label_ext", False),
            "ignore_label": ("ignore_label", False),
            "vocabulary": ("vocabulary", False),
            "seen": ("seen", False),
        },
    ),
    "coco": (
        _instances,
        {
            "images": ("image_root", True),
            "annotations": ("json_file", True),
            "vocabulary": ("vocabulary", False),
            "boxes_only": ("boxes_only", False),
            "seen": ("seen", False),
        },
    ),
    "panoptic": (
        register_panoptic,
        {
            "images": ("image_root", True),
            "annotations": ("json_file", True),
            "maps": ("map_root", True),
            "vocabulary": ("vocabulary", False),
            "seen": ("seen", False),
        },
    ),
    "referring": (
        register_referring,
        {
            "images": ("image_root", True),
            "refs": ("refs_file", True),
            "annotations": ("instances_file", True),
            "split": ("split", False),
            "sample": ("sample", False),
            "generalised": ("generalised", False),
        },
    ),
    "salient": (
        register_salient,
        {
            "images": ("image_root", True),
            "masks": ("mask_root", True),
            "phrase": ("phrase", False),
            "image_ext": ("image_ext", False),
            "mask_ext": ("mask_ext", False),
        },
    ),
    "video": (_video, {"videos": ("root", True), "split": ("split", False)}),
    "regions": (
        _regions,
        {
            "images": ("image_root", True),
            "lines": ("lines", True),
            "task": ("task", False),
            "vocabulary": ("vocabulary", False),
        },
    ),
}
_OPTIONAL = {
    "image_ext",
    "label_ext",
    "mask_ext",
    "ignore_label",
    "seen",
    "boxes_only",
    "generalised",
    "phrase",
    "task",
}


def register_from_yaml(path: Union[str, Path]) -> List[str]:
    """Registers the data sets that a YAML file describes; see datasets/README.md for its keys.

    Args:
        path: of the file.

    Returns:
        Their names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not describe data sets; the message names the set and the key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no data set file {path} (DATASETS.REGISTER)")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"data set file {path} is not readable: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("sets"), dict):
        raise ValueError(
            f"data set file {path}: expected 'sets', a mapping from names to what they are"
        )
    shared = {key: value for key, value in content.items() if key != "sets"}
    for name, own in content["sets"].items():
        _register(str(name), {**shared, **(own or {})}, path)
    return [str(name) for name in content["sets"]]


def _register(name: str, described: Dict[str, Any], path: Path) -> None:
    where = f"data set file {path}, set '{name}'"
    origin = (path.absolute(), repr(described))
    if name in DatasetCatalog and _REGISTERED.get(name) != origin:
        raise ValueError(f"{where}: a data set of that name is registered already; rename it")
    kind = described.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"{where}: kind is {kind!r}, expected one of {sorted(_KINDS)}")
    function, keys = _KINDS[kind]
    root = _root(described.pop("root", None), path)
    _check_keys(described, keys, where)
    arguments = {key: described[key] for key in _COMMON if key in described}
    for key, (argument, is_path) in keys.items():
        if key in described:
            arguments[argument] = str(root / described[key]) if is_path else described[key]
    try:
        if arguments.get("vocabulary") is not None:
            words = _vocabulary(arguments["vocabulary"], path)
            if kind == "coco" and not any(words.is_thing):
                words = replace(words, is_thing=(True,) * len(words))
            register_vocabulary(words)
            arguments["vocabulary"] = words
            if "seen" in arguments:
                arguments["seen"] = [_class_index(each, words) for each in arguments["seen"]]
        function(name, **arguments)
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise ValueError(f"{where}: {error}") from error
    _REGISTERED[name] = origin


# Set name to where it is described, so that reading a file again is no error.
_REGISTERED: Dict[str, Tuple[Path, str]] = {}


def _class_index(given: Any, words: Vocabulary) -> int:
    if isinstance(given, int):
        return given
    if given not in words.classes:
        raise ValueError(f"seen holds '{given}', which is no class of vocabulary '{words.name}'")
    return words.classes.index(given)


def _root(root: Optional[str], path: Path) -> Path:
    if root is None:
        return path.absolute().parent
    root = root.replace(f"${ROOT_VARIABLE}", str(dataset_root().absolute()))
    return path.absolute().parent / root


def _check_keys(described: Mapping[str, Any], keys: _Keys, where: str) -> None:
    known = [*keys, *_COMMON, "kind", "root"]
    for key in described:
        if key not in known:
            nearest = get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise ValueError(f"{where}: unknown key '{key}', nearest is '{nearest[0]}'")
    optional = _OPTIONAL | ({"vocabulary"} if "labels" not in keys else set())
    missing = [key for key in keys if key not in described and key not in optional]
    if missing:
        raise ValueError(f"{where}: key '{missing[0]}' is missing")


def _vocabulary(given: Any, path: Path) -> Vocabulary:
    """A list of classes, a mapping as in vocabulary files, such a file, or a registered name."""
    if isinstance(given, str):
        beside = path.absolute().parent / given
        return parse_vocabulary(str(beside) if beside.is_file() else given)
    # Sets of one file share its classes, and so the vocabulary's name.
    return vocabulary_from_data(given, name=path.name, source="vocabulary")
