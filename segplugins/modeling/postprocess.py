"""Results of query models: label scores, instances, panoptic segments, phrase masks.

Q queries of one image, K texts, (h, w) mask resolution, (H, W) result resolution. Masks are brought
to the result's size a few at a time, so that a result needs little more memory than itself.
"""

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn import functional as F

from .boxes import boxes_of_corners, corners_of_boxes


@dataclass(frozen=True)
class MaskResizer:
    """Brings mask logits of the padded image to the size of the result.

    Args:
        padded: height and width of the padded image in pixels.
        image: height and width of the image in it.
        result: height and width of the result.
        origin: rows above the image and columns left of it.
        chunk: masks that are resized at a time.
    """

    padded: Tuple[int, int]
    image: Tuple[int, int]
    result: Tuple[int, int]
    origin: Tuple[int, int] = (0, 0)
    chunk: int = 16

    @classmethod
    def of_record(
        cls, record: Mapping[str, Any], padded: Sequence[int], size: Sequence[int], chunk: int
    ) -> "MaskResizer":
        """Returns the one of a record at test.

        Args:
            record: "height" and "width" of the result and, where the image was padded, "image_box".
            padded: height and width of the batch.
            size: of the image in it.
            chunk: masks that are resized at a time.
        """
        top, left, (height, width) = 0, 0, size
        if "image_box" in record:
            left, top, right, bottom = record["image_box"]
            height, width = bottom - top, right - left
        result = (record["height"], record["width"])
        return cls(tuple(padded), (height, width), result, origin=(top, left), chunk=chunk)

    def __call__(self, mask_logits: Tensor) -> Tensor:
        """Returns (M, H, W) float32 logits of (M, h, w)."""
        maps = mask_logits[None].float()
        maps = F.interpolate(maps, self.padded, mode="bilinear", align_corners=False)
        top, left = self.origin
        maps = maps[..., top : top + self.image[0], left : left + self.image[1]]
        if tuple(self.image) != tuple(self.result):
            maps = F.interpolate(maps, self.result, mode="bilinear", align_corners=False)
        return maps[0]

    def chunks(self, mask_logits: Tensor) -> Iterator[Tuple[slice, Tensor]]:
        """Yields slices of the masks and their resized logits."""
        for start in range(0, len(mask_logits), self.chunk):
            part = slice(start, min(start + self.chunk, len(mask_logits)))
            yield part, self(mask_logits[part])


def class_weights(class_logits: Tensor, temperature: Optional[float]) -> Tensor:
    """Returns (Q, K) weights of the texts of each query.

    Args:
        class_logits: (Q, K).
        temperature: T of softmax(sigmoid(logit) / T) over the texts (Mask DINO), which sharpens the
            choice between them; None = the sigmoid. With one text the softmax would always be 1, so
            the sigmoid is taken.
    """
    probability = class_logits.float().sigmoid()
    if temperature is None or class_logits.shape[1] < 2:
        return probability
    return (probability / temperature).softmax(dim=1)


def semantic_scores(weights: Tensor, mask_logits: Tensor, resize: MaskResizer) -> Tensor:
    """Returns (K, H, W): sum over queries of weight times mask probability.

    Args:
        weights: (Q, K), see `class_weights`.
        mask_logits: (Q, h, w).
        resize: to the result's size.
    """
    total = weights.new_zeros(weights.shape[1], *resize.result)
    flat = total.view(weights.shape[1], -1)
    for part, logits in resize.chunks(mask_logits):
        flat.addmm_(weights[part].T, logits.sigmoid().flatten(1))
    return total


