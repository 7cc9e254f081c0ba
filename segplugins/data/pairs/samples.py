"""The samples of image-text sets: by number, and in which order they are read."""

from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

import numpy as np
from detectron2.data import DatasetCatalog
from torch.utils.data import Dataset

from segplugins.data.pairs.index import PairIndex, build_index
from segplugins.data.pairs.order import shuffled_runs
from segplugins.files.faults import FaultPolicy


class PairSamples(Dataset):
    """The samples of several sets, set after set.

    Args:
        indices: data set name to where its samples lie.
    """

    def __init__(self, indices: Dict[str, PairIndex]) -> None:
        self.names = list(indices)
        self.indices = list(indices.values())
        self._ends = np.cumsum(self.sizes)

    @property
    def sizes(self) -> List[int]:
        """Samples per set."""
        return [len(index) for index in self.indices]

    @property
    def orders(self) -> List[Callable[[np.random.Generator], Iterator[int]]]:
        """Per set the order in which its samples are read, see `shuffled_runs`."""
        return [partial(shuffled_runs, index.counts) for index in self.indices]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> Dict[str, Any]:
        which = int(np.searchsorted(self._ends, number, side="right"))
        if number < 0 or which == len(self.indices):
            raise IndexError(f"sample {number} of {len(self)}")
        index = self.indices[which]
        entry = index[number - int(self._ends[which]) + len(index)]
        return {
            "dataset": self.names[which],
            "image_id": f"byte {entry.offset}",
            "file_name": entry.shard,
            "entry": entry,
        }


def load_pairs(names: Sequence[str], folder: Path, policy: FaultPolicy) -> PairSamples:
    """Finds the samples of image-text sets.

    Args:
        names: of registered sets.
        folder: keeps what was found for later runs, see `build_index`.
        policy: receives the faults of shards.

    Raises:
        FileNotFoundError: a set has no file.
        FaultError, ValueError: see `build_index`.
    """
    shards = {name: [r["file_name"] for r in DatasetCatalog.get(name)] for name in names}
    return PairSamples({name: build_index(shards[name], folder, policy) for name in shards})
