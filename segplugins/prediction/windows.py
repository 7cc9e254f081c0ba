"""Windows: a picture larger than what the model sees, answered part by part at full resolution."""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import detectron2.data.transforms as T
import numpy as np

from segplugins.structures.regions import Task

from .questions import Question
from .result import NOTHING, Result, label_type

_OVERLAP = 1 / 4  # of neighbouring windows, in both directions


class Window(NamedTuple):
    """A part of a picture, in pixels.

    Args:
        rows: seen by the model.
        columns: seen by the model.
        own_rows: whose answer counts: those nearer to this window's middle than to its neighbour's.
        own_columns: likewise.
    """

    rows: slice
    columns: slice
    own_rows: slice
    own_columns: slice


def place_windows(size: Tuple[int, int], window: Tuple[int, int]) -> List[Window]:
    """Returns windows that cover a picture and overlap by a quarter.

    Args:
        size: (H, W) of the picture.
        window: (h, w) of the windows; cut to the picture where it is larger.

    The parts whose answer counts do not overlap and cover the picture.
    """
    rows, columns = (_spans(length, part) for length, part in zip(size, window))
    return [Window(r, c, own_r, own_c) for r, own_r in rows for c, own_c in columns]


def window_size(image: np.ndarray, augmentations: T.AugmentationList) -> Tuple[int, int]:
    """Returns the (h, w) at which windows of a picture are not made smaller for the model.

    It is the size of the whole picture as the model would see it, borders left out.
    """
    height, width = image.shape[:2]
    seen = T.AugInput(image)
    x0, y0, x1, y1 = augmentations(seen).apply_box(np.array([[0.0, 0.0, width, height]]))[0]
    return min(height, max(1, round(y1 - y0))), min(width, max(1, round(x1 - x0)))


def check_windows(question: Question) -> None:
    """Raises ValueError where objects are asked for, which windows would cut."""
    if question.task not in (Task.SEMANTIC, Task.PART, Task.REFERRING):
        raise ValueError(
            f"windows would cut objects, so task '{question.task}' cannot be answered with them; "
            "leave windows out"
        )


def join_windows(
    image: np.ndarray,
    windows: Sequence[Window],
    answer: Callable[[np.ndarray], Result],
    question: Question,
    more: Dict[str, Any],
) -> Result:
    """Returns the result of a picture from those of its windows.

    Args:
        image: (H, W, 3) uint8 RGB.
        windows: of `place_windows`.
        answer: of a part of the picture.
        question: classes or phrases.
        more: "name" and "image" of the result.

    Raises:
        ValueError: see `check_windows`.
    """
    check_windows(question)
    phrases = question.vocabulary is None
    shape = (len(question.names), *image.shape[:2]) if phrases else image.shape[:2]
    joined = (
        np.zeros(shape, bool)
        if phrases
        else np.full(shape, NOTHING, label_type(len(question.names)))
    )
    for rows, columns, own_rows, own_columns in windows:
        part = answer(np.ascontiguousarray(image[rows, columns]))
        inner = (
            slice(own_rows.start - rows.start, own_rows.stop - rows.start),
            slice(own_columns.start - columns.start, own_columns.stop - columns.start),
        )
        found = part.masks if phrases else part.label_map
        joined[..., own_rows, own_columns] = found[(..., *inner)]
    more = {**more, "task": question.task, "is_thing": question.is_thing}
    if phrases:
        return Result.from_masks(joined, range(len(question.names)), question.names, **more)
    return Result.from_label_map(joined, question.names, **more)


def _spans(length: int, window: int) -> List[Tuple[slice, slice]]:
    """Returns (seen, own) of the windows along one side."""
    if length <= window:
        return [(slice(0, length), slice(0, length))]
    step = max(1, round(window * (1 - _OVERLAP)))
    count = 1 + -(-(length - window) // step)
    starts = [round(i * (length - window) / (count - 1)) for i in range(count)]
    borders = [0, *((a + window + b) // 2 for a, b in zip(starts, starts[1:])), length]
    return [
        (slice(start, start + window), slice(low, high))
        for start, low, high in zip(starts, borders, borders[1:])
    ]
