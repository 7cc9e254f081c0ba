"""Approximate search by faiss, for millions of rows: the interface of `ExactIndex`.

N rows of the index, D their width, Q queries, k neighbours.
"""

from math import sqrt
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segplugins.files.write import PathLike, replacing

from .exact import ExactIndex, Neighbours

KINDS = ("flat", "ivf", "sq8", "ivf_sq8")
_CELLS_PER_ROOT = 4  # cells of an inverted file for the square root of N
_PROBED = 16  # share of the cells that a query visits: 1 / _PROBED, 1 at least
_TRAINED_ON = 64  # rows per cell that the cells are trained on


def import_faiss() -> ModuleType:
    """Returns the module faiss.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "an approximate index needs faiss (pip install faiss-cpu, or the extra 'retrieval'); "
            "the exact index needs nothing"
        ) from error
    return faiss


class FaissIndex:
    """Finds rows of high inner product, by a faiss index of one of `KINDS`.

    "flat" is exact, 4 D bytes a row. "sq8" has 8 bits a value, D bytes a row, and looks at all
    rows. "ivf" looks at the cells nearest to the query alone; "ivf_sq8" does both.

    Args:
        width: D.
        kind: one of `KINDS`.
        rows: N that will be added, from which the number of cells follows.

    Raises:
        ValueError: an unknown kind.
        ImportError: faiss is not installed.
    """

    def __init__(self, width: int, kind: str, rows: int):
        if kind not in KINDS:
            raise ValueError(f"an index of kind '{kind}'; expected one of {KINDS}")
        faiss = import_faiss()
        self.width = width
        self._cells = max(1, min(round(_CELLS_PER_ROOT * sqrt(rows)), rows // 8))
        text = {"flat": "Flat", "sq8": "SQ8"}.get(kind) or (
            f"IVF{self._cells}," + ("Flat" if kind == "ivf" else "SQ8")
        )
        self._index = faiss.index_factory(width, text, faiss.METRIC_INNER_PRODUCT)
        self._probe()

    def _probe(self) -> None:
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = max(1, self._index.nlist // _PROBED)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def train(self, vectors: Tensor) -> None:
        """Fits cells and quantisers to (n, D) rows, an even sample of all; "flat" needs none."""
        if not self._index.is_trained:
            most = _TRAINED_ON * self._cells
            step = max(1, len(vectors) // max(most, 4096))
            self._index.train(_rows(vectors[::step]))

    def add(self, vectors: Tensor) -> None:
        """Appends (n, D) rows; the index must be trained."""
        self._index.add(_rows(vectors))

    def query(self, queries: Tensor, k: int) -> Neighbours:
        """Returns up to k good rows of each query, the best first; -1 where fewer were found."""
        scores, rows = self._index.search(_rows(queries), k)
        scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
        return Neighbours(torch.from_numpy(scores), torch.from_numpy(rows.astype(np.int64)))

    def save(self, path: PathLike) -> None:
        """Writes the index as one file of faiss, whole or not at all."""
        with replacing(path) as temporary:
            import_faiss().write_index(self._index, str(temporary))

    @classmethod
    def open(cls, path: PathLike) -> "FaissIndex":
        """Returns the index of a file, memory-mapped where its kind allows."""
        faiss = import_faiss()
        index = cls.__new__(cls)
        index._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        index.width, index._cells = index._index.d, getattr(index._index, "nlist", 1)
        index._probe()
        return index


def _rows(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)


def recall(index: Any, exact: ExactIndex, queries: Tensor, k: int) -> float:
    """Returns the share of the exact k neighbours that another index gives too.

    Args:
        index: with `query`.
        exact: over the same rows.
        queries: (Q, D).
        k: neighbours of each.

    Example:
        >>> index = ExactIndex(1)
        >>> index.add(torch.tensor([[1.0], [2.0], [3.0]]))
        >>> recall(index, index, torch.ones(1, 1), 2)
        1.0
    """
    truth = exact.query(queries, k).rows
    answers = index.query(queries, k).rows.to(truth.device)
    is_row = truth >= 0
    same = (truth[:, :, None] == answers[:, None]).any(dim=2)
    return float((same & is_row).sum() / is_row.sum().clamp(min=1))
