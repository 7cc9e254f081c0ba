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
# Pairs of labels that are counted in a table; of more the pairs that occur are sorted out.
_TABLE_CELLS = 2**16
# Pairs of segments that are counted in a table, and pixels of a run from which on that is faster.
_AREA_CELLS = 2**20
_SHORTEST_RUN = 8
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


def pair_counts(
    prediction: np.ndarray, truth: np.ndarray
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts the pixels of each pair of predicted and true label that occurs.

    The time hardly depends on what the maps show: noise costs as much as large areas.

    Args:
        prediction: (H, W) whole numbers or bool.
        truth: (H, W) whole numbers or bool.

    Returns:
        predicted label, true label and number of pixels of each pair, (R,) int64 each, ordered by
        true, then by predicted label.
    """
    if not truth.size:
        return (np.zeros(0, np.int64),) * 3
    prediction, truth = prediction.reshape(-1), truth.reshape(-1)
    rows, columns = _extent(prediction), _extent(truth)
    predicted_labels, true_labels = None, None
    if len(rows) * len(columns) > _TABLE_CELLS:
        # Label files of people are areas: cheap to number anew, and then of few labels.
        true_labels, truth = _renumbered(truth, columns)
        columns = range(len(true_labels))
        if len(rows) * len(columns) >= 2**31:
            predicted_labels, prediction = _renumbered(prediction, rows)
            rows = range(len(predicted_labels))
    predicted, true, pixels = _cells(prediction, truth, rows, columns)
    if predicted_labels is not None:
        predicted = predicted_labels[predicted]
    return predicted, true if true_labels is None else true_labels[true], pixels


def area_counts(
    prediction: np.ndarray, truth: np.ndarray
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns `pair_counts` of maps that show areas, such as segments, in half the time.

    Runs of equal pairs are counted instead of pixels. Maps of many short runs are counted by
    `pair_counts`, so that noise costs only the search for runs.
    """
    a, b = prediction.reshape(-1), truth.reshape(-1)
    if not b.size:
        return pair_counts(prediction, truth)
    changes = a[1:] != a[:-1]
    changes |= b[1:] != b[:-1]
    last = np.append(sparse_places(changes), b.size - 1)
    if len(last) * _SHORTEST_RUN > b.size:
        return pair_counts(prediction, truth)
    a, b = a[last], b[last]
    (rows, a), (columns, b) = (_indices(labels, _extent(labels)) for labels in (a, b))
    height = len(rows)
    if height * len(columns) > _AREA_CELLS:
        return pair_counts(prediction, truth)
    keys = b.astype(np.int64) * height + a
    # Sums of whole numbers below 2**53 are exact in float64.
    counts = np.bincount(keys, weights=np.diff(last, prepend=-1))
    cells = np.flatnonzero(counts)
    column = cells // height
    return rows[cells - column * height], columns[column], counts[cells].astype(np.int64)


def sparse_places(flags: np.ndarray) -> np.ndarray:
    """Returns where few of N flags are set: `np.flatnonzero(flags)` in half the time.

    Args:
        flags: (N,) bool, in one piece.

    Returns:
        (n,) int64, ascending.
    """
    whole = flags.size // 8 * 8
    words = flags[:whole].view(np.uint64)
    holding = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[holding].view(bool))
    places = 8 * holding[inside >> 3] + (inside & 7)
    return np.concatenate([places, whole + np.flatnonzero(flags[whole:])])


def _extent(labels: np.ndarray) -> range:
    """Returns the lowest to the highest label."""
    return range(int(labels.min()), int(labels.max()) + 1)


def _renumbered(labels: np.ndarray, extent: range) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the labels that occur, sorted, (L,) int64, and the map of their indices, (N,)."""
    last = np.append(sparse_places(labels[1:] != labels[:-1]), labels.size - 1)
    occurring, indices = _indices(labels[last], extent)
    if len(occurring) <= _TABLE_CELLS:
        indices = indices.astype(np.uint16)
    return occurring, np.repeat(indices, np.diff(last, prepend=-1))


def _indices(labels: np.ndarray, extent: range) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the labels that occur, sorted, (L,) int64, and the index of each label, (N,)."""
    if len(extent) <= _TABLE_CELLS:
        places = labels.astype(np.int64) - extent[0]
        index_of = np.zeros(len(extent), np.int32)
        index_of[places] = 1
        occurring = np.flatnonzero(index_of)
        index_of[occurring] = np.arange(len(occurring))
        return occurring + extent[0], index_of[places]
    occurring = np.unique(labels)
    return occurring.astype(np.int64), occurring.searchsorted(labels).astype(np.int32)


def _cells(
    prediction: np.ndarray, truth: np.ndarray, rows: range, columns: range
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns `pair_counts` of maps (N,) whose labels lie in `rows` and `columns`.

    Cells stand in the order of the true labels: where the truth shows areas, the cells of many
    pixels in a row then lie within a few kilobytes, also where the prediction is noise.
    """
    size, height = len(rows) * len(columns), len(rows)
    if size <= _TABLE_CELLS:
        # Modulo 2**16 throughout: only the number of the cell has to fit.
        numbers = truth.astype(np.uint16)
        if columns[0]:
            numbers -= np.uint16(columns[0] % 2**16)
        numbers *= np.uint16(height % 2**16)
        numbers += prediction.astype(np.uint16, copy=False)
        if rows[0]:
            numbers -= np.uint16(rows[0] % 2**16)
        signed = numbers.view(np.int16) if size <= 2**15 else numbers.astype(np.int32)
        # Of the histograms at hand the fastest: numpy's makes 64 bits of each pixel first.
        counts = torch.bincount(torch.from_numpy(signed), minlength=size).numpy()
        cells = np.flatnonzero(counts != 0)
        counts = counts[cells]
    else:
        dtype = np.int32 if max(size, abs(rows[0]), abs(columns[0])) < 2**31 else np.int64
        numbers = (truth.astype(dtype) - dtype(columns[0])) * dtype(height)
        numbers += prediction.astype(dtype, copy=False)
        numbers -= dtype(rows[0])
        numbers.sort()
        last = np.append(sparse_places(numbers[1:] != numbers[:-1]), numbers.size - 1)
        cells, counts = numbers[last].astype(np.int64), np.diff(last, prepend=-1)
    true = cells // height  # divmod takes five times as long
    return cells - true * height + rows[0], true + columns[0], counts


def boundary_labels(labels: np.ndarray, ratio: float = 0.02) -> np.ndarray:
    """Returns a label map minus its erosion: what detectron2 compares as boundaries.

    That is a difference of *label numbers*, with everything outside the image counted as label 0,
    so that it changes with the order of the classes; boundary_bands.py has the rule of the paper.
    Here in whole numbers of any size, where detectron2's are 8 bits and its counts wrong from about
    16 classes on.

    Args:
        labels: (H, W) integers >= 0.
        ratio: width of the boundary by the image's diagonal.

    Returns:
        (H, W) int64.
    """
    width = max(1, round(ratio * float(np.hypot(*labels.shape))))
    labels = labels.astype(np.int64)
    return labels - ndimage.minimum_filter(labels, size=2 * width + 1, mode="constant", cval=0)
