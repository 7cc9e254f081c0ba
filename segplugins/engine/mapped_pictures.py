"""Pictures of mapped records: image, targets and legend, as a model gets them."""

from pathlib import Path
from typing import Any, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from detectron2.structures import Instances

from segplugins.pictures import Style, draw_label_map, draw_masks
from segplugins.structures import get_vocabulary

_BOX_LINE = 2  # pixels


def draw_record(record: Mapping[str, Any]) -> np.ndarray:
    """Returns image, overlay and legend of a mapped record, (h, w, 3) uint8 RGB.

    Instances are masks, which may overlap; those without a mask are the outlines of their boxes.
    """
    image = record["image"].permute(1, 2, 0).cpu().numpy()
    names, style = _names(record), Style(original=True)
    if "instances" in record:
        instances = record["instances"]
        order = torch.argsort(instances.gt_boxes.area(), descending=True).tolist()
        shown = [names[instances.gt_classes[index]] for index in order]
        masks = instance_masks(instances, order)
        return draw_masks(image, masks, shown, vocabulary=names, style=style)
    labels = record["sem_seg"].cpu().numpy() if "sem_seg" in record else None
    if labels is None:
        labels = np.full(image.shape[:2], -1)
    return draw_label_map(image, labels, names, style=style)


def instance_masks(instances: Instances, order: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields the mask of each instance, (H, W) bool: its own, or the outline of its box.

    Args:
        instances: with gt_boxes and perhaps gt_masks.
        order: their indices; the last ones are painted on top.
    """
    for index in order:
        if instances.has("gt_masks"):
            yield instances.gt_masks.tensor[index].cpu().numpy().astype(bool)
        else:
            yield box_outline(instances.image_size, instances.gt_boxes.tensor[index].tolist())


def box_outline(size: Tuple[int, int], box: Sequence[float]) -> np.ndarray:
    """Returns the lines of a box x0, y0, x1, y1, two pixels wide inside of it; (H, W) bool."""
    x0, y0, x1, y1 = (max(round(value), 0) for value in box)
    outline = np.zeros(size, bool)
    outline[y0:y1, x0:x1] = True
    outline[y0 + _BOX_LINE : max(y1 - _BOX_LINE, 0), x0 + _BOX_LINE : max(x1 - _BOX_LINE, 0)] = (
        False
    )
    return outline


def title_of(record: Mapping[str, Any]) -> str:
    """Returns file, size, task and first texts of a mapped record in one line."""
    height, width = record["image"].shape[1:]
    name = Path(str(record.get("file_name", record.get("key", "")))).name
    parts = [name, f"{width} x {height}", str(record.get("task", ""))]
    texts = record.get("texts") or record.get("captions") or ()
    return "  ".join(part for part in [*parts, *(f"'{text}'" for text in texts[:3])] if part)


def _names(record: Mapping[str, Any]) -> List[str]:
    names = list(record.get("texts") or ())
    if not names and record.get("vocabulary"):
        names = list(get_vocabulary(record["vocabulary"]).classes)
    return names
