"""What query models predict, what they are compared with, and which query goes with which target.

Shapes: B images, Q queries, K texts of an image padded to the longest list of the batch, N targets
of an image, M matched pairs, (h, w) mask resolution, (H, W) image resolution.

Images of a batch may have different numbers of texts. Class logits are padded to the longest list
and `text_mask` (B, K) says which entries are real: costs, losses and post-processing read it, and a
padded text never has a cost, a loss or a result.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from detectron2.structures import Instances
from torch import Tensor

__all__ = ["Match", "QueryPredictions", "QueryTargets", "query_targets", "record_targets"]


@dataclass
class QueryPredictions:
    """Outputs of one prediction head, and those of earlier heads.

    Args:
        class_logits: (B, Q, K), or (B, Q, K + 1) with "no object" last, as the class term says.
        mask_logits: (B, Q, h, w), covering the padded image; None if the head predicts no masks.
        boxes: (B, Q, 4) centre x, centre y, width, height as shares of the padded image; None if
            the head predicts no boxes.
        text_mask: (B, K) bool, True for real texts; None if all are.
        query_mask: (B, Q) bool, False for queries that only fill up a batch; None if all count.
        earlier: name to the outputs of an earlier decoder layer ("0", "1", ...) or of the proposals
            ("proposals"); they may have another number of queries.
    """

    class_logits: Tensor
    mask_logits: Optional[Tensor] = None
    boxes: Optional[Tensor] = None
    text_mask: Optional[Tensor] = None
    query_mask: Optional[Tensor] = None
    earlier: Dict[str, "QueryPredictions"] = field(default_factory=dict)

    @property
    def heads(self) -> Dict[str, "QueryPredictions"]:
        """The last head under the name "", then the earlier ones, each without `earlier`."""
        return {"": replace(self, earlier={}), **self.earlier}


@dataclass
class QueryTargets:
    """Targets of one image.

    Args:
        labels: (N,) int64, index of the text of each target.
        boxes: (N, 4) centre x, centre y, width, height as shares of the padded image.
        masks: (N, H, W) bool at the size of the image without padding; None for boxes alone.
        canvas: height and width of the padded image in pixels.
        ignore_negative: (K,) bool, texts for which unmatched queries are not pushed down, because
            the image is not annotated exhaustively for them; None if there are none.
    """

    labels: Tensor
    boxes: Tensor
    masks: Optional[Tensor]
    canvas: Tuple[int, int]
    ignore_negative: Optional[Tensor] = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class Match:
    """Matched pairs of a batch, image by image.

    Args:
        image: (M,) int64, index of the image.
        query: (M,) int64, index of the query in its image.
        target: (M,) int64, index of the target in its image.
        counts: number of pairs of each image, B of them; on the host, so that nothing waits for
            the device to slice by image.
    """

    image: Tensor
    query: Tensor
    target: Tensor
    counts: Tuple[int, ...]

    def __len__(self) -> int:
        return len(self.image)

    def by_image(self) -> Iterator[Tuple[Tensor, Tensor]]:
        """Yields, per image, the indices of its matched queries and of their targets."""
        yield from zip(self.query.split(self.counts), self.target.split(self.counts))


def record_targets(
    records: Sequence[Mapping[str, Any]], canvas: Sequence[int], device: torch.device
) -> List[QueryTargets]:
    """Returns the targets of the records of a training batch; see `query_targets`.

    Raises:
        ValueError: a record has no "instances".
    """
    for record in records:
        if "instances" not in record:
            raise ValueError(
                f"image {record.get('file_name', '?')} (task '{record.get('task')}') has no "
                "'instances', which all losses compare with; set INPUT.TARGETS [instances], "
                "and leave sets without regions or maps out of DATASETS.TRAIN"
            )
    return query_targets(
        [record["instances"] for record in records],
        tuple(canvas),
        device=device,
        ignore_negative=[record.get("ignore_negative") for record in records],
    )


def query_targets(
    instances: Sequence[Instances],
    canvas: Tuple[int, int],
    *,
    device: torch.device,
    ignore_negative: Sequence[Optional[Tensor]] = (),
) -> List[QueryTargets]:
    """Brings the targets of a batch into the form that matching and losses read.

    Args:
        instances: per image "gt_classes" (N,), "gt_boxes" (N, 4) corners in pixels and, unless the
            image has boxes alone, "gt_masks" (BitMasks).
        canvas: height and width of the padded batch in pixels; boxes become shares of it.
        device: that the targets are moved to.
        ignore_negative: per image (K,) bool or None; empty if no image has any.

    Raises:
        ValueError: an image is larger than the canvas.
    """
    height, width = canvas
    targets = []
    for index, image in enumerate(instances):
        if image.image_size[0] > height or image.image_size[1] > width:
            raise ValueError(
                f"targets of image {index} have the size {tuple(image.image_size)}, larger than "
                f"the padded batch {tuple(canvas)}: images and targets must be augmented together"
            )
        corners = image.gt_boxes.tensor.to(device=device, dtype=torch.float32)
        x0, y0, x1, y1 = corners.unbind(-1)
        boxes = torch.stack(
            [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height],
            dim=-1,
        )
        masks = image.gt_masks.tensor.to(device) if image.has("gt_masks") else None
        ignored = ignore_negative[index] if index < len(ignore_negative) else None
        targets.append(
            QueryTargets(
                labels=image.gt_classes.to(device),
                boxes=boxes,
                masks=masks,
                canvas=(height, width),
                ignore_negative=None if ignored is None else ignored.to(device),
            )
        )
    return targets
