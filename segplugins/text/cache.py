"""RowCache: embeddings by key, the last used ones, within a bound of bytes."""

from collections import OrderedDict
from typing import Hashable, Optional, Tuple

from torch import Tensor


class RowCache:
    """Keeps tensors by key and forgets those that were not used for longest.

    Args:
        most_bytes: that all kept tensors take together.
    """

    def __init__(self, most_bytes: int):
        self.most_bytes = most_bytes
        self.bytes = 0
        self._rows: OrderedDict[Hashable, Tuple[Tensor, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forgets everything."""
        self._rows.clear()
        self.bytes = 0

    def get(self, key: Hashable) -> Optional[Tuple[Tensor, ...]]:
        """Returns the tensors of a key, or None."""
        if key in self._rows:
            self._rows.move_to_end(key)
        return self._rows.get(key)

    def put(self, key: Hashable, *tensors: Tensor) -> None:
        """Keeps copies of tensors; a part of a larger tensor would keep all of it in memory."""
        if sum(tensor.nbytes for tensor in tensors) > self.most_bytes:
            return
        self._forget(key)
        self._rows[key] = tuple(tensor.detach().clone() for tensor in tensors)
        self.bytes += _size(self._rows[key])
        while self.bytes > self.most_bytes:
            self._forget(next(iter(self._rows)))

    def _forget(self, key: Hashable) -> None:
        self.bytes -= _size(self._rows.pop(key, ()))


def _size(tensors: Tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
