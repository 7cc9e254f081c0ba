"""Dice: random choices that are the same on every machine and under every numpy.

numpy promises that the raw bits of a bit generator never change, but not what `Generator` makes of
them (a release may improve `integers` or `shuffle`). So the choices are made here, in whole
numbers, from the raw bits.
"""

from typing import List, Sequence, Tuple, TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 512  # bits are drawn in blocks: one call into numpy costs as much as 50 choices


class Dice:
    """A stream of choices that depends on nothing but its seed and its place.

    Args:
        seed: of the whole world, 0 to 2**64 - 1.
        stream: which split or purpose, 0 to 2**31 - 1.
        index: which image of it, 0 to 2**32 - 1.
    """

    def __init__(self, seed: int, stream: int, index: int):
        # Philox is a keyed counter: any two keys give independent streams, so image 1000 can be
        # drawn without drawing the 999 before it.
        key = np.array([seed, (stream << 32) | index], dtype=np.uint64)
        self._source = np.random.Philox(key=key)
        self._bits: List[int] = []

    def below(self, bound: int) -> int:
        """Returns a whole number from 0 to `bound` - 1, for bounds up to 2**32."""
        if not self._bits:
            self._bits = (self._source.random_raw(_BLOCK) >> np.uint64(32)).tolist()
        return (self._bits.pop() * bound) >> 32

    def between(self, low: int, high: int) -> int:
        """Returns a whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """Returns True in `percent` of 100 calls."""
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        """Returns one of the items, each as likely as the others."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[Tuple[T, int]]) -> T:
        """Returns one item of (item, weight) pairs, by weight."""
        rest = self.below(sum(weight for _, weight in items))
        for item, weight in items:
            rest -= weight
            if rest < 0:
                return item
        raise AssertionError("weights must be positive")

    def shuffled(self, items: Sequence[T]) -> List[T]:
        """Returns the items in a new order; the input stays."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
