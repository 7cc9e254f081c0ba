"""Registration without code: a YAML file describes data sets, DATASETS.REGISTER names the file.

    kind: semantic
    vocabulary: [sky, building, pole, road]
    sets:
      my_train: {images: images/train, labels: labels/train}
      my_val: {images: images/val, labels: labels/val}

Keys above "sets" hold for all sets. Paths are relative to "root", which is the folder of the file
unless it is given; $DETECTRON2_DATASETS in it stands for the folder of all data sets. The keys of
a kind are those of its source, see segplugins/data/sources/.
"""

import glob
from dataclasses import MISSING, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Type, Union

from segplugins.data.catalog import ROOT_VARIABLE, dataset_root
from segplugins.data.sources import KINDS, Source, register_source, values
from segplugins.files.text import read_yaml
from segplugins.files.vocabularies import vocabulary_of
from segplugins.structures.vocabulary import (
    Vocabulary,
    get_vocabulary,
    register_vocabulary,
    registered_vocabularies,
)

_FOR_ALL = ("kind", "root")


def register_from_yaml(path: Union[str, Path]) -> List[str]:
    """Registers the data sets that a YAML file describes; see datasets/README.md for its keys.

    Args:
        path: of the file.

    Returns:
        Their names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not describe data sets; the message names file, set, key, value and
            what is expected.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no data set file {path}; DATASETS.REGISTER and --dataset take the YAML file that "
            "describes data sets"
        )
    content = read_yaml(path, what="data set file")
    if not isinstance(content, dict) or not isinstance(content.get("sets"), dict):
        raise ValueError(
            f"data set file {path}: expected 'sets', a mapping from names to what they are"
        )
    if not content["sets"]:
        raise ValueError(f"data set file {path}: 'sets' names no data set")
    shared = {key: value for key, value in content.items() if key != "sets"}
    names = []
    for name, own in content["sets"].items():
        where = f"data set file {path}, set '{name}'"
        if own is not None and not isinstance(own, dict):
            raise ValueError(f"{where}: got {own!r:.60}, expected a mapping of keys")
        source = _source(str(name), {**shared, **(own or {})}, path, where)
        try:
            register_source(source)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        names.append(source.name)
    return names


def _source(name: str, described: Dict[str, Any], path: Path, where: str) -> Source:
    """Returns the typed description of one set."""
    kind = described.pop("kind", None)
    source = KINDS.get(kind) if isinstance(kind, str) else None
    if source is None:
        raise ValueError(f"{where}: kind is {kind!r}, expected one of {', '.join(sorted(KINDS))}")
    root = _root(described.pop("root", None), path, where)
    keys = source.yaml_keys()
    _check_keys(described, keys, where)
    arguments: Dict[str, Any] = {"name": name}
    for key, value in described.items():
        field = keys[key]
        if value is None and field.default is not MISSING:
            continue  # as if it were not given
        if key == "vocabulary":
            value = _vocabulary(value, source, path, where)
        value = values.checked(field.metadata["check"], value, where=where, key=f"key '{key}'")
        if field.metadata["is_path"]:
            is_pattern = field.metadata["check"] is values.patterns
            value = _below(Path(glob.escape(str(root))) if is_pattern else root, value)
        arguments[field.name] = value
    try:
        return source(**arguments)
    except (ValueError, KeyError) as error:
        message = str(error.args[0] if error.args else error)
        for prefix in (f"data set '{name}': ", f"data set '{name}', "):
            message = message.removeprefix(prefix)
        raise ValueError(f"{where}: {message}") from error


def _below(root: Path, value: Union[str, Sequence[str]]) -> Union[str, Sequence[str]]:
    return str(root / value) if isinstance(value, str) else [str(root / each) for each in value]


def _root(root: Optional[str], path: Path, where: str) -> Path:
    folder = path.absolute().parent
    if root is None:
        return folder
    root = values.checked(values.path, root, where=where, key="key 'root'")
    return folder / root.replace(f"${ROOT_VARIABLE}", str(dataset_root().absolute()))


def _check_keys(described: Mapping[str, Any], keys: Mapping[str, Any], where: str) -> None:
    accepted = [*keys, *_FOR_ALL]
    for key in described:
        if key not in accepted:
            nearest = get_close_matches(str(key), accepted, n=1, cutoff=0.0)
            raise ValueError(f"{where}: unknown key '{key}', the nearest is '{nearest[0]}'")
    for key, field in keys.items():
        if field.default is MISSING and described.get(key) is None:
            raise ValueError(f"{where}: key '{key}' is missing")


def _vocabulary(given: Any, source: Type[Source], path: Path, where: str) -> Vocabulary:
    """Returns and registers the vocabulary: a list of classes, a file, or a registered name."""
    folder = path.absolute().parent
    try:
        words = vocabulary_of(given, name=path.name, source="vocabulary", folder=folder)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{where}: {error}") from error
    if isinstance(given, str) and given in registered_vocabularies():
        return words
    if source.things and not any(words.is_thing):
        words = replace(words, is_thing=(True,) * len(words))
    if isinstance(given, Mapping) and "name" in given:
        try:
            register_vocabulary(words)
        except ValueError as error:
            raise ValueError(f"{where}, key 'vocabulary': {error}") from error
        return words
    return _under_a_free_name(words, folder)


def _under_a_free_name(words: Vocabulary, folder: Path) -> Vocabulary:
    """Registers a vocabulary that nobody named: after its file, with so much of the path as needed.

    Sets of one file share its classes, and so the name; files of one name in two folders do not.
    """
    parts = [*folder.parts, words.name]
    for start in range(len(parts) - 1, -1, -1):
        named = replace(words, name="/".join(parts[start:]))
        if named.name not in registered_vocabularies() or get_vocabulary(named.name) == named:
            register_vocabulary(named)
            return named
    digest = replace(words, name=f"{words.name} {words.digest()}")
    register_vocabulary(digest)
    return digest
