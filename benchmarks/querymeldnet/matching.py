"""Matching: all layers and images at once, against one layer and image after the other.

B images, Q queries, N targets of an image, P points.
"""

from functools import partial
from typing import Any, Dict, List, Sequence, Tuple

import torch
from detectron2.projects.point_rend.point_features import point_sample
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from segplugins.modeling.boxes import corners_of_boxes, generalized_iou
from segplugins.modeling.costs import (
    box_giou_cost,
    box_l1_cost,
    focal_class_cost,
    mask_bce_cost,
    mask_dice_cost,
)
from segplugins.modeling.matcher import HungarianMatcher
from segplugins.structures.predictions import QueryPredictions, QueryTargets

LAYERS, IMAGES, SPEED = 9, 8, 2.0
_TEXTS = 80

Pairs = List[Tuple[List[int], List[int]]]


def run(bench: Any) -> None:
    """Prints how long the matches of 9 layers and 8 images take."""
    device = str(bench.device)
    queries, side, points = (10, 16, 64) if bench.quick else (300, 64, 2048)
    if device == "cuda" and not bench.quick:
        side, points = 256, 12544
    predictions, targets = drawn_heads(queries, side, device)
    matcher = build_matcher(points)
    fixed = torch.rand(IMAGES, points, 2, generator=torch.Generator().manual_seed(1)).to(device)
    matcher.points = lambda batch, place: fixed
    bench.note(f"{queries} queries, {points} points, 20 targets of 512 pixels an image")
    bench.compare(
        f"matching of {LAYERS} layers x {IMAGES} images, one by one and together",
        partial(plain_matches, predictions, targets, fixed),
        partial(matcher, predictions, targets),
        check=partial(_check, matcher, predictions, targets, fixed),
        repeats=1 if bench.quick else 3,
        at_least=None if bench.quick else SPEED,
    )


def build_matcher(points: int) -> HungarianMatcher:
    """Returns the matcher with QueryMeldNet's costs."""
    costs = {
        "class": (4.0, focal_class_cost(alpha=0.25, gamma=2.0)),
        "mask": (5.0, mask_bce_cost),
        "dice": (5.0, mask_dice_cost),
        "box": (5.0, box_l1_cost),
        "giou": (2.0, box_giou_cost),
    }
    return HungarianMatcher(costs, num_points=points)


def drawn_heads(
    queries: int, side: int, device: str
) -> Tuple[QueryPredictions, List[QueryTargets]]:
    """Returns random predictions of 9 layers and discs as targets, between 1 and 39 per image."""
    torch.manual_seed(0)
    heads = [
        QueryPredictions(
            torch.randn(IMAGES, queries, _TEXTS, device=device),
            torch.randn(IMAGES, queries, side, side, device=device),
            0.1 + 0.3 * torch.rand(IMAGES, queries, 4, device=device),
        )
        for _ in range(LAYERS)
    ]
    last, earlier = heads[0], {str(index): head for index, head in enumerate(heads[1:])}
    last.earlier = earlier
    size, step = (64, 1) if queries < 39 else (512, 5)
    return last, [_discs(1 + step * index, size, device) for index in range(IMAGES)]


def _discs(count: int, size: int, device: str) -> QueryTargets:
    boxes = 0.1 + 0.3 * torch.rand(count, 4)
    grid = (torch.arange(size) + 0.5) / size
    x, y = grid[None, None], grid[None, :, None]
    centre, radius = boxes[:, :2], boxes[:, 2:].min(dim=1).values / 2
    distance = (x - centre[:, 0, None, None]) ** 2 + (y - centre[:, 1, None, None]) ** 2
    masks = distance < radius[:, None, None] ** 2
    labels = torch.randint(_TEXTS, (count,))
    return QueryTargets(labels.to(device), boxes.to(device), masks.to(device), (size, size))


def plain_matches(
    predictions: QueryPredictions, targets: Sequence[QueryTargets], points: Tensor
) -> Dict[str, Pairs]:
    """Returns the matches as DETR's descendants find them: layer by layer, image by image."""
    return {
        name: [
            _plain_image(head, image, target, points[image]) for image, target in enumerate(targets)
        ]
        for name, head in predictions.heads.items()
    }


@torch.no_grad()
def _plain_image(
    head: QueryPredictions, image: int, target: QueryTargets, points: Tensor
) -> Tuple[List[int], List[int]]:
    p = head.class_logits[image][:, target.labels].sigmoid()
    positive = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log()
    cost = 4 * (positive - 0.75 * p**2 * -(1 - p + 1e-8).log())
    boxes = head.boxes[image]
    cost += 5 * torch.cdist(boxes, target.boxes, p=1)
    corners = corners_of_boxes(boxes)[:, None], corners_of_boxes(target.boxes)[None]
    cost -= 2 * generalized_iou(*corners)
    logits = _sampled(head.mask_logits[image], points)
    labels = _sampled(target.masks.float(), points)
    positive = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    negative = F.binary_cross_entropy_with_logits(
        logits, torch.zeros_like(logits), reduction="none"
    )
    cost += 5 * (positive @ labels.T + negative @ (1 - labels).T) / points.shape[0]
    p = logits.sigmoid()
    total = p.sum(-1)[:, None] + labels.sum(-1)[None]
    cost += 5 * (1 - (2 * p @ labels.T + 1) / (total + 1))
    query, matched = linear_sum_assignment(cost.cpu().numpy())
    return query.tolist(), matched.tolist()


def _sampled(maps: Tensor, points: Tensor) -> Tensor:
    """Returns (M, P): each map with a copy of the points of its own."""
    copies = points[None].expand(len(maps), -1, -1)
    return point_sample(maps[:, None], copies, align_corners=False)[:, 0]


def _check(
    matcher: HungarianMatcher,
    predictions: QueryPredictions,
    targets: Sequence[QueryTargets],
    points: Tensor,
) -> None:
    plain = plain_matches(predictions, targets, points)
    for name, match in matcher(predictions, targets).items():
        ours = [(query.tolist(), target.tolist()) for query, target in match.by_image()]
        assert ours == plain[name], f"the matches of head '{name}' differ"
