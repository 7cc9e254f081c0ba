"""Loading a data set: to the end for the checker; strictly, or with gaps, for training."""

import logging
from dataclasses import dataclass, field
from typing import List, Optional

from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.catalog import dataset_root, load_dataset
from segplugins.data.check.whole_set import count_targets, set_faults
from segplugins.data.pairs import is_pairs
from segplugins.data.shards import index_shard
from segplugins.files.faults import STRICT, Collect, Fault, FaultError, Skip

logger = logging.getLogger(__name__)

POLICIES = ("strict", "skip")
_NAMED = 5
# Above this share of annotations left out, what stays says more about the fault than about the set:
# a wrong folder, a wrong vocabulary, another version of the file.
LARGEST_SHARE_LEFT_OUT = 0.5
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


@dataclass(frozen=True)
class Source:
    """An annotation file that a data set is read from.

    Args:
        kind: "instances", "panoptic", "refs" or "lines".
        path: of the file.
        regions: another file that holds the masks; "" for the same.
        image_root: folder of the pictures.
    """

    kind: str
    path: str
    regions: str = ""
    image_root: str = ""


@dataclass
class LoadedSet:
    """What could be read of a data set, and what was wrong with it.

    Args:
        name: of the data set.
        records: catalog records.
        faults: in the order in which they were met.
        source: its annotation file; None for folders of files.
    """

    name: str
    records: List[dict] = field(default_factory=list)
    faults: List[Fault] = field(default_factory=list)
    source: Optional[Source] = None


def load_with_faults(name: str) -> LoadedSet:
    """Loads a registered data set as far as it can be read.

    Raises:
        KeyError: no data set has that name.
        FileNotFoundError: its folders or its annotation file are not there.
    """
    policy = Collect()
    loaded = LoadedSet(name, faults=policy.faults)
    try:
        loaded.records = load_dataset(name, policy)
    except READING_ERRORS as error:
        missing = isinstance(error, FileNotFoundError) and not loaded.faults
        if name not in DatasetCatalog or missing:
            raise
        loaded.faults.append(Fault("unreadable-set", f"loading ends: {error_text(error)}"))
    else:
        if loaded.records and is_pairs([name]):
            loaded.records = _pairs(loaded)
        loaded.faults += set_faults(name, loaded.records)
    source = MetadataCatalog.get(name).get("annotation_source")
    loaded.source = None if source is None else Source(*source)
    return loaded


def _pairs(loaded: LoadedSet) -> List[dict]:
    """A record per sample of the shards, which are what the catalog lists."""
    metadata = MetadataCatalog.get(loaded.name)
    root = metadata.pairs_image_root
    image_root = None if root is None else dataset_root() / root
    records = []
    for shard in loaded.records:
        path = shard["file_name"]
        entries, fault = index_shard(path)
        if fault is not None or not entries:
            loaded.faults.append(Fault("shard", fault or f"{path} holds no sample", path))
        records += [
            {
                "file_name": path,
                "image_id": entry.key,
                "entry": entry,
                "image_root": image_root,
                "captions_only": metadata.captions_only,
            }
            for entry in entries
        ]
    return records


def error_text(error: BaseException) -> str:
    """Returns an error in one line; those of plain Python with their name, which says the most."""
    text = " ".join(str(error).split())
    plain = isinstance(error, FaultError) or type(error) in (ValueError, FileNotFoundError)
    return text if plain else f"{type(error).__name__} {text}"


def load_by_policy(name: str, policy: str) -> List[dict]:
    """Loads a data set for training.

    Args:
        name: of the data set.
        policy: "strict": the first fault of its files is an error; "skip": faulty entries are left
            out and counted in the log.

    Raises:
        ValueError: an unknown policy; a fault under "strict"; nothing to learn from; more than
            `LARGEST_SHARE_LEFT_OUT` of the annotations left out.
        KeyError, FileNotFoundError: see `load_with_faults`.
    """
    if policy not in POLICIES:
        raise ValueError(f"DATALOADER.FAULTS is '{policy}', expected one of {POLICIES}")
    skip = Skip(keep=_NAMED)
    try:
        records = load_dataset(name, STRICT if policy == "strict" else skip)
    except FaultError as error:
        raise type(error)(error.fault, hint=_hint(name)) from error
    check_usable(name, records)
    _check_share(name, records, skip)
    if skip.counts:
        logger.warning(
            "data set '%s': %d entries of its files are at fault (%s) and left out or mended, %d "
            "records stay; the first: %s; tools/check_dataset.py --dataset %s lists all",
            name,
            sum(skip.counts.values()),
            ", ".join(f"{kind} {count}" for kind, count in skip.counts.most_common()),
            len(records),
            "; ".join(map(str, skip.first)),
            name,
        )
    return records


def _check_share(name: str, records: List[dict], skip: Skip) -> None:
    source = MetadataCatalog.get(name).get("annotation_source")
    if source is not None and Source(*source).kind == "refs":
        return  # faults of all splits are counted, and only one of them is loaded
    left_out = skip.left_out
    total = left_out + (count_targets(records) if left_out else 0)
    if left_out > LARGEST_SHARE_LEFT_OUT * total:
        raise ValueError(
            f"data set '{name}': {left_out} of {total} annotations are at fault and would be left "
            f"out, more than {LARGEST_SHARE_LEFT_OUT:.0%}; the first: {skip.first[0]}; "
            f"tools/check_dataset.py --dataset {name} lists all. Mend the file, or train on a copy "
            "that --fix has cleaned"
        )


def check_usable(name: str, records: List[dict]) -> None:
    """Raises FaultError if nothing can be learned from a data set, or scored on it.

    Args:
        name: of the data set.
        records: of the catalog; the search ends at the first usable target.
    """
    for fault in set_faults(name, records):
        if not fault.remark:
            raise FaultError(fault, hint=f"tools/check_dataset.py --dataset {name} shows the set")


def _hint(name: str) -> str:
    return (
        f"tools/check_dataset.py --dataset {name} lists all faults, and with --fix FILE writes a "
        "copy without them; DATALOADER.FAULTS skip leaves them out"
    )
