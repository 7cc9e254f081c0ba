"""Denoising queries: noised targets that the decoder has to restore (Mask DINO, DINO).

B images, N targets of an image, G groups, P = G * (targets of the fullest image) denoising queries,
R repeated targets of the batch, D width. Query j of group g of an image stands at g * (P / G) + j;
places without a target are zero and do not count.
"""

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from segplugins.modeling.boxes import boxes_of_corners, corners_of_boxes, inverse_sigmoid
from segplugins.structures.predictions import Match, QueryTargets

from .queries import Queries


class NoisedQueries(NamedTuple):
    """Denoising queries of a batch.

    Args:
        queries: content (B, P, D) and anchors (B, P, 4).
        is_real: (B, P) bool, places that a target fills.
        match: which target each positive query is made of.
        groups: number of groups that do not see each other; 0 = there are no queries.
    """

    queries: Queries
    is_real: Tensor
    match: Match
    groups: int

    @property
    def repeats(self) -> int:
        """Number of matches of each target."""
        return self.groups


class Noise(NamedTuple):
    """Random numbers for R repeated targets, group by group, each group image by image.

    Args:
        label_draws: (R,) uniform in [0, 1); below the share of label noise a label is replaced.
        box_draws: (R, 4) uniform in [0, 1).
        signs: (R, 4) uniform in [0, 1), of contrastive noise: below 1/2 is minus. Else None.
    """

    label_draws: Tensor
    box_draws: Tensor
    signs: Optional[Tensor]


