"""Pictures of mapped records: image, targets and legend, as a model gets them."""

from pathlib import Path
from typing import Any, List, Mapping, Sequence, Tuple

import numpy as np
import torch

from segplugins.pictures import Style, draw_label_map
from segplugins.structures import get_vocabulary


def draw_record(record: Mapping[str, Any]) -> np.ndarray:
    """Returns image, overlay and legend of a mapped record, (h, w, 3) uint8 RGB."""
    image = record["image"].permute(1, 2, 0).cpu().numpy()
    labels, names = target_map(record)
    return draw_label_map(image, labels, names, style=Style(original=True))


def title_of(record: Mapping[str, Any]) -> str:
    """Returns file, size, task and first texts of a mapped record in one line."""
    height, width = record["image"].shape[1:]
    name = Path(str(record.get("file_name", record.get("key", "")))).name
    parts = [name, f"{width} x {height}", str(record.get("task", ""))]
    texts = record.get("texts") or record.get("captions") or ()
    return "  ".join(part for part in [*parts, *(f"'{text}'" for text in texts[:3])] if part)


def target_map(record: Mapping[str, Any]) -> Tuple[np.ndarray, List[str]]:
    """Returns what is painted: labels (H, W) int64, -1 = nothing, and the names of the labels.

    Instances are numbered, largest first, so that small ones lie on top.
    """
    names = list(record.get("texts") or ())
    if not names and record.get("vocabulary"):
        names = list(get_vocabulary(record["vocabulary"]).classes)
    if "instances" not in record:
        if "sem_seg" not in record:
            return np.full(record["image"].shape[1:], -1), names
        return record["sem_seg"].numpy(), names
    instances = record["instances"]
    labels = np.full(instances.image_size, -1, dtype=np.int64)
    order = torch.argsort(instances.gt_boxes.area(), descending=True).tolist()
    for number, index in enumerate(order):
        if instances.has("gt_masks"):
            labels[instances.gt_masks.tensor[index].numpy()] = number
        else:
            _outline(labels, instances.gt_boxes.tensor[index].tolist(), number)
    return labels, [names[instances.gt_classes[index]] for index in order]


def _outline(labels: np.ndarray, box: Sequence[float], number: int) -> None:
    """Draws a box two pixels wide."""
    x0, y0, x1, y1 = (round(value) for value in box)
    inside = labels[y0 + 2 : max(y1 - 2, y0 + 2), x0 + 2 : max(x1 - 2, x0 + 2)].copy()
    labels[y0:y1, x0:x1] = number
    labels[y0 + 2 : y0 + 2 + inside.shape[0], x0 + 2 : x0 + 2 + inside.shape[1]] = inside