def top_instances(
    class_logits: Tensor,
    mask_logits: Optional[Tensor],
    boxes: Optional[Tensor],
    resize: MaskResizer,
    *,
    topk: int,
    is_thing: Optional[Tensor] = None,
    score_by_mask: bool = True,
) -> Instances:
    """Returns the instances with the highest scores; one query may answer for several texts.

    Args:
        class_logits: (Q, K).
        mask_logits: (Q, h, w); None for boxes alone.
        boxes: (Q, 4) centre and size as shares of the padded image; None takes the boxes of the
            masks.
        resize: to the result's size.
        topk: most instances.
        is_thing: (K,) bool: of the topk instances those of other texts are left out; None = all.
        score_by_mask: multiply the probability of the text by the mean probability inside of the
            mask.

    Returns:
        "scores", "pred_classes", "pred_boxes" (corners in pixels of the result) and, with masks,
        "pred_masks" (bool), by falling score.
    """
    probability = class_logits.float().sigmoid().flatten()
    scores, index = probability.topk(min(topk, probability.numel()))
    query, label = index // class_logits.shape[1], index % class_logits.shape[1]
    if is_thing is not None:
        kept = is_thing[label]
        scores, query, label = scores[kept], query[kept], label[kept]
    result = Instances(tuple(resize.result))
    if mask_logits is not None:
        # A query with several texts has one mask: it is resized once.
        distinct, place = query.unique(return_inverse=True)
        masks, quality = binary_masks(mask_logits[distinct], resize)
        result.pred_masks = masks[place]
        if score_by_mask:
            scores = scores * quality[place]
    result.scores, result.pred_classes = scores, label
    if boxes is not None:
        result.pred_boxes = Boxes(_result_boxes(boxes[query], resize))
    elif mask_logits is not None:
        result.pred_boxes = Boxes(tight_boxes(result.pred_masks))
    return result[scores.argsort(descending=True, stable=True)]


def binary_masks(mask_logits: Tensor, resize: MaskResizer) -> Tuple[Tensor, Tensor]:
    """Returns (M, H, W) bool masks and (M,) mean probabilities inside of them, 0 where empty."""
    masks = torch.empty(
        (len(mask_logits), *resize.result), dtype=torch.bool, device=mask_logits.device
    )
    quality = torch.zeros(len(mask_logits), device=mask_logits.device)
    for part, logits in resize.chunks(mask_logits):
        inside = logits > 0
        total = (logits.sigmoid() * inside).flatten(1).sum(dim=1)
        masks[part] = inside
        quality[part] = total / (inside.flatten(1).sum(dim=1) + 1e-6)
    return masks, quality


def _result_boxes(boxes: Tensor, resize: MaskResizer) -> Tensor:
    """Returns (M, 4) corners in pixels of the result, cut at its border."""
    corners = corners_of_boxes(boxes.float())

    def result_pixels(shares: Tensor, side: int) -> Tensor:
        pixels = shares * resize.padded[side] - resize.origin[side]
        return (pixels * resize.result[side] / resize.image[side]).clamp(0, resize.result[side])

    x, y = result_pixels(corners[:, 0::2], 1), result_pixels(corners[:, 1::2], 0)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


def padded_boxes(corners: Tensor, resize: MaskResizer) -> Tensor:
    """Returns (M, 4) centre and size as shares of the padded image, of corners in the result.

    Args:
        corners: (M, 4) x0, y0, x1, y1 in pixels of the result; cut at its border.
        resize: from the padded image to the result.
    """
    sides = []
    for axis, side in ((0, 1), (1, 0)):
        pixels = corners[:, axis::2].clamp(0, resize.result[side])
        pixels = pixels * resize.image[side] / resize.result[side] + resize.origin[side]
        sides.append(pixels / resize.padded[side])
    return boxes_of_corners(torch.stack(sides, dim=2).flatten(1))


def tight_boxes(masks: Tensor) -> Tensor:
    """Returns (M, 4) float32 corners around masks (M, H, W), zeros for empty masks."""
    sides = []
    for dim in (1, 2):  # over rows: the columns that a mask has; over columns: its rows
        present = masks.any(dim=dim)
        first = present.int().argmax(dim=1)
        last = present.shape[1] - present.flip(1).int().argmax(dim=1)
        sides.append((first, torch.where(present.any(dim=1), last, 0)))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], dim=1).float()


