"""Plain per-image code for what the evaluators of regions do, to compare and to time them with.

It follows the reference implementations step by step, with the libraries that they use.
"""

import json
import math
import warnings
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from segplugins.evaluation.boundary import BOUND_TH
from segplugins.evaluation.saliency import LEVELS

# (mask (H, W) bool, disk (2 r + 1, 2 r + 1) uint8) -> (H, W) bool
Dilation = Callable[[np.ndarray, np.ndarray], np.ndarray]


def segment_picture(ids: np.ndarray) -> Image.Image:
    """Returns segment ids (H, W) as the colours of a panoptic PNG."""
    channels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)
    return Image.fromarray(channels.astype(np.uint8))


def read_ids(path: str) -> np.ndarray:
    """Returns the segment ids (H, W) of a panoptic PNG."""
    with Image.open(path) as image:
        channels = np.asarray(image).astype(np.uint32)
    return channels[..., 0] + 256 * channels[..., 1] + 65536 * channels[..., 2]


def panoptic(
    truth: np.ndarray,
    true_segments: List[dict],
    ids: torch.Tensor,
    segments: List[dict],
    *,
    num_categories: int,
    folder: str,
) -> np.ndarray:
    """One image the way of detectron2 and panopticapi: a PNG and a list are written and read.

    Args:
        truth: (H, W) segment ids.
        true_segments: their "id", "category_id" and "area"; no crowds.
        ids: (H, W) predicted segment ids.
        segments: their "id" and "category_id".
        num_categories: K.
        folder: where to write.

    Returns:
        (K, 4): sum of IoU, true positives, false positives, false negatives.
    """
    segment_picture(ids.cpu().numpy()).save(f"{folder}/prediction.png")
    Path(folder, "prediction.json").write_text(json.dumps(segments))
    segments = json.loads(Path(folder, "prediction.json").read_text())
    prediction = read_ids(f"{folder}/prediction.png")
    true = {segment["id"]: segment for segment in true_segments}
    predicted = {segment["id"]: segment for segment in segments}
    labels, areas = np.unique(prediction, return_counts=True)
    for label, area in zip(labels.tolist(), areas.tolist()):
        if label:
            predicted[label]["area"] = area
    both = truth.astype(np.uint64) * 256**3 + prediction.astype(np.uint64)
    shared = {}
    for label, area in zip(*np.unique(both, return_counts=True)):
        shared[int(label) // 256**3, int(label) % 256**3] = int(area)
    counts = np.zeros((num_categories, 4))
    done_true, done_predicted = set(), set()
    for (g, p), area in shared.items():
        if g not in true or p not in predicted:
            continue
        if true[g]["category_id"] != predicted[p]["category_id"]:
            continue
        union = predicted[p]["area"] + true[g]["area"] - area - shared.get((0, p), 0)
        if area / union > 0.5:
            counts[true[g]["category_id"], :2] += area / union, 1
            done_true.add(g)
            done_predicted.add(p)
    for g, segment in true.items():
        counts[segment["category_id"], 3] += g not in done_true
    for p, segment in predicted.items():
        outside = shared.get((0, p), 0) / segment["area"] > 0.5
        counts[segment["category_id"], 2] += p not in done_predicted and not outside
    return counts


def saliency(grey: np.ndarray, g: np.ndarray) -> Tuple[float, np.ndarray, np.ndarray, float]:
    """Scores a map (H, W) uint8, not constant, against a mask (H, W) bool, not empty.

    Returns:
        MAE, F and E at thresholds 255 to 0, weighted F.
    """
    q = grey / 255
    q = (q - q.min()) / (q.max() - q.min())
    level = (q * 255).astype(np.uint8)
    f, e = [], []
    for threshold in range(LEVELS - 1, -1, -1):
        b = level >= threshold
        tp = np.count_nonzero(b & g)
        precision, recall = tp / max(np.count_nonzero(b), 1), tp / np.count_nonzero(g)
        f.append(1.3 * precision * recall / (0.3 * precision + recall) if tp else 0.0)
        u, v = b - b.mean(), g - g.mean()
        aligned = 2 * u * v / (u * u + v * v + np.spacing(1))
        e.append(((aligned + 1) ** 2 / 4).sum() / (g.size - 1 + np.spacing(1)))
    return np.abs(q - g).mean(), np.array(f), np.array(e), weighted_f(q, g)


def reference_saliency() -> Optional[Callable[[Sequence], List[float]]]:
    """Returns PySODMetrics as a function of (map, mask) pairs; None where it is not installed.

    The function returns MAE, F (highest, mean, adaptive), E (likewise), S and weighted F.
    """
    try:
        import py_sod_metrics
    except ImportError:
        return None

    def scores(cases: Sequence[Tuple[np.ndarray, np.ndarray]]) -> List[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it announces a newer class for the same numbers
            measures = [
                getattr(py_sod_metrics, name)()
                for name in ("MAE", "Fmeasure", "Emeasure", "Smeasure", "WeightedFmeasure")
            ]
        for grey, mask in cases:
            for measure in measures:
                measure.step(grey, mask.astype(np.uint8) * 255)
        mae, f, e, s, weighted = (measure.get_results() for measure in measures)
        rows = ([of["curve"].max(), of["curve"].mean(), of["adp"]] for of in (f["fm"], e["em"]))
        return [mae["mae"], *(value for row in rows for value in row), s["sm"], weighted["wfm"]]

    return scores


def weighted_f(q: np.ndarray, g: np.ndarray) -> float:
    """Returns the weighted F of a map (H, W) 0-1 for a mask (H, W) bool, not empty."""
    distance, nearest = ndimage.distance_transform_edt(~g, return_indices=True)
    error = np.abs(q - g)
    spread = error.copy()
    spread[~g] = error[nearest[0][~g], nearest[1][~g]]
    y, x = np.mgrid[-3:4, -3:4]
    window = np.exp(-(y * y + x * x) / 50)
    smooth = ndimage.convolve(spread, window / window.sum(), mode="constant")
    lowered = np.where(g & (smooth < error), smooth, error)
    weights = np.where(g, 1.0, 2 - np.exp(math.log(0.5) / 5 * distance))
    tp, fp = g.sum() - lowered[g].sum(), (lowered * weights)[~g].sum()
    recall, precision = 1 - lowered[g].mean(), tp / (tp + fp + np.spacing(1))
    return 2 * recall * precision / (recall + precision + np.spacing(1))


def dilation() -> Tuple[Dilation, str]:
    """Returns OpenCV's dilation, which the reference uses, or SciPy's, and the library's name."""
    try:
        import cv2
    except ImportError:
        return (lambda mask, disk: ndimage.binary_dilation(mask, disk)), "SciPy"
    return (lambda mask, disk: cv2.dilate(mask.astype(np.uint8), disk) > 0), "OpenCV"


def j_and_f(p: np.ndarray, g: np.ndarray, dilate: Dilation) -> Tuple[float, float]:
    """Scores one frame: masks (H, W) bool, both with a boundary. Returns: J and F."""
    radius = math.ceil(BOUND_TH * math.hypot(*g.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (y * y + x * x <= radius * radius).astype(np.uint8)
    edges = []
    for mask in (p, g):
        right, below, across = (np.zeros_like(mask) for _ in range(3))
        right[:, :-1], below[:-1], across[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
        edge = mask ^ right | mask ^ below | mask ^ across
        edge[-1], edge[:, -1] = (mask ^ right)[-1], (mask ^ below)[:, -1]
        edge[-1, -1] = False
        edges.append(edge)
    near = [dilate(edge, disk) for edge in edges]
    precision = (edges[0] & near[1]).sum() / max(edges[0].sum(), 1)
    recall = (edges[1] & near[0]).sum() / max(edges[1].sum(), 1)
    total = precision + recall
    j = (p & g).sum() / max((p | g).sum(), 1)
    return j, 2 * precision * recall / total if total else 0.0
