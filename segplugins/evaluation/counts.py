"""Counts that several processes add up, each image once.

A confusion matrix is the sum over images of what is counted in them. It is small and does not grow
with the data set, but the share of one image can no longer be seen in it. So the shares of the last
images are kept beside it, to subtract those that a padding sampler gives to two processes.
"""

from collections import OrderedDict
from typing import List, Sequence, Tuple

import numpy as np
import torch
from detectron2.utils import comm

# Samplers that hand every process equally many images repeat fewer than there are processes, at
# the end of what a process gets.
_RETRACTABLE = 64

Cells = Tuple[np.ndarray, np.ndarray, np.ndarray]  # rows, columns, counts


def add_cells(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: np.ndarray) -> None:
    """Adds n[i] to matrix[rows[i], columns[i]] for all i, also where cells repeat."""
    cells = torch.from_numpy(rows * matrix.shape[1] + columns)
    # On one thread faster than np.add.at; whole numbers, so that no order of adding matters.
    torch.from_numpy(matrix.reshape(-1)).index_add_(0, cells, torch.from_numpy(n))


class SharedCounts:
    """Layers of square matrices, row = prediction, column = truth.

    They lie in memory by columns: the cells of an image come in the order of the true classes, so
    that adding them walks through memory once.

    Args:
        layers: number of matrices.
        size: rows and columns of each.
        distributed: other processes count too.
    """

    def __init__(self, layers: int, size: int, distributed: bool):
        self._by_truth = np.zeros((layers, size, size), np.int64)
        self._distributed = distributed and comm.get_world_size() > 1
        self._last: OrderedDict[str, List[Cells]] = OrderedDict()

    @property
    def matrices(self) -> np.ndarray:
        """What this process counted, (layers, size, size) int64."""
        return self._by_truth.swapaxes(1, 2)

    def add(self, image: str, layers: Sequence[Cells]) -> None:
        """Adds the cells of an image, per layer."""
        for matrix, (rows, columns, n) in zip(self._by_truth, layers):
            add_cells(matrix, columns, rows, n)
        if self._distributed:
            self._last[image] = list(layers)
            if len(self._last) > _RETRACTABLE:
                self._last.popitem(last=False)

    def joined(self, counted_elsewhere: Sequence[str]) -> np.ndarray:
        """Returns the matrices of all processes together, on every process.

        Args:
            counted_elsewhere: images of this process that one of lower rank counts too.

        Raises:
            ValueError: one of them was counted too long ago to be subtracted.
        """
        by_truth = self._by_truth.copy()
        for image in counted_elsewhere:
            if image not in self._last:
                raise ValueError(
                    f"{image} was predicted by two processes; use a sampler that gives each image "
                    "out once, like detectron2's InferenceSampler"
                )
            for matrix, (rows, columns, n) in zip(by_truth, self._last[image]):
                add_cells(matrix, columns, rows, -n)
        joined = sum(comm.all_gather(by_truth)) if self._distributed else by_truth
        return joined.swapaxes(1, 2)