@dataclass(frozen=True)
class Denoising:
    """How targets are noised.

    Args:
        count: most denoising queries of an image, as far as the fullest image allows.
        box_noise: share of the box size by which centre and size move at most.
        label_noise: share of labels that are replaced by another text of the image.
        contrastive: beside each group a negative one, whose boxes are moved further and whose
            queries must find no text.
        pad_negatives: places that no target fills count as negatives, as in Mask DINO's code.

    Raises:
        ValueError: a value outside its range.
    """

    count: int
    box_noise: float
    label_noise: float
    contrastive: bool
    pad_negatives: bool = False

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 <= self.box_noise <= 1 or not 0 <= self.label_noise <= 1:
            raise ValueError(
                "MODEL.QMN.DN: NUM must be at least 0, NOISE_SCALE and LABEL_NOISE in [0, 1], got "
                f"{self.count}, {self.box_noise} and {self.label_noise}"
            )

    def groups(self, targets: Sequence[QueryTargets]) -> int:
        """Returns G, positive and negative groups together; 0 = no denoising in this step."""
        fullest = max((len(target) for target in targets), default=0)
        if not fullest:
            return 0
        return 2 * (self.count // fullest) if self.contrastive else self.count // fullest

    def draw(self, targets: Sequence[QueryTargets], groups: int, device: torch.device) -> Noise:
        """Returns random numbers for `groups` groups of all targets."""
        rows = groups * sum(len(target) for target in targets)
        return Noise(
            torch.rand(rows, device=device),
            torch.rand(rows, 4, device=device),
            torch.rand(rows, 4, device=device) if self.contrastive else None,
        )

    def noised_boxes(self, boxes: Tensor, positive: Tensor, noise: Noise) -> Tensor:
        """Returns (R, 4) moved boxes, inside of the image.

        Positives of Mask DINO move their centre by up to half of the noise and their size by all of
        it. Contrastive noise moves the corners, those of negatives by at least the full noise.

        Args:
            boxes: (R, 4) centre and size.
            positive: (R,) bool.
            noise: random numbers.
        """
        half = boxes[:, 2:] / 2
        if noise.signs is None:
            reach = torch.cat([half, boxes[:, 2:]], dim=1)
            return (boxes + (2 * noise.box_draws - 1) * reach * self.box_noise).clamp(0, 1)
        sign = torch.where(noise.signs < 0.5, -1.0, 1.0)
        distance = noise.box_draws + (~positive)[:, None].float()
        moved = corners_of_boxes(boxes) + sign * distance * half.repeat(1, 2) * self.box_noise
        return boxes_of_corners(moved.clamp(0, 1))

    def __call__(
        self,
        targets: Sequence[QueryTargets],
        text_embedding: Tensor,
        text_mask: Optional[Tensor],
        label_projection: Tensor,
        replaceable: Sequence[bool],
    ) -> NoisedQueries:
        """Returns denoising queries: zero of them without targets, or if an image has too many.

        Without any, the losses keep their names and the collectives of the other processes.

        Args:
            targets: B of them.
            text_embedding: (B, K, D_text) of the texts of each image.
            text_mask: (B, K) bool, texts that are real; None = all.
            label_projection: (D_text, D), from texts to contents.
            replaceable: per image whether labels may be noised: names may, sentences may not.
        """
        groups = self.groups(targets)
        device = text_embedding.device
        place = repeated_targets(targets, groups, device)
        noise = self.draw(targets, groups, device)
        labels = self._noised_labels(place, noise, text_embedding, text_mask, replaceable)
        content = text_embedding[place.image, labels] @ label_projection
        return self.assemble(targets, place, content, noise, groups)

    def _noised_labels(
        self,
        place: "Place",
        noise: Noise,
        text_embedding: Tensor,
        text_mask: Optional[Tensor],
        replaceable: Sequence[bool],
    ) -> Tensor:
        """Returns (R,) labels, some replaced by a random real text of the image."""
        texts = text_embedding.shape[1]
        counts = torch.full((len(text_embedding),), texts, device=text_embedding.device)
        if text_mask is not None:
            counts = text_mask.sum(dim=1)
        allowed = torch.tensor(list(replaceable)).to(text_embedding.device, non_blocking=True)
        share = self.label_noise
        replaced = (noise.label_draws < share) & allowed[place.image]
        # What is left of the draw below the share is uniform again: it chooses the new text.
        again = (noise.label_draws / max(share, 1e-9)).clamp(0, 1 - 1e-6)
        other = (again * counts[place.image]).long()
        return torch.where(replaced, other, place.label)

    def assemble(
        self,
        targets: Sequence[QueryTargets],
        place: "Place",
        content: Tensor,
        noise: Noise,
        groups: int,
    ) -> NoisedQueries:
        """Returns the queries of R repeated targets, put in their places.

        Args:
            targets: B of them.
            place: see `repeated_targets`.
            content: (R, D).
            noise: random numbers.
            groups: G.
        """
        single = max(len(target) for target in targets)
        total, batch = groups * single, len(targets)
        positive = torch.ones_like(place.image, dtype=torch.bool)
        if self.contrastive:
            positive = place.group % 2 == 0
        boxes = torch.cat([target.boxes for target in targets]).repeat(groups, 1)
        anchors = inverse_sigmoid(self.noised_boxes(boxes, positive, noise))
        slot = place.group * single + place.index
        index = (place.image, slot)
        real = torch.zeros(batch, total, dtype=torch.bool, device=content.device)
        real[index] = True
        queries = Queries(
            content.new_zeros(batch, total, content.shape[1]).index_put(index, content),
            anchors.new_zeros(batch, total, 4).index_put(index, anchors),
        )
        counted = torch.ones_like(real) if self.pad_negatives else real
        # A contrastive group is a positive half and a negative one; they see each other.
        visible = groups // 2 if self.contrastive else groups
        match = _match(targets, single, groups, 2 if self.contrastive else 1, content.device)
        return NoisedQueries(queries, counted, match, visible)


class Place(NamedTuple):
    """Where R repeated targets belong, group by group, each group image by image.

    Args:
        image: (R,) index of the image.
        index: (R,) index of the target in its image.
        group: (R,) index of the group.
        label: (R,) index of the text.
    """

    image: Tensor
    index: Tensor
    group: Tensor
    label: Tensor


def repeated_targets(targets: Sequence[QueryTargets], groups: int, device: torch.device) -> Place:
    """Returns the places of all targets of a batch, `groups` times."""
    counts = [len(target) for target in targets]
    image = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    index = torch.cat([torch.arange(count) for count in counts])
    group = torch.arange(groups).repeat_interleave(len(image))
    host = torch.stack([image.repeat(groups), index.repeat(groups), group])
    labels = torch.cat([target.labels for target in targets]).repeat(groups)
    return Place(*host.to(device, non_blocking=True), labels)


def _match(
    targets: Sequence[QueryTargets], single: int, groups: int, step: int, device: torch.device
) -> Match:
    """Returns the pairs of positive queries, image by image."""
    rows: List[Tensor] = []
    starts = torch.arange(0, groups, step) * single
    for image, target in enumerate(targets):
        index = torch.arange(len(target))
        query = (starts[:, None] + index).flatten()
        pairs = [torch.full_like(query, image), query, index.repeat(len(starts))]
        rows.append(torch.stack(pairs))
    pairs = torch.cat(rows, dim=1).to(device, non_blocking=True)
    return Match(*pairs, counts=tuple(row.shape[1] for row in rows))
