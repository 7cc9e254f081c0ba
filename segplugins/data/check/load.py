"""Loading a data set to the end in spite of its faults."""

import logging
import os
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Tuple

from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.catalog import dataset_root, load_dataset
from segplugins.data.check.notes import Notes
from segplugins.data.check.sieve_instances import sift_instances
from segplugins.data.check.sieve_panoptic import sift_panoptic
from segplugins.data.check.sieve_refs import sift_refs
from segplugins.data.pairs import is_pairs
from segplugins.data.shards import index_shard
from segplugins.files.faults import Fault

logger = logging.getLogger(__name__)

POLICIES = ("strict", "skip")
_NAMED = 5
# What malformed files make readers raise.
READING_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    OSError,
)
# What tells two records of a data set apart, as evaluators do.
_IDENTITY = ("image_id", "ref_id", "video_id", "expression_id", "frame")
_IMAGES = ("file_name",)


def _sift_lines(content: Any, notes: Notes) -> Any:
    return content  # the reader reports line by line; here only the file becomes known


_SIEVES: Dict[str, Callable[..., Any]] = {
    "instances": sift_instances,
    "panoptic": sift_panoptic,
    "refs": sift_refs,
    "lines": _sift_lines,
}


@dataclass
class Source:
    """An annotation file that a data set is read from.

    Args:
        kind: of the sieve that it went through.
        path: of the file.
        content: what is left of it.
        image_root: folder that the paths of its images are relative to.
    """

    kind: str
    path: str
    content: Any
    image_root: str = ""


@dataclass
class LoadedSet:
    """What could be read of a data set, and what was wrong with it; a `FaultPolicy`.

    Args:
        name: of the data set.
        records: catalog records.
        faults: in the order in which they were met.
        sources: annotation files.
    """

    name: str
    records: List[dict] = field(default_factory=list)
    faults: List[Fault] = field(default_factory=list)
    sources: List[Source] = field(default_factory=list)

    def report(self, fault: Fault) -> None:
        """Keeps a fault; the reader goes on."""
        self.faults.append(fault)

    def sift(
        self, kind: str, content: Any, path: str, *, image_root: object = "", **about: Any
    ) -> Any:
        """Returns the content without its faulty entries."""
        notes = Notes(path)
        cleaned = _SIEVES[kind](content, notes, **about)
        self.faults += notes.faults
        self.sources.append(Source(kind, path, cleaned, str(image_root)))
        return cleaned


def load_with_faults(name: str) -> LoadedSet:
    """Loads a registered data set as far as it can be read.

    Raises:
        KeyError: no data set has that name.
        FileNotFoundError: its folders or its annotation file are not there.
    """
    loaded = LoadedSet(name)
    try:
        loaded.records = load_dataset(name, loaded)
    except READING_ERRORS as error:
        missing = isinstance(error, FileNotFoundError) and not loaded.faults
        if name not in DatasetCatalog or missing:
            raise
        loaded.faults.append(Fault("unreadable-set", f"loading ends: {error_text(error)}"))
    if loaded.records and is_pairs([name]):
        loaded.records = _pairs(loaded)
        return loaded
    loaded.faults += _path_faults(loaded) + _identity_faults(loaded.records)
    return loaded


def _pairs(loaded: LoadedSet) -> List[dict]:
    """A record per sample of the shards, which are what the catalog lists."""
    root = MetadataCatalog.get(loaded.name).pairs_image_root
    image_root = None if root is None else dataset_root() / root
    records = []
    for shard in loaded.records:
        path = shard["file_name"]
        entries, fault = index_shard(path)
        if fault is not None or not entries:
            loaded.faults.append(Fault("shard", fault or f"{path} holds no sample", path))
        records += [
            {"file_name": path, "image_id": entry.key, "entry": entry, "image_root": image_root}
            for entry in entries
        ]
    return records


def error_text(error: BaseException) -> str:
    """Returns an error in one line; those of plain Python with their name, which says the most."""
    text = " ".join(str(error).split())
    return (
        text if type(error) in (ValueError, FileNotFoundError) else f"{type(error).__name__} {text}"
    )


def _path_faults(loaded: LoadedSet) -> List[Fault]:
    roots = {source.image_root for source in loaded.sources if source.image_root}
    if len(roots) != 1:
        return []
    root = os.path.join(os.path.abspath(roots.pop()), "")
    return [
        Fault(
            "path",
            f"the path leaves the folder of images {root}",
            record["file_name"],
            str(record.get("image_id", "")),
            "file_name",
            position,
        )
        for position, record in enumerate(loaded.records)
        if not os.path.abspath(record["file_name"]).startswith(root)
    ]


def _identity_faults(records: List[dict]) -> List[Fault]:
    """Records that an evaluator could not tell apart."""
    seen: Dict[Tuple, int] = {}
    faults = []
    for position, record in enumerate(records):
        key = tuple((name, record[name]) for name in _IDENTITY if name in record)
        key = key or (("file_name", record.get("file_name")),)
        before = seen.setdefault(key, position)
        if before != position:
            faults.append(
                Fault(
                    "id",
                    f"record {before} of the set has the same {dict(key)}",
                    record.get("file_name", ""),
                    str(record.get("image_id", "")),
                    position=position,
                )
            )
    return faults


def load_by_policy(name: str, policy: str) -> List[dict]:
    """Loads a data set for training.

    Args:
        name: of the data set.
        policy: "strict": a fault of its annotation file is an error; "skip": faulty entries are
            left out and told in the log.

    Raises:
        ValueError: an unknown policy, or a fault under "strict".
        KeyError, FileNotFoundError: see `load_with_faults`.
    """
    if policy not in POLICIES:
        raise ValueError(f"DATALOADER.FAULTS is '{policy}', expected one of {POLICIES}")
    try:
        return load_dataset(name)
    except READING_ERRORS as error:
        if name not in DatasetCatalog:
            raise
        loaded = load_with_faults(name)
        faults = [fault for fault in loaded.faults if not fault.remark]
        if not faults or not loaded.records:
            raise
        told = "; ".join(str(fault) for fault in faults[:_NAMED])
        summary = f"data set '{name}' has {len(faults)} faults in its files: {told}"
        if policy == "strict":
            raise ValueError(
                f"{summary}; tools/check_dataset.py --dataset {name} tells all of them, "
                "DATALOADER.FAULTS skip leaves them out"
            ) from error
        logger.warning("%s; left out, %d records stay", summary, len(loaded.records))
        return loaded.records
