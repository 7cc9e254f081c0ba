"""HungarianMatcher: gives every target its query, at the lowest total cost.

B images, Q queries, N targets of an image, P points, L prediction heads.
"""

import logging
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from segplugins.structures.predictions import Match, QueryPredictions, QueryTargets

from .costs import Candidates, Cost
from .point_losses import sample_masks

logger = logging.getLogger(__name__)

_HIGHEST = 1e5  # takes the place of a cost that is no finite number


class HungarianMatcher:
    """Matches all prediction heads of a batch with its targets.

    The costs of all heads and images go to the host in one transfer, and the matches come back in
    one. Masks are compared at P random points of each image, shared by its masks and by the heads.

    Args:
        costs: name to (weight, cost), see costs.py.
        num_points: P; 0 if no cost looks at masks.

    Attributes:
        nonfinite: costs met so far that were no finite number; each counted as `1e5`.
        unmatched: targets met so far that got no query, because an image has more targets than
            queries.
    """

    def __init__(self, costs: Mapping[str, Tuple[float, Cost]], *, num_points: int):
        self.costs = dict(costs)
        self.num_points = num_points
        self.nonfinite = 0
        self.unmatched = 0

    @torch.no_grad()
    def __call__(
        self, predictions: QueryPredictions, targets: Sequence[QueryTargets]
    ) -> Dict[str, Match]:
        """Returns, per name of a head ("" = the last), its matched pairs."""
        heads = predictions.heads
        device = predictions.class_logits.device
        with torch.autocast(device.type, enabled=False):
            costs = self._costs(heads, targets, device)
        counts = [len(target) for target in targets]
        host = _host_arrays(costs)
        pairs = [
            [self._assign(cost[image, :, :count]) for image, count in enumerate(counts)]
            for cost in host
        ]
        return dict(zip(heads, _device_matches(pairs, device)))

    def points(self, batch: int, device: torch.device) -> Tensor:
        """Returns (B, P, 2) random points, x and y as shares of the padded image."""
        return torch.rand(batch, self.num_points, 2, device=device)

    def _costs(
        self,
        heads: Mapping[str, QueryPredictions],
        targets: Sequence[QueryTargets],
        device: torch.device,
    ) -> List[Tensor]:
        """Returns one (B, Q, N) cost per head, on the device."""
        points = point_labels = None
        has_masks = torch.tensor([float(target.masks is not None) for target in targets])
        if self.num_points and bool(has_masks.any()):
            points = self.points(len(targets), device)
            point_labels = _point_labels(targets, points)
        common = {
            "labels": pad_sequence([target.labels for target in targets], batch_first=True),
            "target_boxes": pad_sequence([target.boxes for target in targets], batch_first=True),
            "point_labels": point_labels,
            "has_masks": has_masks[:, None, None].to(device),
        }
        return [self._cost(head, points, common) for head in heads.values()]

    def _cost(self, head: QueryPredictions, points: Optional[Tensor], common: dict) -> Tensor:
        point_logits = None
        if points is not None and head.mask_logits is not None:
            # The Q maps of an image are the channels of one map: its points serve all of them.
            grid = 2 * points[:, :, None] - 1
            point_logits = F.grid_sample(head.mask_logits.float(), grid, align_corners=False)[
                ..., 0
            ]
        candidates = Candidates(
            class_logits=head.class_logits.float(),
            boxes=None if head.boxes is None else head.boxes.float(),
            point_logits=point_logits,
            **common,
        )
        return sum(weight * cost(candidates) for weight, cost in self.costs.values())

    def _assign(self, cost: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Returns the queries of one image and their targets, in the order of the queries."""
        finite = np.isfinite(cost)
        if not finite.all():
            if not self.nonfinite:
                logger.warning(
                    "%d of %d matching costs are not finite and count as %g: predictions or "
                    "targets hold NaN or infinite values",
                    finite.size - finite.sum(),
                    finite.size,
                    _HIGHEST,
                )
            self.nonfinite += int(finite.size - finite.sum())
            cost = np.where(finite, cost, _HIGHEST)
        if cost.shape[1] > cost.shape[0]:
            if not self.unmatched:
                logger.warning(
                    "an image has %d targets for %d queries: the others are not learned from",
                    cost.shape[1],
                    cost.shape[0],
                )
            self.unmatched += cost.shape[1] - cost.shape[0]
        return linear_sum_assignment(cost)


def _point_labels(targets: Sequence[QueryTargets], points: Tensor) -> Tensor:
    """Returns (B, N, P): the masks of each image at its points; 0 for images without masks."""
    rows = []
    for target, image_points in zip(targets, points):
        if target.masks is None:
            rows.append(points.new_zeros(len(target), points.shape[1]))
        else:
            rows.append(sample_masks(target.masks, image_points, target.canvas))
    return pad_sequence(rows, batch_first=True)


def _host_arrays(costs: Sequence[Tensor]) -> List[np.ndarray]:
    """Copies the costs of all heads to the host at once."""
    flat = torch.cat([cost.flatten() for cost in costs]).cpu().numpy()
    ends = np.cumsum([cost.numel() for cost in costs])
    return [part.reshape(cost.shape) for part, cost in zip(np.split(flat, ends[:-1]), costs)]


def _device_matches(
    heads: Sequence[Sequence[Tuple[np.ndarray, np.ndarray]]], device: torch.device
) -> List[Match]:
    """Copies the pairs of all heads to the device at once."""
    rows = [
        np.stack([np.full(len(query), image), query, target])
        for pairs in heads
        for image, (query, target) in enumerate(pairs)
    ]
    pairs = torch.from_numpy(np.concatenate(rows, axis=1).astype(np.int64)).to(device)
    counts = [tuple(len(query) for query, _ in pairs) for pairs in heads]
    split = pairs.split([sum(count) for count in counts], dim=1)
    return [Match(*part, counts=count) for part, count in zip(split, counts)]
