"""Where every sample of an image-text set lies: 16 bytes a sample, in files that workers share.

Reading the headers of all shards is done once. What they say is kept in a folder of the run, one
file per shard, so that neither a resumed run nor a loader worker reads a header again.
"""

import hashlib
import logging
import os
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
from detectron2.utils import comm

from segplugins.data.shards import Entry, index_shard
from segplugins.files.faults import Fault, FaultPolicy

logger = logging.getLogger(__name__)

_LOG_SECONDS = 10.0
_OPEN_PLACES = 256  # shards whose places a process keeps mapped


class PairIndex:
    """The samples of some shards, in the order of the shards and of the files.

    Args:
        shards: S files.
        files: per shard the file of its places: (n + 1, 2) int64; the first row tells which version
            of the shard they belong to, the others give offset and size of a sample in bytes.
        counts: samples per shard.
    """

    def __init__(self, shards: Sequence[str], files: Sequence[str], counts: Sequence[int]) -> None:
        self.shards, self.files = tuple(shards), tuple(files)
        self.counts = np.asarray(counts, dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, number: int) -> Entry:
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        offset, size = _places(self.files[shard])[number - self._starts[shard] + 1].tolist()
        return Entry(self.shards[shard], offset, size)


def build_index(shards: Sequence[str], folder: Path, policy: FaultPolicy) -> PairIndex:
    """Reads the headers of shards, or what an earlier run has kept of them.

    Processes share the work. Where they share the folder too, each header is read once.

    Args:
        shards: .tar, .jsonl or .ndjson files.
        folder: keeps the places of the samples; created.
        policy: receives the faults of shards. A damaged shard gives the samples before the damage.

    Raises:
        FaultError: a shard is damaged or empty, under the strict policy.
        ValueError: no shard holds a sample.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [str(folder / _file_name(shard)) for shard in shards]
    own_shards = slice(comm.get_rank(), None, comm.get_world_size())
    faults = _index(shards[own_shards], files[own_shards])
    faults = {key: fault for part in comm.all_gather(faults) for key, fault in part.items()}
    # Those of processes that write to another disk.
    faults |= _index(shards, files, indexed=faults)
    for shard in sorted(faults):
        policy.report(Fault("shard", faults[shard], shard))
    counts = [len(np.load(file, mmap_mode="r")) - 1 for file in files]
    if not sum(counts):
        raise ValueError(f"none of {len(shards)} shards holds a sample; the first is {shards[0]}")
    return PairIndex(shards, files, counts)


def _index(
    shards: Sequence[str], files: Sequence[str], indexed: Sequence[str] = ()
) -> Dict[str, str]:
    """Writes the files that are missing or out of date; returns shards to what is wrong."""
    faults: Dict[str, str] = {}
    last = time.monotonic()
    for number, (shard, file) in enumerate(zip(shards, files)):
        version = _version(shard)
        if _is_of(file, version, trusted=shard in indexed):
            continue
        entries, fault = index_shard(shard)
        if fault is None and not entries:
            fault = f"{shard} holds no sample"
        if fault is not None:
            faults[shard] = fault
        _write(file, version if fault is None else _FAULTY, entries)
        if time.monotonic() - last > _LOG_SECONDS:
            last = time.monotonic()
            logger.info("index of image-text pairs: %d of %d shards", number + 1, len(shards))
    return faults


_FAULTY = (-1, -1)  # a version that no file has: its faults are told again in the next run


def _version(shard: str) -> Tuple[int, int]:
    try:
        state = os.stat(shard)
    except OSError:
        return _FAULTY  # index_shard says what is wrong
    return state.st_size, state.st_mtime_ns


def _is_of(file: str, version: Tuple[int, int], *, trusted: bool) -> bool:
    """Whether a file holds the places of this version of a shard."""
    try:
        first = np.load(file, mmap_mode="r")[0].tolist()
    except (OSError, ValueError, IndexError):
        return False
    return first == list(version) != list(_FAULTY) or (trusted and first == list(_FAULTY))


def _file_name(shard: str) -> str:
    digest = hashlib.blake2b(os.path.abspath(shard).encode(), digest_size=8).hexdigest()
    return f"{Path(shard).stem[:40]}-{digest}.npy"


def _write(file: str, version: Tuple[int, int], entries: List[Entry]) -> None:
    """Writes under another name first: processes that read see all or nothing."""
    rows = [version, *((entry.offset, entry.size) for entry in entries)]
    handle, name = tempfile.mkstemp(dir=os.path.dirname(file), suffix=".part")
    with os.fdopen(handle, "wb") as part:
        np.save(part, np.array(rows, dtype=np.int64))
    os.replace(name, file)


@lru_cache(maxsize=_OPEN_PLACES)
def _places(file: str) -> np.ndarray:
    return np.load(file, mmap_mode="r")
