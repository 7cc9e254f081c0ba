"""The best and the worst pictures of an evaluation, kept small while it runs."""

from dataclasses import dataclass
from typing import Callable, List, Sequence, Tuple

import numpy as np

# Pixels on the long side of a kept label map. The page shows it at about this size.
LONG_SIDE = 320


@dataclass
class Picture:
    """One image with what was predicted for it.

    Args:
        file_name: of the image.
        accuracy: share of the labelled pixels that are right, 0-1.
        truth: (h, w) evaluated classes, K where ignored; thinned to at most 320 pixels a side.
        prediction: (h, w) evaluated classes, K for others.
    """

    file_name: str
    accuracy: float
    truth: np.ndarray
    prediction: np.ndarray


class Gallery:
    """Keeps the pictures with the highest and the lowest pixel accuracy.

    Args:
        keep: pictures of either kind.
    """

    def __init__(self, keep: int = 4):
        self._keep = keep
        self.reset()

    def reset(self) -> None:
        """Forgets all pictures."""
        self.pictures: List[Picture] = []

    def offer(
        self,
        file_name: str,
        right: int,
        labelled: int,
        size: Tuple[int, int],
        thinned: Callable[[int], Tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Takes a picture in if it is among the best or the worst so far.

        Args:
            file_name: of the image.
            right: labelled pixels whose class was predicted.
            labelled: pixels that count; with 0 the picture says nothing and is left out.
            size: (H, W) of its label maps.
            thinned: given a step, returns every step-th pixel of prediction and truth, evaluated
                classes up to 65535. Called only if the picture is taken.
        """
        if not labelled:
            return
        accuracy = int(right) / int(labelled)
        full = len(self.pictures) >= 2 * self._keep
        if full and self.worst()[-1].accuracy <= accuracy <= self.best()[-1].accuracy:
            return
        prediction, truth = thinned(-(-max(size) // LONG_SIDE))
        kept = (labels.astype(np.uint16) for labels in (truth, prediction))
        self.join([self.pictures, [Picture(file_name, accuracy, *kept)]])

    def join(self, parts: Sequence[Sequence[Picture]]) -> None:
        """Replaces the pictures by the best and worst of several galleries."""
        everything = {picture.file_name: picture for part in parts for picture in part}
        self.pictures = sorted(everything.values(), key=lambda p: (p.accuracy, p.file_name))
        if len(self.pictures) > 2 * self._keep:
            self.pictures = self.pictures[: self._keep] + self.pictures[-self._keep :]

    def worst(self) -> List[Picture]:
        """Returns up to `keep` pictures, worst first; those of `best` are not among them."""
        return self.pictures[: min(self._keep, len(self.pictures) // 2)]

    def best(self) -> List[Picture]:
        """Returns up to `keep` pictures, best first."""
        return self.pictures[len(self.worst()) :][::-1][: self._keep]
