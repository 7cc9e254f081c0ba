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
    if result.overlaps:
        names = [result.names[index] for index in result.classes]
        masks = (result.mask(number) for number in range(len(result)))
        vocabulary = None if result.task is Task.REFERRING else result.names
        return draw_masks(
            result.image, masks, names, scores=result.scores, vocabulary=vocabulary, **drawn
        )
    if result.task is Task.PANOPTIC:
        return _draw_segments(result, drawn)
    scores = None
    if result.scores is not None:
        scores = np.full(len(result.names), np.nan)
        scores[result.classes] = result.scores
    return draw_label_map(result.image, result.label_map, result.names, scores=scores, **drawn)


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
