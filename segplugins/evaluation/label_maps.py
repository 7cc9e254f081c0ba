"""Label maps: deciding on a prediction, and counting where it meets the truth.

K classes, H W pixels.
"""

from typing import Optional, Tuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

# Scores looked at in one go. It bounds the extra memory at any K: the intermediate maxima of a
# chunk take about a third of this.
_CHUNK_BYTES = 16 * 2**20
# Classes per node of the search tree in `_best_of`: 6-12 are equally fast on CPUs.
_FAN_OUT = 8


def best_class(scores: Tensor, without: Optional[int] = None) -> Tuple[Tensor, Tensor]:
    """Finds the class with the highest score of each pixel, on the device of the scores.

    On a CPU 2 to 4 times faster than `argmax(dim=0)`, and never needs more than about 50 MiB
    beside its results.

    Args:
        scores: (K, H, W), any float type.
        without: a class that is not in the running.

    Returns:
        labels (H, W) int32, the lowest index where several are equal, and their scores (H, W), NaN
        where any of the classes is NaN.
    """
    num_classes, height, width = scores.shape
    labels = torch.empty(height, width, dtype=torch.int32, device=scores.device)
    tops = torch.empty(height, width, dtype=scores.dtype, device=scores.device)
    rows = max(1, _CHUNK_BYTES // (num_classes * width * scores.element_size()))
    others = [index for index in range(num_classes) if index != without]
    for start in range(0, height, rows):
        chunk = scores[:, start : start + rows]
        if without is not None:
            chunk = chunk[others]
        top, label = _best_of(chunk.flatten(1))
        if without is not None:
            label += label >= without
        labels[start : start + rows] = label.view(-1, width)
        tops[start : start + rows] = top.view(-1, width)
    return labels, tops


def _best_of(scores: Tensor) -> Tuple[Tensor, Tensor]:
    """(K, N) to maxima (N,) and their indices (N,).

    A maximum runs at the speed of memory, an argmax 6 times slower. So: the maxima of groups of
    classes first, then the best group, then the best within it.
    """
    num_classes = len(scores)
    if num_classes <= 2 * _FAN_OUT or scores.device.type != "cpu":
        return scores.max(dim=0)
    whole = num_classes // _FAN_OUT * _FAN_OUT
    maxima = scores[:whole].unflatten(0, (-1, _FAN_OUT)).amax(dim=1)
    if whole < num_classes:
        maxima = torch.cat([maxima, scores[whole:].amax(dim=0, keepdim=True)])
    top, group = _best_of(maxima)
    first = group * _FAN_OUT
    members = first + torch.arange(_FAN_OUT)[:, None]
    # The last group may be short; its last member stands in for the missing ones, behind itself.
    candidates = scores.gather(0, members.clamp_(max=num_classes - 1))
    return top, first + candidates.max(dim=0).indices


def paired_runs(
    prediction: np.ndarray, truth: np.ndarray
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts an image into runs of pixels in which neither label changes, row after row.

    Label maps are made of areas: of 350,000 pixels some 10,000 begin a run, and all that follows
    (checks, folding, counting) looks at those alone.

    Args:
        prediction: (H, W) integers.
        truth: (H, W) integers.

    Returns:
        predicted label, true label and number of pixels of each run, R entries each.
    """
    prediction, truth = prediction.reshape(-1), truth.reshape(-1)
    changes = prediction[1:] != prediction[:-1]
    changes |= truth[1:] != truth[:-1]
    if np.count_nonzero(changes) > truth.size // 4:
        # Noise, not areas: every pixel as a run of its own takes half as long.
        return prediction, truth, np.broadcast_to(1, truth.shape)
    last = np.append(np.flatnonzero(changes), truth.size - 1)
    return prediction[last], truth[last], np.diff(last, prepend=-1)


def boundary_labels(labels: np.ndarray, ratio: float = 0.02) -> np.ndarray:
    """Label map minus its erosion: what boundary IoU compares.

    As in detectron2, the difference of *label numbers*, with everything outside the image counted
    as label 0; in whole numbers of any size, where detectron2's are 8 bits and its counts wrong
    from about 16 classes on.

    Args:
        labels: (H, W) integers >= 0.
        ratio: width of the boundary by the image's diagonal.

    Returns:
        (H, W) int64.
    """
    width = max(1, round(ratio * float(np.hypot(*labels.shape))))
    labels = labels.astype(np.int64)
    return labels - ndimage.minimum_filter(labels, size=2 * width + 1, mode="constant", cval=0)
