"""Targets after augmentation: maps and regions to detectron2's Instances.

N regions, H and W the size of the augmented image in pixels.
"""

from typing import List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from detectron2.data.transforms import TransformList
from detectron2.structures import BitMasks, Boxes, Instances

from segplugins.data.check.regions import check_regions
from segplugins.structures.regions import Region, check_polygons, decode_mask, draw_polygons

_NOTHING = 255


def instances_of_map(ids: np.ndarray, segments: Optional[Sequence[Mapping]]) -> Instances:
    """Splits a map into one instance per segment, or per class where it is a map of classes.

    Args:
        ids: (H, W) whole numbers, negative = no target.
        segments: per id its "category_id"; None where the id is the class. Crowds are left out:
            they are regions to ignore, not targets.

    Returns:
        "gt_classes", "gt_boxes" (tight), "gt_masks"; in ascending order of id.
    """
    counts = np.bincount(ids.ravel() + 1, minlength=1)[1:] if ids.size else np.zeros(0, int)
    present = np.flatnonzero(counts)
    classes = present
    if segments is not None:
        present = np.array([i for i in present if not segments[i].get("iscrowd")], dtype=np.int64)
        classes = np.array([segments[i]["category_id"] for i in present], dtype=np.int64)
    # In as few bits as will do: the comparison below writes N maps and reads little else.
    narrow = np.min_scalar_type(len(counts))
    numbers = (ids + 1).astype(narrow)
    masks = numbers[None] == (present + 1).astype(narrow)[:, None, None]
    boxes, _ = _tight_boxes(masks)
    return _with_masks(torch.from_numpy(classes), masks, boxes, ids.shape)


def instances_of_regions(
    regions: Sequence[Region],
    classes: Sequence[int],
    transforms: TransformList,
    *,
    before: Tuple[int, int],
    after: Tuple[int, int],
) -> Instances:
    """Moves regions with their image and makes them targets.

    Polygons are moved point by point and drawn at the new size; RLE masks are resampled (nearest).
    Boxes are recomputed from the masks; where there are only boxes, their corners are moved and
    cut at the border. Regions that the augmentation has moved out of the image are left out.

    Args:
        regions: N of them, with a box or a mask each.
        classes: per region its target index.
        transforms: what was done to the image.
        before: (H, W) of the image that the regions were drawn on.
        after: (H, W) of the augmented image.

    Returns:
        "gt_classes", "gt_boxes" and, unless all regions are boxes, "gt_masks".

    Raises:
        ValueError: a mask does not fit the image, or only some regions have one; a box without mask
            has no area; a text is empty.
    """
    check_regions(regions, *before)
    labels = torch.tensor(list(classes), dtype=torch.int64)
    with_mask = sum(region.mask is not None for region in regions)
    if with_mask == 0 and regions:
        return _with_boxes(labels, _moved_boxes(regions, transforms, after), after)
    if with_mask < len(regions):
        raise ValueError(
            f"{len(regions) - with_mask} of {len(regions)} regions have a box and no mask; an "
            "image is labelled with masks or with boxes, not with both"
        )
    masks = _moved_masks(regions, transforms, before, after)
    boxes, seen = _tight_boxes(masks)
    if not seen.all():
        labels, masks, boxes = labels[torch.from_numpy(seen)], masks[seen], boxes[seen]
    return _with_masks(labels, masks, boxes, after)


def _with_masks(
    classes: torch.Tensor, masks: np.ndarray, boxes: np.ndarray, size: Tuple[int, int]
) -> Instances:
    return Instances(
        tuple(size),
        gt_classes=classes,
        gt_boxes=Boxes(torch.from_numpy(boxes)),
        gt_masks=BitMasks(torch.from_numpy(masks)),
    )


