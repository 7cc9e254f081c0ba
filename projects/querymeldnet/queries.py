"""The two kinds of queries: a table that all images share, and proposals of the image itself.

B images, S cells of all levels, Q queries, K texts, D width. Boxes are centre and size as shares of
the padded image; anchors are their logits.
"""

from typing import Callable, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from segplugins.modeling.boxes import boxes_of_corners, inverse_sigmoid
from segplugins.modeling.deformable import Shapes
from segplugins.modeling.pixel_decoder import cell_centres
from segplugins.modeling.postprocess import tight_boxes

BOX_SOURCES = ("no", "mask2box", "bitmask")
_SMALLEST = 0.05  # side of a proposal on the first level, doubled at each further one
_INSIDE = 0.01  # proposals nearer to the border of the image than that are not valid


class Queries(NamedTuple):
    """Content and anchor of queries.

    Args:
        content: (B, Q, D).
        anchors: (B, Q, 4) logits of boxes.
    """

    content: Tensor
    anchors: Tensor


class LearnableQueries(nn.Module):
    """A table of contents and anchors, the same for every image.

    Args:
        count: Q.
        width: D.
    """

    def __init__(self, count: int, width: int):
        super().__init__()
        self.content = nn.Embedding(count, width)
        self.anchors = nn.Embedding(count, 4)

    def forward(self, batch: int) -> Queries:
        """Returns the table for each of `batch` images."""
        return Queries(
            self.content.weight.expand(batch, -1, -1), self.anchors.weight.expand(batch, -1, -1)
        )


def proposal_anchors(shapes: Shapes, device: torch.device) -> Tuple[Tensor, Tensor]:
    """Returns (S, 4) logits of a box at each cell, and (S,) bool, whether the box is valid.

    A box lies at the centre of its cell and has sides of 0.05 * 2^level. It is valid if its
    centre and size lie in (0.01, 0.99); the logits of others are infinite.
    """
    centres = cell_centres(shapes, device)
    sides = torch.cat(
        [
            torch.full((height * width,), _SMALLEST * 2.0**level, device=device)
            for level, (height, width) in enumerate(shapes)
        ]
    )
    boxes = torch.cat([centres, sides[:, None].expand(-1, 2)], dim=1)
    valid = ((boxes > _INSIDE) & (boxes < 1 - _INSIDE)).all(dim=1)
    anchors = torch.log(boxes / (1 - boxes)).masked_fill(~valid[:, None], float("inf"))
    return anchors, valid


class Proposals(NamedTuple):
    """Conditional queries, and what the proposals predict themselves.

    Args:
        queries: without gradient, for the decoder.
        content: (B, Q, D) with gradient.
        boxes: (B, Q, 4) with gradient.
        mask_logits: (B, Q, h, w) with gradient, if they were read.
    """

    queries: Queries
    content: Tensor
    boxes: Tensor
    mask_logits: Optional[Tensor]


class ConditionalQueries(nn.Module):
    """Selects as queries the cells that fit a text of the image best (two-stage, Mask DINO).

    Args:
        count: Q.
        width: D.
        box_source: "no" keeps the boxes of the proposals; "mask2box" and "bitmask" take the boxes
            around their masks, up to or around the last pixel.

    Raises:
        ValueError: an unknown box source.
    """

    def __init__(self, count: int, width: int, *, box_source: str):
        super().__init__()
        if box_source not in BOX_SOURCES:
            raise ValueError(
                f"MODEL.QMN.INITIALIZE_BOX_TYPE must be one of {BOX_SOURCES}, got '{box_source}'"
            )
        self.count = count
        self.box_source = box_source
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        memory: Tensor,
        shapes: Shapes,
        *,
        box_head: Callable[[Tensor], Tensor],
        class_head: Callable[[Tensor], Tensor],
        mask_head: Callable[[Tensor], Tensor],
        text_mask: Optional[Tensor],
    ) -> Proposals:
        """Returns the proposals with the highest score of any text.

        Args:
            memory: (B, S, D), all levels one after the other.
            shapes: height and width of each level.
            box_head: (B, Q, D) to a change of the anchors.
            class_head: (B, Q, D) to (B, Q, K) logits.
            mask_head: (B, Q, D) to (B, Q, h, w) logits.
            text_mask: (B, K) bool, texts that are real; None = all.

        Raises:
            ValueError: fewer cells than queries.
        """
        if memory.shape[1] < self.count:
            raise ValueError(
                f"{self.count} conditional queries, but the image has only {memory.shape[1]} "
                "cells; lower MODEL.QMN.NUM_CONDITIONAL or take larger images"
            )
        anchors, valid = proposal_anchors(shapes, memory.device)
        content = self.norm(self.output(memory.masked_fill(~valid[:, None], 0.0)))
        scores = class_head(content)
        if text_mask is not None:
            scores = scores.masked_fill(~text_mask[:, None], float("-inf"))
        best = scores.detach().max(dim=-1).values.masked_fill(~valid, float("-inf"))
        index = best.topk(self.count, dim=1).indices[..., None]
        content = content.gather(1, index.expand(-1, -1, content.shape[-1]))
        # Where a level has too few valid cells an infinite anchor would have no gradient to give.
        chosen = anchors.clamp(-1e4, 1e4)[index[..., 0]]
        refined = box_head(content) + chosen
        boxes = refined.sigmoid()
        mask_logits = mask_head(content)
        start = refined.detach()
        if self.box_source != "no":
            start = self._boxes_of_masks(mask_logits.detach(), boxes.detach())
        return Proposals(Queries(content.detach(), start), content, boxes, mask_logits)

    def _boxes_of_masks(self, mask_logits: Tensor, boxes: Tensor) -> Tensor:
        """Returns (B, Q, 4) anchors around the masks; of an empty mask that of its proposal."""
        height, width = mask_logits.shape[-2:]
        masks = mask_logits.flatten(0, 1) > 0
        corners = tight_boxes(masks)
        if self.box_source == "mask2box":
            corners[:, 2:] -= 1.0
        sizes = torch.tensor([width, height, width, height], device=corners.device)
        around = boxes_of_corners(corners / sizes).view_as(boxes)
        empty = ~masks.flatten(1).any(dim=1).view(boxes.shape[:2])
        return inverse_sigmoid(torch.where(empty[..., None], boxes, around))
