"""The "instances" of a model's output, checked and turned into what is compared.

N predictions, H W pixels.
"""

from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np
import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from segplugins.evaluation.detections import Detections
from segplugins.evaluation.instance_truth import TrueImage
from segplugins.evaluation.mask_runs import encode_masks
from segplugins.evaluation.output_checks import check_finite, check_size
from segplugins.evaluation.sample_identity import describe


class Expected(NamedTuple):
    """What the predictions of a data set must hold."""

    dataset_name: str
    categories: Mapping[int, int]  # class of the model -> true category
    boxes: bool
    masks: bool


def read_predictions(
    record: Mapping[str, Any], instances: Any, image: TrueImage, expected: Expected
) -> Detections:
    """Returns the predictions of an image in float32 or better, masks as RLE.

    Args:
        record: of the catalog, for messages.
        instances: detectron2's Instances at the size of the image, on any device: `scores` (N,),
            `pred_classes` (N,) and, as expected, `pred_boxes` and `pred_masks` (N, H, W) bool.
        image: the truth, for its size.
        expected: what must be there.

    Raises:
        ValueError: they cannot be scored; the message names the image.
    """
    if not isinstance(instances, Instances):
        raise ValueError(
            f"{describe(record)}: 'instances' is a {type(instances).__name__}, expected "
            "detectron2.structures.Instances"
        )
    size = image.height, image.width
    if tuple(instances.image_size) != size:
        raise ValueError(
            f"{describe(record)}: instances are of an image of {tuple(instances.image_size)} "
            f"pixels (height, width), the truth of {size}; bring them to the size of the original "
            "image, as detectron2's detector_postprocess does"
        )
    if not instances.get_fields() or len(instances) == 0:
        return Detections(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4)), [])
    needed = ["scores", "pred_classes"]
    needed += ["pred_boxes"] * expected.boxes + ["pred_masks"] * expected.masks
    absent = [name for name in needed if not instances.has(name)]
    if absent:
        raise ValueError(f"{describe(record)}: instances lack {absent}")
    classes = _classes(record, instances, expected)
    return Detections(
        classes,
        _scores(record, instances),
        _boxes(record, instances) if expected.boxes else None,
        _masks(record, instances, size) if expected.masks else None,
    )


def _scores(record: Mapping[str, Any], instances: Instances) -> np.ndarray:
    scores = torch.as_tensor(instances.scores)
    check_size(record, "scores of instances", scores.shape, (len(instances),))
    if scores.dtype == torch.bool or scores.is_complex():
        raise ValueError(f"{describe(record)}: scores of instances are {scores.dtype}")
    scores = scores.detach() if scores.dtype == torch.float64 else scores.detach().float()
    check_finite(record, "scores of instances", scores)
    return scores.cpu().numpy()


def _classes(record: Mapping[str, Any], instances: Instances, expected: Expected) -> np.ndarray:
    tensor = torch.as_tensor(instances.pred_classes)
    check_size(record, "pred_classes", tensor.shape, (len(instances),))
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(
            f"{describe(record)}: pred_classes holds {tensor.dtype}, expected whole numbers"
        )
    classes = tensor.tolist()
    unknown = sorted(set(classes) - set(expected.categories))
    if unknown:
        raise ValueError(
            f"{describe(record)}: instances of class {unknown[0]}, which is no class of things "
            f"of data set '{expected.dataset_name}'"
        )
    return np.array([expected.categories[label] for label in classes], np.int64)


def _boxes(record: Mapping[str, Any], instances: Instances) -> np.ndarray:
    """(N, 4) float64: x, y, width, height."""
    tensor = getattr(instances.pred_boxes, "tensor", instances.pred_boxes)
    check_size(record, "pred_boxes", tensor.shape, (len(instances), 4))
    # Before the subtraction: half precision tells whole pixels apart up to 2048 only.
    tensor = tensor.detach().double()
    check_finite(record, "pred_boxes", tensor)
    boxes = tensor.cpu().numpy()
    reversed_rows = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if reversed_rows.any():
        raise ValueError(
            f"{describe(record)}: pred_boxes holds the box "
            f"{tuple(boxes[reversed_rows.argmax()].tolist())}, which ends before it begins; "
            "expected x0, y0, x1, y1 (XYXY)"
        )
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _masks(record: Mapping[str, Any], instances: Instances, size: Sequence[int]) -> list:
    masks = instances.pred_masks
    masks = masks.tensor if isinstance(masks, BitMasks) else masks
    if not isinstance(masks, Tensor):
        raise ValueError(
            f"{describe(record)}: pred_masks is a {type(masks).__name__}, expected a tensor "
            "(N, H, W) bool"
        )
    check_size(record, "pred_masks", masks.shape, (len(instances), *size))
    if masks.dtype != torch.bool:
        masks = _as_bool(record, masks)
    return encode_masks(masks.detach())


def _as_bool(record: Mapping[str, Any], masks: Tensor) -> Tensor:
    """Takes numbers that are 0 or 1 for masks, and nothing else: a probability is no mask."""
    binary = masks == 1
    other = ~(binary | (masks == 0))
    if bool(other.any()):
        value = masks[other][0].item()
        raise ValueError(
            f"{describe(record)}: pred_masks is {masks.dtype} and holds {value:g}, expected bool, "
            "or 0 and 1; probabilities and logits must be compared with a threshold first"
        )
    return binary
