"""Exact search of the highest inner products, block by block, so that memory stays bounded.

N rows of the index, D their width, Q queries, k neighbours.
"""

from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from segplugins.files.write import PathLike, replacing

_DTYPES = {torch.float16: np.float16, torch.float32: np.float32}
_ROWS, _QUERIES = 65_536, 256  # 64 MiB of float32 scores at a time
_GROUP = 64  # scores whose maximum is looked at before any of them


class Neighbours(NamedTuple):
    """The best rows of an index for each query, the best first, equal scores by row.

    Args:
        scores: (Q, k) float32 inner products, -inf where the index has fewer than k rows.
        rows: (Q, k) int64, -1 where the index has fewer than k rows.
    """

    scores: Tensor
    rows: Tensor


class ExactIndex:
    """Finds the rows with the highest inner product; for unit rows, the highest cosine.

    A row's number is its place in the order of adding. Rows stay on the device and in the memory
    where they were added; each block is moved to the device of the queries.

    Args:
        width: D.
        dtype: that rows are stored in, float16 or float32. Inner products are float32 on a CPU and
            are computed in `dtype` on a GPU.

    Raises:
        ValueError: another dtype, or a width below 1.

    Example:
        >>> index = ExactIndex(2)
        >>> index.add(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
        >>> index.query(torch.tensor([[0.0, 1.0]]), 2).rows.tolist()
        [[1, 2]]
    """

    def __init__(self, width: int, dtype: torch.dtype = torch.float32):
        if width < 1 or dtype not in _DTYPES:
            raise ValueError(
                f"an index of width {width} and {dtype}; expected a width of 1 or more and "
                "torch.float16 or torch.float32"
            )
        self.width, self.dtype = width, dtype
        self._parts: List[Tensor] = []

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def add(self, vectors: Tensor) -> None:
        """Appends (n, D) rows.

        Raises:
            ValueError: another shape, or a value that is not finite (in the stored dtype).
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise ValueError(
                f"vectors of shape {tuple(vectors.shape)}; the index takes (n, {self.width})"
            )
        stored = vectors.detach().to(self.dtype, copy=True)
        finite = stored.isfinite().all(dim=1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            raise ValueError(f"row {row} of the added vectors is not finite in {self.dtype}")
        self._parts.append(stored)

    def query(self, queries: Tensor, k: int) -> Neighbours:
        """Returns the k best rows of each query, on the device of the queries.

        Args:
            queries: (Q, D).
            k: neighbours of each, 1 or more.

        Raises:
            ValueError: another shape, k below 1, or a query that is not finite.
        """
        if queries.ndim != 2 or queries.shape[1] != self.width or k < 1:
            raise ValueError(
                f"queries of shape {tuple(queries.shape)} and k {k}; the index takes "
                f"(Q, {self.width}) and a k of 1 or more"
            )
        if not queries.isfinite().all():
            raise ValueError("a query is not finite")
        parts = [self._best(part, k) for part in queries.split(_QUERIES)]
        if not parts:
            return _nothing(0, k, queries.device)
        return Neighbours(*(torch.cat(tensors) for tensors in zip(*parts)))

    @torch.no_grad()
    def _best(self, queries: Tensor, k: int) -> Neighbours:
        dtype = torch.float32 if queries.device.type == "cpu" else self.dtype
        queries = queries.to(dtype)
        best, start = _nothing(len(queries), k, queries.device), 0
        for part in self._parts:
            for rows in part.split(_ROWS):
                block = rows.to(queries.device, non_blocking=True).to(dtype)
                values, places = _top((queries @ block.T).float(), min(k, len(rows)))
                scores = torch.cat([best.scores, values], dim=1)
                numbers = torch.cat([best.rows, places + start], dim=1)
                # Stable, and earlier rows stand first: equal scores keep the order of the rows.
                scores, order = scores.sort(dim=1, descending=True, stable=True)
                best = Neighbours(scores[:, :k], numbers.gather(1, order)[:, :k])
                start += len(rows)
        return best

    def to(self, device: Union[str, torch.device]) -> "ExactIndex":
        """Returns an index of the same rows on a device, so that queries there move none."""
        index = ExactIndex(self.width, self.dtype)
        index._parts = [part.to(device) for part in self._parts]
        return index

    def save(self, path: PathLike) -> None:
        """Writes all rows as one .npy file, whole or not at all.

        Raises:
            ValueError: an index without rows.
        """
        if not len(self):
            raise ValueError(f"{path}: an index without rows is not saved; add vectors first")
        with replacing(path) as temporary, temporary.open("wb") as stream:
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(_DTYPES[self.dtype])),
                "fortran_order": False,
                "shape": (len(self), self.width),
            }
            np.lib.format.write_array_header_1_0(stream, header)
            for part in self._parts:
                for rows in part.split(_ROWS):
                    stream.write(rows.cpu().contiguous().numpy().tobytes())

    @classmethod
    def open(
        cls, paths: Union[PathLike, Sequence[PathLike]], width: Optional[int] = None
    ) -> "ExactIndex":
        """Returns the index of .npy files, memory-mapped: rows are read when they are searched.

        Args:
            paths: what `save` or numpy wrote, (N, D) float16 or float32; several files are one
                index, file after file. A file may have no rows.
            width: D that is expected; None = whatever the first file has.

        Raises:
            ValueError: no file; a file of another kind or width, or a truncated one.
        """
        paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
        if not paths:
            raise ValueError("an index is opened from at least one file")
        index = None
        for path in paths:
            rows = _mapped(path, width if index is None else index.width)
            dtype = next(dtype for dtype, name in _DTYPES.items() if rows.dtype == name)
            index = index or cls(rows.shape[1], dtype)
            if dtype != index.dtype:
                raise ValueError(f"{path}: holds {dtype}, the files before it {index.dtype}")
            if len(rows):
                index._parts.append(torch.from_numpy(rows))
        return index


def _mapped(path: PathLike, width: Optional[int]) -> np.ndarray:
    """Returns the (N, D) rows of a .npy file, copy-on-write."""
    try:
        # torch takes no read-only memory; nothing is ever written.
        rows = np.load(Path(path), mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a whole .npy file of vectors ({error})") from None
    fits = isinstance(rows, np.ndarray) and rows.ndim == 2
    fits = fits and any(rows.dtype == name for name in _DTYPES.values())
    if not fits or rows.shape[1] != (width or rows.shape[1]):
        got = f"{rows.dtype} of shape {rows.shape}" if hasattr(rows, "shape") else "an archive"
        raise ValueError(f"{path}: holds {got}; expected (N, {width or 'D'}) of float16 or float32")
    return rows


def _nothing(queries: int, k: int, device: torch.device) -> Neighbours:
    scores = torch.full((queries, k), -torch.inf, device=device)
    return Neighbours(scores, torch.full((queries, k), -1, device=device))


def _top(scores: Tensor, k: int) -> Neighbours:
    """Returns the k highest of (Q, n), equal ones in the order of their places."""
    values, places = _highest(scores, min(k + 1, scores.shape[1]))
    if values.shape[1] > k:
        # Where the last kept value equals the first left out, the choice between them was free.
        tied = (values[:, k - 1] == values[:, k]).nonzero()[:, 0]
        values, places = values[:, :k].clone(), places[:, :k].clone()
        if len(tied):
            ordered = scores[tied].sort(dim=1, descending=True, stable=True)
            values[tied], places[tied] = ordered.values[:, :k], ordered.indices[:, :k]
    places, order = places.sort(dim=1)
    values, again = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return Neighbours(values, places.gather(1, again))


def _highest(scores: Tensor, count: int) -> Neighbours:
    """Returns the `count` highest of (Q, n); which of equal ones stand at the end is free.

    They lie in the `count` groups with the highest maxima: each of these holds one score that no
    score of another group exceeds. So most scores are only compared with their group's maximum.
    """
    groups = scores.shape[1] // _GROUP
    if groups < 4 * count:
        return Neighbours(*scores.topk(count, dim=1))
    grouped = scores[:, : groups * _GROUP].unflatten(1, (groups, _GROUP))
    chosen = grouped.amax(dim=2).topk(count, dim=1).indices
    inside = torch.arange(_GROUP, device=scores.device)
    places = (chosen[..., None] * _GROUP + inside).flatten(1)
    rest = torch.arange(groups * _GROUP, scores.shape[1], device=scores.device)
    places = torch.cat([places, rest.expand(len(scores), -1)], dim=1)
    values, best = scores.gather(1, places).topk(count, dim=1)
    return Neighbours(values, places.gather(1, best))
