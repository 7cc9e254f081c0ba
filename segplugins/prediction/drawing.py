"""A result as a picture: which of the library's pictures shows it best."""

from typing import Any

import numpy as np

from segplugins.pictures import Style, draw_label_map, draw_masks, draw_panoptic
from segplugins.structures.regions import Task

from .result import NOTHING, Result


def draw(result: Result, **style: Any) -> np.ndarray:
    """Returns (h, w, 3) uint8 RGB: the image, its regions with their names, and a legend.

    Args:
        result: with its image.
        style: fields of `segplugins.pictures.Style`, such as `legend=False`.
    """
    drawn = {"style": Style(**style)}
    if result.task is Task.REFERRING:
        names = [result.names[index] for index in result.classes]
        masks = map(result.mask, range(len(result)))
        return draw_masks(result.image, masks, names, scores=result.scores, **drawn)
    if result.overlaps:
        return _draw_instances(result, drawn["style"])
    if result.task is Task.PANOPTIC:
        return _draw_segments(result, drawn)
    scores = None
    if result.scores is not None:
        scores = np.full(len(result.names), np.nan)
        scores[result.classes] = result.scores
    return draw_label_map(result.image, result.label_map, result.names, scores=scores, **drawn)


def _draw_instances(result: Result, style: Style) -> np.ndarray:
    """The certain instances; how many others there are stands in the legend."""
    numbers = np.arange(len(result))
    scores, unpainted = result.scores, ""
    if scores is not None:
        numbers = np.flatnonzero(np.asarray(scores) >= style.min_score)
        left_out = len(scores) - len(numbers)
        unpainted = f"({left_out} with a score below {style.min_score:g})" if left_out else ""
        scores = scores[numbers]
    return draw_masks(
        result.image,
        map(result.mask, numbers.tolist()),
        [result.names[index] for index in result.classes[numbers]],
        scores=scores,
        vocabulary=result.names,
        unpainted=unpainted,
        style=style,
    )


def _draw_segments(result: Result, drawn: dict) -> np.ndarray:
    numbers = np.full(result.size, NOTHING, np.int32)
    segments = []
    for number, index in enumerate(result.classes.tolist()):
        numbers[result.mask(number)] = number
        segment = {"id": number, "category_id": index, "isthing": result.is_thing[index]}
        if result.scores is not None:
            segment["score"] = float(result.scores[number])
        segments.append(segment)
    return draw_panoptic(result.image, numbers, segments, result.names, **drawn)
