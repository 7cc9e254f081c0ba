"""SetCriterion: matches queries with targets and adds up the losses of every prediction head.

B images, Q queries, K texts, N targets of an image, M matched pairs, P points.
"""

from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Protocol, Sequence, Tuple, Union

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.structures.predictions import Match, QueryPredictions, QueryTargets

from .matcher import HungarianMatcher
from .point_losses import (
    box_giou,
    box_l1,
    focal,
    mask_bce,
    mask_dice,
    sample_logits,
    sample_masks,
    uncertain_points,
)


@dataclass
class TargetCounts:
    """What losses are divided by: means over the processes, at least 1.

    Args:
        targets: number of targets.
        masks: number of targets that have a mask.
    """

    targets: Union[float, Tensor]
    masks: Union[float, Tensor]


class LossTerm(Protocol):
    """One or more losses of a head that share their inputs."""

    names: Tuple[str, ...]

    def __call__(
        self,
        head: QueryPredictions,
        targets: Sequence[QueryTargets],
        match: Match,
        counts: TargetCounts,
    ) -> Dict[str, Tensor]:
        """Returns name to scalar loss, without its weight; connected to the head's outputs."""
        ...


class FocalClassTerm:
    """Sigmoid focal loss over all queries and all real texts of their image.

    Unmatched queries are pushed down for every text but those of `ignore_negative`.

    Args:
        alpha: weight of positives.
        gamma: exponent.
    """

    names = ("loss_class",)

    def __init__(self, *, alpha: float, gamma: float):
        self.alpha, self.gamma = alpha, gamma

    def __call__(self, head, targets, match, counts):
        labels = torch.zeros_like(head.class_logits, dtype=torch.float32)
        matched_labels = _matched([target.labels for target in targets], match)
        labels[match.image, match.query, matched_labels] = 1.0
        weight = _pair_weights(head, targets, match)
        loss = focal(
            head.class_logits,
            labels,
            counts.targets,
            alpha=self.alpha,
            gamma=self.gamma,
            weight=weight,
        )
        return {"loss_class": loss}


class SoftmaxClassTerm:
    """Cross-entropy over the texts of an image and "no object", which is the last class.

    An unmatched query is not compared with the texts of `ignore_negative`, of which nobody knows
    whether the image shows them.

    Args:
        no_object_weight: weight of queries without target; the mean is weighted by it (DETR).
    """

    names = ("loss_class",)

    def __init__(self, *, no_object_weight: float):
        self.no_object_weight = no_object_weight

    def __call__(self, head, targets, match, counts):
        logits = head.class_logits.float()
        if head.text_mask is not None:
            real = F.pad(head.text_mask, (0, 1), value=True)
            logits = logits.masked_fill(~real[:, None], float("-inf"))
        no_object = logits.shape[-1] - 1
        labels = torch.full(logits.shape[:2], no_object, device=logits.device)
        labels[match.image, match.query] = _matched([t.labels for t in targets], match)
        if any(target.ignore_negative is not None for target in targets):
            unknown = torch.zeros_like(logits, dtype=torch.bool)
            for image, target in enumerate(targets):
                if target.ignore_negative is not None:
                    unknown[image, :, : len(target.ignore_negative)] = target.ignore_negative
            unmatched = (labels == no_object)[..., None]
            logits = logits.masked_fill(unknown & unmatched, float("-inf"))
        weight = torch.where(labels == no_object, self.no_object_weight, 1.0)
        if head.query_mask is not None:
            weight = weight * head.query_mask
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        total = (loss * weight.flatten()).sum() / weight.sum().clamp_min(1e-6)
        return {"loss_class": total}


class BoxTerm:
    """L1 distance and generalised IoU of matched boxes."""

    names = ("loss_box", "loss_giou")

    def __call__(self, head, targets, match, counts):
        boxes = head.boxes[match.image, match.query]
        wanted = _matched([target.boxes for target in targets], match)
        # An empty batch still reaches every parameter that the boxes came from.
        reach = 0.0 * head.boxes.sum()
        return {
            "loss_box": box_l1(boxes, wanted, counts.targets) + reach,
            "loss_giou": box_giou(boxes, wanted, counts.targets) + reach,
        }


class MaskTerm:
    """Binary cross-entropy and dice of matched masks at P points, most of them uncertain ones.

    Targets of images that have boxes alone are left out.

    Args:
        num_points: P.
        oversample: candidates per point.
        importance: share of the points that are the most uncertain candidates.
    """

    names = ("loss_mask", "loss_dice")

    def __init__(self, *, num_points: int, oversample: float, importance: float):
        self.num_points, self.oversample, self.importance = num_points, oversample, importance

    def __call__(self, head, targets, match, counts):
        reach = 0.0 * head.mask_logits.sum()
        logits = [
            head.mask_logits[image, query]
            for image, (query, _) in enumerate(match.by_image())
            if targets[image].masks is not None and len(query)
        ]
        if not logits:
            return {"loss_mask": reach, "loss_dice": reach}
        logits = torch.cat(logits).float()
        points = self.points(logits.detach())
        labels, start = [], 0
        for target, (_, index) in zip(targets, match.by_image()):
            if target.masks is None or not len(index):
                continue
            own = points[start : start + len(index)]
            labels.append(sample_masks(target.masks[index], own, target.canvas))
            start += len(index)
        point_logits, point_labels = sample_logits(logits, points), torch.cat(labels)
        return {
            "loss_mask": mask_bce(point_logits, point_labels, counts.masks) + reach,
            "loss_dice": mask_dice(point_logits, point_labels, counts.masks) + reach,
        }

    def points(self, mask_logits: Tensor) -> Tensor:
        """Returns (M, P, 2) points of masks (M, h, w)."""
        return uncertain_points(
            mask_logits,
            num_points=self.num_points,
            oversample=self.oversample,
            importance=self.importance,
        )