def panoptic_segments(
    class_logits: Tensor,
    mask_logits: Tensor,
    resize: MaskResizer,
    *,
    is_thing: Tensor,
    temperature: Optional[float],
    score_threshold: float,
    overlap_threshold: float,
) -> Tuple[Tensor, List[dict]]:
    """Returns (H, W) int32 segment ids, 0 = none, and per segment its id, class, kind and queries.

    Every pixel goes to the query with the highest score times mask probability, among queries whose
    best text is more probable than `score_threshold`. A query that keeps less than
    `overlap_threshold` of its mask is dropped. Segments of one class of stuff are one.

    Args:
        class_logits: (Q, K).
        mask_logits: (Q, h, w).
        resize: to the result's size.
        is_thing: (K,) bool.
        temperature: see `class_weights`.
        score_threshold: lowest probability of a query's best text, not included.
        overlap_threshold: lowest share of the pixels of a mask (probability at least 1/2) that its
            query must win.
    """
    device = class_logits.device
    segments = torch.zeros(resize.result, dtype=torch.int32, device=device)
    probability = class_logits.float().sigmoid().max(dim=1).values
    kept = (probability > score_threshold).nonzero()[:, 0]
    if not len(kept):
        return segments, []
    scores, labels = class_weights(class_logits[kept], temperature).max(dim=1)
    winner, certain, areas = _winners(scores, mask_logits[kept], resize)
    won = torch.bincount(winner.flatten(), minlength=len(kept))
    shown = torch.bincount(winner[certain], minlength=len(kept))
    shares = won / areas.clamp_min(1)
    good = (shown > 0) & (shares >= overlap_threshold)
    ids, infos = _segment_ids(good, labels, is_thing, kept)
    table = torch.tensor(ids, dtype=torch.int32, device=device)
    return torch.where(certain, table[winner], segments), infos


def _winners(
    scores: Tensor, mask_logits: Tensor, resize: MaskResizer
) -> Tuple[Tensor, Tensor, Tensor]:
    """Returns (H, W) winning query, (H, W) whether its probability is 1/2 or more, (Q,) areas."""
    best = winner = certain = None
    areas = []
    for part, logits in resize.chunks(mask_logits):
        probability = logits.sigmoid()
        inside = probability >= 0.5
        areas.append(inside.flatten(1).sum(dim=1))
        value, index = (scores[part, None, None] * probability).max(dim=0)
        here = inside.gather(0, index[None])[0]
        if best is None:
            best, winner, certain = value, index, here
            continue
        better = value > best
        best = torch.where(better, value, best)
        winner = torch.where(better, index + part.start, winner)
        certain = torch.where(better, here, certain)
    return winner, certain, torch.cat(areas)


def _segment_ids(
    good: Tensor, labels: Tensor, is_thing: Tensor, queries: Tensor
) -> Tuple[List[int], List[Dict[str, Any]]]:
    """Returns per query its segment id, 0 = none, and the segments; one transfer to the host."""
    rows = torch.stack([good.long(), labels, is_thing[labels].long(), queries]).tolist()
    ids: List[int] = []
    infos: List[Dict[str, Any]] = []
    stuff: Dict[int, int] = {}
    for kept, label, thing, query in zip(*rows):
        if not kept:
            ids.append(0)
        elif not thing and label in stuff:
            ids.append(stuff[label])
            infos[stuff[label] - 1]["queries"].append(query)
        else:
            infos.append(
                {
                    "id": len(infos) + 1,
                    "isthing": bool(thing),
                    "category_id": label,
                    "queries": [query],
                }
            )
            ids.append(len(infos))
            if not thing:
                stuff[label] = len(infos)
    return ids, infos


def phrase_masks(
    class_logits: Tensor, mask_logits: Tensor, resize: MaskResizer
) -> Tuple[Tensor, Tensor]:
    """Returns (K, H, W) bool masks, one per phrase, and their (K,) probabilities.

    The query with the highest logit of a phrase answers for it.
    """
    logits, query = class_logits.float().max(dim=0)
    distinct, place = query.unique(return_inverse=True)
    masks, _ = binary_masks(mask_logits[distinct], resize)
    return masks[place], logits.sigmoid()


def merge_synonyms(class_logits: Tensor, counts: Sequence[int]) -> Tensor:
    """Returns (..., K): the highest logit of each class over its synonyms.

    Args:
        class_logits: (..., sum of counts), the synonyms of a class side by side.
        counts: number of synonyms of each of the K classes, at least 1.
    """
    if all(count == 1 for count in counts):
        return class_logits
    parts = class_logits.split(list(counts), dim=-1)
    return torch.stack([part.max(dim=-1).values for part in parts], dim=-1)
