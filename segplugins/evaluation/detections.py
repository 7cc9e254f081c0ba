"""Predicted instances: kept small, and put together with the truth for ranking."""

import json
from pathlib import Path
from typing import Iterator, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from segplugins.evaluation.average_precision import ImageDetections
from segplugins.evaluation.instance_truth import InstanceTruth, TrueImage

LVIS_LIMIT = 300  # detections per image, over all classes


class Detections(NamedTuple):
    """The predictions of one image, as kept and gathered."""

    classes: np.ndarray  # (N,) int64, index of the true category
    scores: np.ndarray  # (N,) float64
    boxes: Optional[np.ndarray]  # (N, 4) float64: x, y, width, height in pixels
    masks: Optional[List[dict]]  # N RLEs with bytes


def encode_masks(masks: Tensor) -> List[dict]:
    """Returns COCO RLEs of masks (N, H, W) bool."""
    columns = masks.to(torch.uint8).permute(0, 2, 1).contiguous().cpu().numpy()
    return coco_mask.encode(columns.transpose(2, 1, 0))  # (H, W, N) in Fortran order


def images_of(
    truth: InstanceTruth, found: Mapping[object, Detections], task: str, limit: Optional[int] = None
) -> Iterator[ImageDetections]:
    """Puts truth and predictions of one task together, image by image, by ascending image id.

    Args:
        truth: of the data set; LVIS's rules apply where it knows frequencies.
        found: image id -> predictions.
        task: "bbox" or "segm".
        limit: LVIS: detections per image over all classes; None = 300.
    """
    for identity in sorted(found):
        image, detections = truth.images[identity], found[identity]
        if truth.frequency:
            detections = _federated(detections, image, task, limit or LVIS_LIMIT)
        yield _image_detections(image, detections, task)


def _areas(detections: Detections, task: str) -> np.ndarray:
    if task == "bbox":
        return detections.boxes[:, 2] * detections.boxes[:, 3]
    return coco_mask.area(detections.masks).astype(np.float64) if detections.masks else np.zeros(0)


def _federated(detections: Detections, image: TrueImage, task: str, limit: int) -> Detections:
    """LVIS: the best `limit` of the image, of classes that it is known to show or not to show."""
    order = np.argsort(-detections.scores, kind="stable")[:limit]
    known = {instance.category for instance in image.instances} | image.absent
    keep = np.isin(detections.classes[order], list(known))
    keep &= _areas(detections, task)[order] > 0  # lvis never sees an empty detection
    order = np.sort(order[keep])
    boxes, masks = detections.boxes, detections.masks
    return Detections(
        detections.classes[order],
        detections.scores[order],
        None if boxes is None else boxes[order],
        None if masks is None else [masks[i] for i in order],
    )


def _image_detections(image: TrueImage, detections: Detections, task: str) -> ImageDetections:
    true = image.instances
    if task == "bbox":
        shapes = detections.boxes
        true_shapes = np.array([i.box for i in true], np.float64).reshape(-1, 4)
    else:
        shapes = detections.masks
        true_shapes = [i.mask for i in true]
    return ImageDetections(
        classes=detections.classes,
        scores=detections.scores,
        areas=_areas(detections, task),
        shapes=shapes,
        true_classes=np.array([i.category for i in true], np.int64),
        true_areas=np.array([i.area for i in true], np.float64),
        true_shapes=true_shapes,
        ignored=np.array([i.ignored for i in true], bool),
        crowd=np.array([i.crowd for i in true], bool),
        lenient=tuple(image.not_exhaustive),
    )


def as_one_class(image: ImageDetections) -> ImageDetections:
    """Returns the image with all classes made one; of equal scores the lower class comes first."""
    order = np.argsort(image.classes, kind="stable")
    true = np.argsort(image.true_classes, kind="stable")

    def chosen(shapes: Sequence, rows: np.ndarray) -> Sequence:
        return shapes[rows] if isinstance(shapes, np.ndarray) else [shapes[i] for i in rows]

    return image._replace(
        classes=np.zeros_like(image.classes),
        scores=image.scores[order],
        areas=image.areas[order],
        shapes=chosen(image.shapes, order),
        true_classes=np.zeros_like(image.true_classes),
        true_areas=image.true_areas[true],
        true_shapes=chosen(image.true_shapes, true),
        ignored=image.ignored[true],
        crowd=image.crowd[true],
    )


def write_results(path: Path, truth: InstanceTruth, found: Mapping[object, Detections]) -> None:
    """Writes predictions in COCO's result format, as detectron2 does and the servers read it.

    Args:
        path: of the JSON file; its folder is made if need be.
        truth: of the data set, for its category ids.
        found: image id -> predictions.
    """
    results = []
    for identity, detections in found.items():
        for i, (of, score) in enumerate(zip(detections.classes, detections.scores)):
            result = {"image_id": identity, "category_id": truth.category_ids[of]}
            if detections.boxes is not None:
                result["bbox"] = detections.boxes[i].tolist()
            if detections.masks is not None:
                rle = detections.masks[i]
                counts = rle["counts"].decode("ascii")
                result["segmentation"] = {"size": list(map(int, rle["size"])), "counts": counts}
            results.append({**result, "score": float(score)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results), encoding="utf-8")
