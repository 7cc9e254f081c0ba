"""The catalog: where data sets stand, what is known of them, and how their records are loaded.

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

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.structures.vocabulary import (
    Vocabulary,
    get_vocabulary,
    register_vocabulary,
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
        raise FileNotFoundError(
            f"data set '{name}': no folder {dataset_root() / folders[0]}; {_step(folders, prepare)}"
        )
    return found[0]


def existing_file(file: str, name: str, prepare: Optional[str] = None) -> Path:
    """Like `existing_folder`, for a file."""
    path = dataset_root() / file
    if not path.is_file():
        raise FileNotFoundError(f"data set '{name}': no file {path}; {_step([file], prepare)}")
    return path


def existing_path(
    path: Union[str, Sequence[str]], name: str, prepare: Optional[str] = None
) -> Path:
    """Like `existing_folder`, for what may be a file or a folder."""
    paths = [path] if isinstance(path, str) else list(path)
    for each in paths:
        if (dataset_root() / each).exists():
            return dataset_root() / each
    raise FileNotFoundError(
        f"data set '{name}': no file or folder {dataset_root() / paths[0]}; {_step(paths, prepare)}"
    )


def check_present(name: str) -> None:
    """Looks for the folders and files that a registered data set is described by, and reads none.

    Raises:
        FileNotFoundError: one is not there. Sets without a description pass.
    """
    description = getattr(DatasetCatalog[name], "description", None)
    if hasattr(description, "check_paths"):
        description.check_paths()


def _step(paths: Sequence[str], prepare: Optional[str]) -> str:
    """Returns what to do about a missing path; the root plays no part in an absolute one."""
    step = f", or make it with `{prepare}`" if prepare else ""
    if all(Path(path).is_absolute() for path in paths):
        return f"correct the path where the data set is described{step}"
    return (
        f"set {ROOT_VARIABLE} (now '{dataset_root()}') to the folder that holds "
        f"'{' or '.join(paths)}'{step}"
    )


def check_count(
    name: str,
    found: int,
    expected: Union[int, Sequence[int], None],
    prepare: Optional[str] = None,
    policy: FaultPolicy = STRICT,
) -> None:
    """Compares the number of records with what the data set is known to hold.

    A part of a data set gives a number that nobody can compare, so it is an error; with the
    environment variable SEGPLUGINS_PARTIAL_DATASETS set to 1 it is a warning.

    Args:
        name: of the data set.
        found: number of records.
        expected: the right number, or several that are right; None: any.
        prepare: command that makes the files, for the message.
        policy: receives the fault of another number.

    Raises:
        FaultError: another number, under the strict policy.
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
    policy.report(Fault("count", f"{message}, or set {PARTIAL_VARIABLE}=1 to work on a part of it"))


def check_order(ours: Sequence[str], theirs: Sequence[str], source: Path) -> None:
    """Compares our class names with those of the source, in order.

    Spelling and the choice among synonyms differ between releases, so one name in ten may; a
    shifted or re-ordered list differs nearly everywhere.

    Args:
        ours: K names.
        theirs: K names, each may hold several after ", ".
        source: the file they stand in.

    Raises:
        ValueError: more than a tenth of them differ.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{source} names {len(theirs)} classes, expected {len(ours)}")
    differing = [
        (k, a, b) for k, (a, b) in enumerate(zip(ours, theirs)) if not _words(a) & _words(b)
    ]
    for k, a, b in differing:
        logger.info("class %d is '%s' here and '%s' in %s", k, a, b, source)
    if len(differing) * 10 > len(ours):
        k, a, b = differing[0]
        raise ValueError(
            f"{source}: {len(differing)} of {len(ours)} class names are others than ours; the "
            f"first is class {k}, '{a}' here and '{b}' there. Is it the right release?"
        )


def _words(name: str) -> set:
    return {part.strip().lower().replace("-", " ").replace("_", " ") for part in name.split(",")}


class PolicyLoader:
    """Loads the records of one data set; DatasetCatalog holds it, and calls it without a policy.

    Args:
        name: of the data set.
        load: returns the catalog records; gets the policy for faults of the files.
        description: tells the set from others of its name; None: unknown.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[FaultPolicy], List[dict]],
        description: Any = None,
    ):
        self.name = name
        self.description = description
        self._load = load

    def __call__(self, policy: FaultPolicy = STRICT) -> List[dict]:
        """Returns the records, each with its "dataset", none of them twice."""
        records = _without_repeated(self._load(policy), policy)
        for record in records:
            record.setdefault("dataset", self.name)
        return records


# What tells two records of a data set apart, as evaluators do.
_IDENTITY = ("image_id", "ref_id", "video_id", "expression_id", "frame")


def _without_repeated(records: List[dict], policy: FaultPolicy) -> List[dict]:
    """Leaves out records that an evaluator could not tell from one before."""
    first: Dict[Tuple, int] = {}
    kept = []
    for position, record in enumerate(records):
        key = tuple((name, record[name]) for name in _IDENTITY if name in record)
        key = key or (("file_name", record.get("file_name")),)
        before = first.setdefault(key, position)
        if before == position:
            kept.append(record)
            continue
        message = f"record {before} of the set has the same {dict(key)}"
        file, number = record.get("file_name", ""), str(record.get("image_id", ""))
        policy.report(Fault("id", message, file, number))
    return kept


