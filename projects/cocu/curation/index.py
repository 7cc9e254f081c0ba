"""Stage 2: for each image the images, or the captions, of an index that are most like it."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Union

import numpy as np
import torch

from segplugins.search import ExactIndex, FaissIndex, recall

from .embed import read_samples

_ADDED = 65_536  # rows added to an approximate index at a time
_ASKED = 512  # queries that recall is measured on


class IndexFiles:
    """The embedded shards that neighbours are taken from, as one table of rows.

    Args:
        folders: of embeddings.
        names: of the shards of each folder.
        ending: ".npy" for images, ".captions.npy" for captions.
    """

    def __init__(
        self, folders: Sequence[Path], names: Sequence[Sequence[str]], ending: str = ".npy"
    ) -> None:
        self.shards = [(folder, name) for folder, part in zip(folders, names) for name in part]
        self.paths = [folder / f"{name}{ending}" for folder, name in self.shards]
        counts = [len(np.load(path, mmap_mode="r")) for path in self.paths]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def exact(self) -> ExactIndex:
        """Returns the exact index over the memory-mapped rows."""
        return ExactIndex.open(self.paths)

    def approximate(self, kind: str) -> FaissIndex:
        """Returns a new faiss index over the rows, read piece by piece."""
        tables = [np.load(path, mmap_mode="r") for path in self.paths]
        index = FaissIndex(tables[0].shape[1], kind, len(self))
        step = max(1, len(self) // 262_144)
        sample = np.concatenate([table[::step] for table in tables])
        index.train(torch.from_numpy(sample))
        for table in tables:
            for start in range(0, len(table), _ADDED):
                index.add(torch.from_numpy(np.array(table[start : start + _ADDED])))
        return index

    def first_row(self, folder: Path, name: str) -> int:
        """Returns the number of a shard's first row; -1 if the shard is none of the index."""
        key = (folder.resolve(), name)
        for number, (other, theirs) in enumerate(self.shards):
            if (other.resolve(), theirs) == key:
                return int(self.starts[number])
        return -1


Searched = Union[ExactIndex, FaissIndex]


def retrieve(
    index: Searched, queries: np.ndarray, count: int, own: np.ndarray, device: str = "cpu"
) -> np.ndarray:
    """Returns (n, count) int64 rows of the index, -1 where it has fewer.

    Args:
        index: to search.
        queries: (n, D).
        count: neighbours.
        own: (n, S) rows of the index that are the query itself and are left out; -1 = none.
        device: of the search.
    """
    if not len(queries):
        return np.full((0, count), -1, np.int64)
    asked = torch.from_numpy(np.asarray(queries, np.float32)).to(device)
    rows = index.query(asked, count + own.shape[1]).rows.cpu().numpy()
    dropped = (rows[:, :, None] == own[:, None]).any(axis=2) | (rows < 0)
    order = dropped.argsort(axis=1, kind="stable")[:, :count]
    return np.where(np.take_along_axis(dropped, order, 1), -1, np.take_along_axis(rows, order, 1))


def measured_recall(index: Searched, files: IndexFiles, count: int) -> float:
    """Returns the share of exact neighbours that an index finds, on 512 rows of its own."""
    step = max(1, len(files) // _ASKED)
    queries = np.concatenate([np.load(path, mmap_mode="r")[::step] for path in files.paths])
    return recall(index, files.exact(), torch.from_numpy(queries[:_ASKED]).float(), count)


class Caption(NamedTuple):
    """A row of the index.

    Args:
        shard: number of its shard.
        sample: as `read_samples` gives it.
        text: the caption of a caption index, else all captions of the image.
    """

    shard: int
    sample: Dict[str, Any]
    text: str


def rows_of(files: IndexFiles, rows: Sequence[int], captions: bool) -> Dict[int, Caption]:
    """Returns what stands in some rows of the index; only their shards are read."""
    wanted = np.unique([row for row in rows if row >= 0]).astype(np.int64)
    number = np.searchsorted(files.starts, wanted, side="right") - 1
    entries: Dict[int, Caption] = {}
    for shard in np.unique(number):
        samples = read_samples(*files.shards[shard])
        texts: List[Caption] = []
        for sample in samples:
            parts = sample["captions"] if captions else [" / ".join(sample["captions"])]
            texts += [Caption(int(shard), sample, text) for text in parts]
        for row in wanted[number == shard].tolist():
            entries[row] = texts[row - int(files.starts[shard])]
    return entries