class SetCriterion(nn.Module):
    """Losses of all prediction heads, weighted.

    Args:
        matcher: gives targets their queries.
        terms: the losses.
        weights: factor of each loss, by name.
        targets_per_image: what losses are divided by, times the images of the batch; None = the
            targets that the batch has. In a batch of one or two images an object that is alone in
            its image would weigh many times as much as one of a crowd; with a fixed number all
            objects weigh the same, as in large batches.

    Raises:
        ValueError: a number of targets not above 0, a loss without a weight, or a weight without a
            loss: none is dropped in silence.
    """

    def __init__(
        self,
        matcher: HungarianMatcher,
        terms: Sequence[LossTerm],
        weights: Mapping[str, float],
        *,
        targets_per_image: Optional[float] = None,
    ):
        super().__init__()
        if targets_per_image is not None and targets_per_image <= 0:
            raise ValueError(f"targets_per_image must be above 0, got {targets_per_image}")
        names = [name for term in terms for name in term.names]
        if sorted(names) != sorted(weights):
            raise ValueError(
                f"losses {sorted(names)} and weights {sorted(weights)} differ; give each loss one "
                "weight"
            )
        self.matcher = matcher
        self.terms = list(terms)
        self.weights = dict(weights)
        self.targets_per_image = targets_per_image

    def forward(
        self, predictions: QueryPredictions, targets: Sequence[QueryTargets]
    ) -> Dict[str, Tensor]:
        """Returns weighted losses; those of an earlier head end in "_" and its name."""
        matches = self.matcher(predictions, targets)
        return self.matched_losses(predictions, targets, matches)

    def matched_losses(
        self,
        predictions: QueryPredictions,
        targets: Sequence[QueryTargets],
        matches: Mapping[str, Match],
        *,
        repeats: int = 1,
        suffix: str = "",
    ) -> Dict[str, Tensor]:
        """Returns weighted losses under matches that are given, as those of denoising queries are.

        Args:
            predictions: of the queries, see `QueryPredictions`.
            targets: B of them.
            matches: per name of a head its pairs.
            repeats: how often each target is matched; the counts are multiplied by it.
            suffix: added to the names of the losses, before those of earlier heads.
        """
        device = predictions.class_logits.device
        counts = target_counts(targets, device, repeats, self.targets_per_image)
        losses = {}
        with torch.autocast(device.type, enabled=False):
            for name, head in predictions.heads.items():
                ending = suffix + (f"_{name}" if name else "")
                for term in self.terms:
                    for loss, value in term(head, targets, matches[name], counts).items():
                        losses[loss + ending] = self.weights[loss] * value
        return losses


def target_counts(
    targets: Sequence[QueryTargets],
    device: torch.device,
    repeats: int = 1,
    per_image: Optional[float] = None,
) -> TargetCounts:
    """Returns the numbers of targets and of masks, as means over the processes, at least 1.

    Args:
        targets: of the images of this process.
        device: of the counts, where there are several processes.
        repeats: how often each target is matched; 0 where an image has too many to denoise.
        per_image: taken instead of the targets that an image has.
    """
    if per_image is not None:
        return TargetCounts(*[float(max(repeats, 1) * per_image * max(len(targets), 1))] * 2)
    total = repeats * sum(len(target) for target in targets)
    masks = repeats * sum(len(target) for target in targets if target.masks is not None)
    world = comm.get_world_size()
    if world == 1:
        return TargetCounts(float(max(total, 1)), float(max(masks, 1)))
    both = torch.tensor([total, masks], dtype=torch.float32, device=device)
    dist.all_reduce(both)
    return TargetCounts(*(both / world).clamp_min(1).unbind())


def _matched(values: Sequence[Tensor], match: Match) -> Tensor:
    """Returns (M, ...): per pair the value of its target."""
    return torch.cat([value[target] for value, (_, target) in zip(values, match.by_image())])


def _pair_weights(
    head: QueryPredictions, targets: Sequence[QueryTargets], match: Match
) -> Optional[Tensor]:
    """Returns (B, Q, K): 0 for pairs of a query and a text that say nothing; None if all count."""
    weight = None
    if head.text_mask is not None:
        weight = head.text_mask[:, None].float().expand_as(head.class_logits)
    if head.query_mask is not None:
        real = head.query_mask[:, :, None].float()
        weight = real.expand_as(head.class_logits) if weight is None else weight * real
    if any(target.ignore_negative is not None for target in targets):
        weight = torch.ones_like(head.class_logits) if weight is None else weight.clone()
        unmatched = torch.ones(head.class_logits.shape[:2], device=weight.device)
        unmatched[match.image, match.query] = 0.0
        for image, target in enumerate(targets):
            if target.ignore_negative is not None:
                texts = len(target.ignore_negative)
                ignored = unmatched[image, :, None] * target.ignore_negative.float()
                weight[image, :, :texts] *= 1 - ignored
    return weight