def register(
    name: str,
    load: Callable[[FaultPolicy], List[dict]],
    *,
    source: Any = None,
    **metadata: object,
) -> None:
    """Makes a data set known to detectron2 under `name`. The same set again does no harm.

    Args:
        name: in DatasetCatalog and MetadataCatalog.
        load: returns the catalog records; called with a policy when the set is used. What only
            the files know (their paths, the classes they list) it tells by `update_metadata`.
        source: description of the set (segplugins/data/sources/), to compare it with another of
            the name; None: the metadata are compared.
        metadata: what the set is known by: "evaluator_type", "vocabulary", "licence", ... Without
            "vocabulary" the set is loaded where somebody asks for it.

    Raises:
        ValueError: another set has that name already.
    """
    description = metadata if source is None else source
    if name in DatasetCatalog:
        _check_same(name, description)
        return
    DatasetCatalog.register(name, PolicyLoader(name, load, description))
    MetadataCatalog.get(name).set(**metadata)
    if "vocabulary" not in metadata:
        _VOCABULARY_IN_FILES.add(name)


def _check_same(name: str, description: Any) -> None:
    before = getattr(DatasetCatalog[name], "description", None)
    if before == description:
        return
    differing = ""
    if hasattr(before, "differences") and type(before) is type(description):
        differing = f" with another {', '.join(before.differences(description))}"
    raise ValueError(
        f"a data set '{name}' is registered already{differing}; choose another name for one of them"
    )


_VOCABULARY_IN_FILES = set()


def update_metadata(name: str, **found: object) -> None:
    """Sets metadata anew; detectron2 lets a value be set once, but folders may move."""
    metadata = MetadataCatalog.get(name)
    for key, value in found.items():
        metadata.__dict__[key] = value


def dataset_metadata(name: str) -> Metadata:
    """Returns the metadata of a registered data set, with what detectron2's own sets leave out.

    Args:
        name: of the data set, ours or one that detectron2 registers.

    Returns:
        Metadata with at least "vocabulary" (a registered name, or None for free text) and
        "ignore_label".

    Raises:
        KeyError: no data set has that name; the message gives those that are most alike.
        FileNotFoundError: its classes stand in a file that is not there.
    """
    _check_name(name)
    metadata = MetadataCatalog.get(name)
    if name in _VOCABULARY_IN_FILES and "vocabulary" not in metadata.as_dict():
        DatasetCatalog.get(name)
    given = metadata.as_dict()
    if "vocabulary" not in given:
        metadata.vocabulary = _vocabulary_of_classes(name, given)
    if "ignore_label" not in given:
        metadata.ignore_label = 255
    return metadata


def names_of_classes(datasets: Sequence[str]) -> List[str]:
    """Returns the names and synonyms of the classes of registered data sets, each once, in order.

    Sets of free text have none.

    Raises:
        KeyError, FileNotFoundError: see `dataset_metadata`.
    """
    vocabularies = [dataset_metadata(name).vocabulary for name in datasets]
    classes = [c for name in vocabularies if name for c in get_vocabulary(name).synonyms]
    return list(dict.fromkeys(text for synonyms in classes for text in synonyms))


def _check_name(name: str) -> None:
    if name not in DatasetCatalog:
        alike = difflib.get_close_matches(name, DatasetCatalog.list(), n=5, cutoff=0.4)
        nearest = f"names most alike: {alike}" if alike else "no name is like it"
        raise KeyError(
            f"no data set '{name}' is registered; {nearest}. Sets of your own stand in a YAML file "
            "that DATASETS.REGISTER names"
        )


def _vocabulary_of_classes(name: str, given: Dict[str, Any]) -> Optional[str]:
    """Registers the classes that detectron2's metadata lists; None where it lists none."""
    things = list(given.get("thing_classes", ()))
    classes = things or list(given.get("stuff_classes", ()))
    if not classes:
        return None
    thing_ids = given.get("thing_dataset_id_to_contiguous_id")
    indices = set(thing_ids.values()) if thing_ids else set(range(len(things)))
    is_thing = tuple(index in indices for index in range(len(classes)))
    register_vocabulary(Vocabulary(name=name, classes=tuple(classes), is_thing=is_thing))
    return name


def load_dataset(name: str, policy: FaultPolicy = STRICT) -> List[dict]:
    """Returns the catalog records of a registered data set, each with its "dataset" and its task.

    Args:
        name: of the data set.
        policy: receives the faults of its files; sets that detectron2 registers know none.

    Raises:
        KeyError: no data set has that name.
        FileNotFoundError: its files are not there.
    """
    _check_name(name)
    load = DatasetCatalog[name]
    records = load(policy) if isinstance(load, PolicyLoader) else load()
    metadata = dataset_metadata(name)
    for record in records:
        record.setdefault("dataset", name)
        record.setdefault("vocabulary", metadata.vocabulary)
        _name_as_ours(record, metadata)
    return records


def _name_as_ours(record: dict, metadata: Metadata) -> None:
    """detectron2's own LVIS keeps category numbers (1, 2, ...) beside class indices."""
    ids = metadata.get("thing_dataset_id_to_contiguous_id")
    for theirs, ours in (
        ("neg_category_ids", "negative_classes"),
        ("not_exhaustive_category_ids", "not_exhaustive_classes"),
    ):
        if theirs in record:
            record[ours] = [n - 1 if ids is None else ids[n] for n in record.pop(theirs)]


def as_vocabulary(
    vocabulary: Union[str, Vocabulary, Sequence[str]], name: str, *, things: bool = False
) -> Vocabulary:
    """Returns a registered vocabulary.

    Args:
        vocabulary: the name of a registered one, one to register, or class names that become the
            vocabulary called `name`.
        name: of the data set.
        things: whether bare class names are counted apart.
    """
    if isinstance(vocabulary, str):
        return get_vocabulary(vocabulary)
    if not isinstance(vocabulary, Vocabulary):
        classes = tuple(vocabulary)
        vocabulary = Vocabulary(name, classes, is_thing=(things,) * len(classes))
    register_vocabulary(vocabulary)
    return vocabulary
