"""What each image contributes to the metrics of a run, kept beside its results.

All metrics here (but AP) are functions of sums over images. With the summands of each image at
hand, a metric can be computed again for any choice of images: for intervals, and to compare two
runs image by image.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

import numpy as np
from scipy.sparse import csr_matrix

FILE = "image_statistics.npz"
_ARRAYS = ("data", "indices", "indptr", "shape")


@dataclass(frozen=True)
class ImageStatistics:
    """The summands of one task.

    Args:
        task: key of the result.
        rule: name of the function in `rules.RULES` that computes the metrics from the sums.
        samples: N names of what is resampled: images, or the videos that belong together.
        table: (N, S) float64, mostly zeros: the summands of each sample.
        facts: what the rule needs besides the sums, as plain JSON.
    """

    task: str
    rule: str
    samples: Tuple[str, ...]
    table: csr_matrix
    facts: Mapping[str, Any]


def sparse_rows(
    columns: Sequence[np.ndarray], values: Sequence[np.ndarray], width: int
) -> csr_matrix:
    """Returns a table from the columns and the values of the nonzero cells of each row.

    Args:
        columns: per row (n,) whole numbers below `width`.
        values: per row (n,).
        width: number of columns.
    """
    pointers = np.cumsum([0, *(len(row) for row in columns)])
    indices = np.concatenate([np.zeros(0, np.int64), *columns]).astype(np.int64)
    data = np.concatenate([np.zeros(0), *values]).astype(np.float64)
    return csr_matrix((data, indices, pointers), shape=(len(columns), width))


def dense_rows(rows: Any, width: int) -> csr_matrix:
    """Returns a table from rows (N, S) that have hardly any zeros."""
    return csr_matrix(np.asarray(rows, np.float64).reshape(-1, width))


def write_statistics(folder: Union[str, Path], statistics: Sequence[ImageStatistics]) -> None:
    """Writes image_statistics.npz into a folder, over an earlier one; without statistics none."""
    path = Path(folder, FILE)
    if not statistics:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    described = [
        {
            "task": entry.task,
            "rule": entry.rule,
            "samples": list(entry.samples),
            "facts": dict(entry.facts),
        }
        for entry in statistics
    ]
    arrays = {"description": np.frombuffer(json.dumps(described).encode(), np.uint8)}
    for position, entry in enumerate(statistics):
        for name in _ARRAYS:
            arrays[f"{position}_{name}"] = np.asarray(getattr(entry.table, name))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.write_bytes(buffer.getvalue())


def read_statistics(folder: Union[str, Path]) -> Dict[str, ImageStatistics]:
    """Returns task to statistics as `write_statistics` left them in a folder; {} without a file.

    Raises:
        ValueError: the file is no such file; never runs code that stands in it.
    """
    path = Path(folder, FILE)
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            described = json.loads(arrays["description"].tobytes())
            return {
                entry["task"]: _statistics(entry, arrays, i) for i, entry in enumerate(described)
            }
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no statistics of images: {error}") from error


def _statistics(described: Mapping[str, Any], arrays: Any, position: int) -> ImageStatistics:
    parts: List[np.ndarray] = [arrays[f"{position}_{name}"] for name in _ARRAYS]
    table = csr_matrix(tuple(parts[:3]), shape=tuple(map(int, parts[3])))
    samples = tuple(described["samples"])
    if len(samples) != table.shape[0]:
        raise ValueError(f"{len(samples)} samples, but {table.shape[0]} rows")
    return ImageStatistics(described["task"], described["rule"], samples, table, described["facts"])
