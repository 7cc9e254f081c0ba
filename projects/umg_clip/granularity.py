"""Losses of regions and tags beside the caption of the image (Eq. 3).

B images, N regions of the batch, D width of the shared space.
"""

import random
from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segplugins.modeling.contrastive import mean_over_processes
from segplugins.structures.regions import Region


class RegionTexts(NamedTuple):
    """Regions that are compared with their own texts, N in all.

    Args:
        image: the image of each.
        boxes: x0, y0, x1, y1 of each in pixels.
        captions: one of the captions of each; its name where it has none.
        tags: the name of each; "" where it has a caption alone.
    """

    image: List[int]
    boxes: List[Tuple[float, float, float, float]]
    captions: List[str]
    tags: List[str]

    @property
    def named(self) -> List[int]:
        """The regions that have a name."""
        return [index for index, tag in enumerate(self.tags) if tag]

    @property
    def names(self) -> List[str]:
        """The names of the regions `named`."""
        return [tag for tag in self.tags if tag]

    def shares(self, height: int, width: int, device: torch.device) -> Tuple[Tensor, Tensor]:
        """Returns (N, 4) boxes as shares of a padded batch, and (N,) the image of each."""
        boxes = torch.tensor(self.boxes, dtype=torch.float32).reshape(-1, 4)
        boxes = boxes / torch.tensor([width, height, width, height])
        image = torch.tensor(self.image, dtype=torch.long)
        return boxes.to(device, non_blocking=True), image.to(device, non_blocking=True)


def draw_regions(records: Sequence[dict], most: int) -> RegionTexts:
    """Returns at most `most` boxed regions of each image, by lot, each with one of its captions.

    Boxes of which nothing is said are left out.
    """
    drawn = RegionTexts([], [], [], [])
    for index, record in enumerate(records):
        boxed = [
            region
            for region in record.get("regions", ())
            if region.box is not None and (region.text or region.extra.get("captions"))
        ]
        for region in random.sample(boxed, min(most, len(boxed))):
            drawn.image.append(index)
            drawn.boxes.append(tuple(region.box))
            drawn.captions.append(_caption(region))
            drawn.tags.append(region.text)
    return drawn


def draw_tag_lists(records: Sequence[dict]) -> Tuple[List[str], List[int]]:
    """Returns the tags of each image that has any as one text, in random order, and which it is."""
    having = [index for index, record in enumerate(records) if record.get("tags")]
    lists = [list(records[index]["tags"]) for index in having]
    return [", ".join(random.sample(tags, len(tags))) for tags in lists], having


def tag_regression(visual: Tensor, texts: Tensor) -> Tensor:
    """Returns scalar, the smooth L1 distance of unit vectors, summed over D.

    Where no channel differs by more than 1 this is 1 - cosine.
    It pulls and never pushes: images that share a tag are no negatives of each other. The mean is
    over the rows of all processes; without any it is 0.

    Args:
        visual: (N, D), of any length.
        texts: (N, D), of any length; the gradient reaches both.
    """
    with torch.autocast(visual.device.type, enabled=False):
        visual, texts = (F.normalize(rows.float(), dim=-1) for rows in (visual, texts))
        total = F.smooth_l1_loss(visual, texts, reduction="sum", beta=1.0)
        return mean_over_processes(total, len(visual))


def _caption(region: Region) -> str:
    captions = region.extra.get("captions") or [region.text]
    return str(random.choice(list(captions)))
