"""Masks of a model to COCO RLE, without a copy of all of them.

N masks of H W pixels. RLE counts the pixels between changes, column after column; a change stands
at the place x H + y of the first pixel that differs from the one before.
"""

from typing import Iterator, List, Tuple

import numpy as np
import torch
from torch import Tensor

# Changes, or pixels on an accelerator, that are worked on together: bounds the extra memory.
_CHANGES = 2**18
_PIXELS = 2**25
# A run length takes 5 bits a character; 8 characters hold the largest that an image has.
_LIMITS = 1 << (5 * np.arange(1, 8) - 1)


def encode_masks(masks: Tensor) -> List[dict]:
    """Returns COCO RLEs of masks (N, H, W) bool, as `pycocotools.mask.encode` makes them."""
    size = [int(side) for side in masks.shape[1:]]
    pixels = size[0] * size[1]
    texts: List[bytes] = []
    for changes in _in_chunks(_all_changes(masks)):
        texts += _texts(changes, pixels)
    return [{"size": size, "counts": text} for text in texts]


def _all_changes(masks: Tensor) -> Iterator[np.ndarray]:
    """Gives the places of the changes of each mask, ascending."""
    if masks.device.type == "cpu":
        for mask in masks:
            yield changes_of_mask(mask.numpy().view(np.uint8))
        return
    step = max(1, _PIXELS // max(1, masks[0].numel())) if len(masks) else 1
    for start in range(0, len(masks), step):
        yield from changes_of_stack(masks[start : start + step])


def _in_chunks(changes: Iterator[np.ndarray]) -> Iterator[List[np.ndarray]]:
    chunk: List[np.ndarray] = []
    total = 0
    for each in changes:
        chunk.append(each)
        total += len(each)
        if total > _CHANGES:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def changes_of_mask(mask: np.ndarray) -> np.ndarray:
    """Returns the places of the changes of one mask (H, W) uint8: ascending int64.

    Only the part around the object is searched, row by row as it lies in memory; the few places
    are then sorted.
    """
    height = mask.shape[0]
    columns = np.flatnonzero(mask.max(axis=0))
    if not columns.size:
        return columns
    left, right = columns[0], columns[-1] + 1
    rows = np.flatnonzero(mask[:, left:right].max(axis=1))
    top, bottom = rows[0], rows[-1] + 1
    part = mask[top:bottom, left:right]
    # Against the row above, with a row of zeros before and behind the object.
    changed = np.empty((len(part) + 1, right - left), np.uint8)
    changed[0], changed[-1] = part[0], part[-1]
    np.bitwise_xor(part[1:], part[:-1], out=changed[1:-1])
    row, column = np.divmod(np.flatnonzero(changed.view(bool)), right - left)
    places = (column + left) * height + row + top
    places.sort()
    if len(part) == height:
        # From the last row of a column to the first of the next one nothing changes.
        same = np.flatnonzero(places[1:] == places[:-1])
        places = np.delete(places, np.concatenate([same, same + 1]))
    return places[:-1] if places[-1] == mask.size else places


def changes_of_stack(masks: Tensor) -> List[np.ndarray]:
    """Returns the places of the changes of masks (N, H, W) bool, found on their device."""
    columns = masks.transpose(1, 2).reshape(len(masks), -1)
    changed = columns.clone()
    changed[:, 1:] ^= columns[:, :-1]
    row, place = changed.nonzero(as_tuple=True)
    counts = torch.bincount(row, minlength=len(masks)).cpu().numpy()
    return np.split(place.cpu().numpy(), np.cumsum(counts)[:-1])


def _texts(changes: List[np.ndarray], pixels: int) -> List[bytes]:
    """Returns the counts of each mask as COCO writes them.

    5 bits a character, the lowest first; the sixth bit says that more follow. From the fourth run
    on it is the difference to the run two before.
    """
    runs, first = _runs(changes, pixels)
    values = runs.copy()
    place = np.arange(len(runs)) - np.repeat(first, [len(each) + 1 for each in changes])
    later = np.flatnonzero(place > 2)
    values[later] -= runs[later - 2]
    widths = 1 + np.searchsorted(_LIMITS, np.where(values < 0, ~values, values), side="right")
    ends = np.cumsum(widths)
    starts = ends - widths
    text = np.empty(ends[-1], np.uint8)
    for character in range(widths.max()):
        chosen = np.flatnonzero(widths > character)
        bits = values[chosen] >> (5 * character) & 31
        text[starts[chosen] + character] = bits + 48 + 32 * (widths[chosen] > character + 1)
    octets = text.tobytes()
    borders = [*starts[first].tolist(), len(octets)]
    return [octets[start:end] for start, end in zip(borders, borders[1:])]


def _runs(changes: List[np.ndarray], pixels: int) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the run lengths of all masks, and where those of each mask begin."""
    end = np.array([pixels])
    ends = np.concatenate([part for each in changes for part in (each, end)])
    first = np.cumsum([0, *(len(each) + 1 for each in changes[:-1])])
    runs = np.diff(ends, prepend=0)
    runs[first] = ends[first]
    return runs, first
