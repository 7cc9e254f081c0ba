"""Side-cars: JSON lines beside the shards of an image-text set that say more about its samples.

A side-car of shard NAME.tar is NAME.jsonl in a folder of its own; the data stay as they are. A line
begins with the place of its sample in the shard: {"at": 1024, "key": "000017", ...}.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from segplugins.data.shards import Entry, FaultySample

_AT = re.compile(rb'\{"at": (\d+), ')
_OPEN = 256  # shards whose line places a process keeps


class SideCars:
    """The side-cars of the shards of a set.

    Args:
        folder: of the NAME.jsonl files.
        shards: that each must have one.

    Raises:
        FileNotFoundError: a shard has none; the message names the first.
    """

    def __init__(self, folder: Path, shards: Sequence[str]) -> None:
        self.folder = folder
        missing = [shard for shard in shards if not self._path(shard).is_file()]
        if missing:
            raise FileNotFoundError(
                f"DATASETS.SIDECARS: '{folder}' has no {Path(missing[0]).stem}.jsonl for "
                f"{missing[0]} ({len(missing)} of {len(shards)} shards lack theirs); finish what "
                "writes them, or name another folder"
            )

    def _path(self, shard: str) -> Path:
        return self.folder / f"{Path(shard).stem}.jsonl"

    def line(self, entry: Entry, key: str) -> Dict[str, Any]:
        """Returns what the side-car says of a sample.

        Args:
            entry: where the sample lies.
            key: its name.

        Raises:
            FaultySample: no line, or one of another sample.
        """
        path = self._path(entry.shard)
        places = _places(str(path))
        row = int(np.searchsorted(places[:, 0], entry.offset))
        if row == len(places) or places[row, 0] != entry.offset:
            raise FaultySample(f"{entry}: {path} has no line of it")
        with path.open("rb") as file:
            file.seek(int(places[row, 1]))
            line = json.loads(file.readline())
        if line.get("key") != key:
            raise FaultySample(
                f"{entry}: {path} has the sample '{line.get('key')}' at this place; it was made "
                "from another version of the shard"
            )
        return line


@lru_cache(maxsize=_OPEN)
def _places(path: str) -> np.ndarray:
    """Returns (n, 2) int64: place of a sample in its shard, and of its line; by the first."""
    places, start = [], 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            match = _AT.match(line)
            if match is None:
                raise FaultySample(f'{path}, line {number}: expected {{"at": ..., "key": ...}}')
            places.append((int(match[1]), start))
            start += len(line)
    table = np.array(places, np.int64).reshape(-1, 2)
    return table[table[:, 0].argsort(kind="stable")]


def open_sidecars(folders: Sequence[str], shards: Mapping[str, List[str]]) -> Dict[str, SideCars]:
    """Returns the side-cars of training sets by name; {} where none are named.

    Args:
        folders: DATASETS.SIDECARS, one per set; "" = this set has none.
        shards: files of each set of DATASETS.TRAIN.

    Raises:
        ValueError: another number of folders than of sets.
        FileNotFoundError: see `SideCars`.
    """
    if folders and len(folders) != len(shards):
        raise ValueError(
            f"DATASETS.SIDECARS names {len(folders)} folders for the {len(shards)} sets of "
            'DATASETS.TRAIN; give one each, "" for a set without'
        )
    return {
        name: SideCars(Path(folder), shards[name])
        for name, folder in zip(shards, folders)
        if folder
    }
