"""Boxes of a file that are not those of their masks: a fault of the file, or strays in it."""

from typing import Any, Callable, List, Sequence, Tuple

import numpy as np

from segplugins.files.masks import TOLERANCE, box_difference

# Of the 2,068 masks of COCO in our samples no box differs by more than 1 pixel; but a set of a
# million objects drawn by hand has some that do, and does no harm: masks say where objects are.
_STRAY_SHARE = 1e-3


class DifferingBoxes:
    """Collects the boxes that are not those of their masks, until it is known how many they are."""

    def __init__(self) -> None:
        self._boxes: List[Tuple[Any, Sequence[float], np.ndarray]] = []

    def add(self, annotation: Any, extent: np.ndarray) -> None:
        """Adds an annotation with its box; `extent` is x0, y0, x1, y1 of its mask."""
        self._boxes.append((annotation, annotation.bbox, extent))

    def report(self, count: int, report: Callable[..., None]) -> None:
        """Reports every box: as a fault, or as a remark where it is one of a few in a large file.

        Args:
            count: annotations of the file.
            report: called with annotation, kind, message, and "mend" or "remark".
        """
        few = len(self._boxes) <= _STRAY_SHARE * count
        for annotation, box, extent in self._boxes:
            message = box_difference(box, extent)
            if few and not _are_corners(box, extent):
                report(annotation, "box", f"{message} The mask counts", remark=True)
            else:
                report(annotation, "box", message, mend=("bbox", None))


def _are_corners(box: Sequence[float], extent: np.ndarray) -> bool:
    """Whether a box holds the corners of its mask instead of corner and size."""
    return bool(np.abs(np.asarray(box) - extent).max() <= TOLERANCE)
