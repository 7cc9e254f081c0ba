"""What a legend says of a drawn picture: names, colours as they are seen, shares and scores."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from segplugins.pictures.legend import LegendRow
from segplugins.pictures.painting import Region

_SAMPLED = 320  # pixels a side from which colours as seen are taken


def class_rows(
    painted: np.ndarray, classes: np.ndarray, areas: np.ndarray, texts: Dict[int, str]
) -> List[LegendRow]:
    """Returns a row per painted class, and one for what is not painted.

    Args:
        painted: (H, W, 3) uint8 RGB.
        classes: (H, W) indices 0..K-1, K where nothing is painted.
        areas: K + 1 numbers of pixels.
        texts: of the classes that are present, in the order of the rows.
    """
    seen = mean_colours(painted, classes, areas)
    rows = [LegendRow(text, seen[i], share(areas[i] / classes.size)) for i, text in texts.items()]
    if areas[-1]:
        rows.append(LegendRow("(none of these)", None, share(areas[-1] / classes.size)))
    return rows


def mean_colours(painted: np.ndarray, indices: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Returns the colour of each index as it is seen: the mean of its pixels; (N, 3) uint8.

    Args:
        painted: (H, W, 3) uint8 RGB.
        indices: (H, W) integers 0..N-1.
        areas: N numbers of pixels.
    """
    step = max(1, max(indices.shape) // _SAMPLED)
    means = _means(painted[::step, ::step], indices[::step, ::step], len(areas))
    for index in np.flatnonzero(np.isnan(means[:, 0]) & (areas > 0)):
        means[index] = painted[indices == index].mean(axis=0)  # between the sampled pixels
    return np.nan_to_num(means).round().astype(np.uint8)


def mean_colour(painted: np.ndarray, region: Region) -> Optional[np.ndarray]:
    """Returns the mean colour (3,) of the pixels of a region, None if it has none."""
    if not region.area:
        return None
    return np.array(cv2.mean(painted[region.place], mask=region.inside)[:3])


def _means(painted: np.ndarray, indices: np.ndarray, count: int) -> np.ndarray:
    flat = indices.ravel()
    counts = np.bincount(flat, minlength=count)
    sums = [np.bincount(flat, painted[..., c].ravel(), minlength=count) for c in range(3)]
    with np.errstate(invalid="ignore"):
        return np.stack(sums, axis=1) / counts[:, None]


def grouped_rows(
    names: Sequence[str],
    seen: Sequence[Any],
    areas: Sequence[int],
    pixels: int,
    scores: Sequence[Optional[float]],
) -> List[LegendRow]:
    """Returns a row per name, the largest first; the colour is that of its largest mask.

    Args:
        names: of N masks.
        seen: N colours, RGB.
        areas: N numbers of pixels; a name whose masks are all empty has a row without colour.
        pixels: of the picture.
        scores: N numbers, None or NaN where there is none.
    """
    groups: Dict[str, List[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name, []).append(index)
    rows: List[Tuple[int, LegendRow]] = []
    for name, members in groups.items():
        visible = [index for index in members if areas[index]]
        area = sum(int(areas[index]) for index in visible)
        colour = seen[max(visible, key=lambda i: areas[i])] if visible else None
        text = with_score(name, scores, members[0]) if len(members) == 1 else name
        remark = f"×{len(visible)}" if len(members) > 1 else share(area / pixels)
        rows.append((area, LegendRow(text, colour, remark if area else "nothing")))
    rows.sort(key=lambda row: -row[0])
    return [row for _, row in rows]


def with_score(name: str, scores: Optional[Sequence[Optional[float]]], index: int) -> str:
    """Returns a name with its score behind it, if it has one."""
    score = None if scores is None else scores[index]
    return name if score is None or np.isnan(float(score)) else f"{name} {float(score):.2f}"


def share(part: float) -> str:
    """Returns a share 0-1 in percent."""
    return "< 1 %" if 0 < part < 0.01 else f"{100 * part:.0f} %"