def _tight_boxes(masks: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Boxes of masks, all at once; detectron2's do the same one by one, 20 times slower on a CPU.

    Returns:
        (N, 4) float32 corners, 0 where the mask is empty, and (N,) bool, whether it is not.
    """
    height, width = masks.shape[1:]
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    seen = rows.any(axis=1) if height else np.zeros(len(masks), dtype=bool)
    if not len(masks):
        return np.zeros((0, 4), np.float32), seen
    x0, y0 = columns.argmax(axis=1), rows.argmax(axis=1)
    x1 = width - columns[:, ::-1].argmax(axis=1)
    y1 = height - rows[:, ::-1].argmax(axis=1)
    boxes = np.stack([x0, y0, x1, y1], axis=1).astype(np.float32)
    return boxes * seen[:, None], seen


def _with_boxes(classes: torch.Tensor, boxes: torch.Tensor, size: Tuple[int, int]) -> Instances:
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Instances(tuple(size), gt_classes=classes[kept], gt_boxes=Boxes(boxes[kept]))


def _moved_boxes(
    regions: Sequence[Region], transforms: TransformList, after: Tuple[int, int]
) -> torch.Tensor:
    boxes = np.array([region.box for region in regions], dtype=np.float64)
    moved = transforms.apply_box(boxes)
    height, width = after
    moved[:, 0::2] = moved[:, 0::2].clip(0, width)
    moved[:, 1::2] = moved[:, 1::2].clip(0, height)
    return torch.from_numpy(moved).float()


def _moved_masks(
    regions: Sequence[Region],
    transforms: TransformList,
    before: Tuple[int, int],
    after: Tuple[int, int],
) -> np.ndarray:
    """Returns (N, H, W) bool."""
    masks = np.zeros((len(regions), *after), dtype=bool)
    drawn = [i for i, region in enumerate(regions) if not isinstance(region.mask, Mapping)]
    coded = [i for i, region in enumerate(regions) if isinstance(region.mask, Mapping)]
    for index, mask in zip(drawn, _moved_polygons(regions, drawn, transforms, before, after)):
        masks[index] = mask
    bitmaps = [_bitmap(regions[i], before) for i in coded]
    for layer, members in _layers(bitmaps):
        # 8 bits: then detectron2 resamples by the pixel under each centre, as it does single masks.
        moved = transforms.apply_segmentation(layer)
        for number, member in enumerate(members):
            np.equal(moved, number, out=masks[coded[member]])
    return masks


def _bitmap(region: Region, size: Tuple[int, int]) -> np.ndarray:
    try:
        return decode_mask(region.mask, *size)
    except ValueError as error:
        raise ValueError(f"region '{region.text}': {error}") from error


def _moved_polygons(
    regions: Sequence[Region],
    drawn: Sequence[int],
    transforms: TransformList,
    before: Tuple[int, int],
    after: Tuple[int, int],
) -> List[np.ndarray]:
    """Moves the points of all polygons of an image in one call, then draws them at the new size."""
    for index in drawn:
        try:
            check_polygons(regions[index].mask, *before)
        except ValueError as error:
            raise ValueError(f"region '{regions[index].text}': {error}") from error
    polygons = [np.asarray(p, np.float64).reshape(-1, 2) for i in drawn for p in regions[i].mask]
    if not polygons:
        return []
    points = transforms.apply_coords(np.concatenate(polygons))
    moved = np.split(points, np.cumsum([len(p) for p in polygons])[:-1])
    masks, start = [], 0
    for index in drawn:
        stop = start + len(regions[index].mask)
        masks.append(draw_polygons([p.ravel() for p in moved[start:stop]], *after))
        start = stop
    return masks


def _layers(bitmaps: Sequence[np.ndarray]) -> List[Tuple[np.ndarray, List[int]]]:
    """Packs masks that do not overlap into common maps, so that a resampling serves many masks.

    Returns:
        Per map its ids (H, W) uint8, 255 = nothing (what -1, the ignored of all augmentations, is
        in 8 bits), and which bitmap each id stands for.
    """
    layers: List[Tuple[np.ndarray, List[int]]] = []
    for index, bitmap in enumerate(bitmaps):
        fits = (
            e for e in layers if len(e[1]) < _NOTHING and not (bitmap & (e[0] < _NOTHING)).any()
        )
        entry = next(fits, None)
        if entry is None:
            # Column by column, as RLE masks are decoded.
            entry = (np.full(bitmap.shape, _NOTHING, dtype=np.uint8, order="F"), [])
            layers.append(entry)
        layer, members = entry
        np.putmask(layer, bitmap, len(members))
        members.append(index)
    return [(np.ascontiguousarray(layer), members) for layer, members in layers]
