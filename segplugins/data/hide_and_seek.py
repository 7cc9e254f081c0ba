"""Hide-and-seek: cells of an image are hidden, so that a model does not lean on one mark alone.

Singh and Lee, "Hide-and-Seek: Forcing a network to be meticulous", ICCV 2017. H, W are the size of
the image in pixels.
"""

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks
from torch import Tensor

from segplugins.structures.regions import Region, box_of_mask, encode_mask

APPLY_TO = ("pseudo", "all")


@dataclass(frozen=True)
class HideAndSeek:
    """Hides random cells of a mapped record, in place.

    Args:
        probability: of each cell.
        grid: cells per side; at 480 pixels 24 give cells of 20 pixels.
        colour: (R, G, B) of what is hidden, 0-255: the mean that the model subtracts.
        hide_target: whether the targets end where the cells begin, as the image does. A target
            that is hidden whole stays, empty.
        apply_to: "all" images, or only those whose regions a machine has drawn ("pseudo").

    Raises:
        ValueError: a probability outside 0-1, a grid without cells, an unknown `apply_to`.
    """

    probability: float
    grid: int
    colour: Sequence[float]
    hide_target: bool = True
    apply_to: str = "pseudo"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.grid < 1 or self.apply_to not in APPLY_TO:
            raise ValueError(
                f"hide-and-seek: probability {self.probability} must be in 0-1, grid {self.grid} "
                f"at least 1, and '{self.apply_to}' one of {APPLY_TO}"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "HideAndSeek":
        """Reads INPUT.HIDE, and MODEL.PIXEL_MEAN as the colour."""
        node = cfg.INPUT.HIDE
        return cls(
            probability=node.PROBABILITY,
            grid=node.GRID,
            colour=cfg.MODEL.PIXEL_MEAN,
            hide_target=node.TARGET,
            apply_to=node.APPLY_TO,
        )

    def __call__(self, result: Dict[str, Any], record: Mapping[str, Any], ignored: int) -> None:
        """Hides cells of a record.

        Args:
            result: for the model: "image" and its targets.
            record: of the catalog: "pseudo", or regions with a score below 1.
            ignored: label of pixels that carry no class.
        """
        if self.probability == 0 or (self.apply_to == "pseudo" and not is_pseudo(record)):
            return
        hidden = self.draw(*result["image"].shape[1:])
        colour = torch.tensor([round(value) for value in self.colour], dtype=torch.uint8)
        result["image"] = torch.where(hidden, colour[:, None, None], result["image"])
        if not self.hide_target:
            return
        if "sem_seg" in result:
            result["sem_seg"] = result["sem_seg"].masked_fill(hidden, ignored)
        if "instances" in result and result["instances"].has("gt_masks"):
            instances = result["instances"]
            instances.gt_masks = BitMasks(instances.gt_masks.tensor & ~hidden)
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        if "regions" in result:
            visible = ~hidden.numpy()
            result["regions"] = [_visible_part(region, visible) for region in result["regions"]]

    def draw(self, height: int, width: int) -> Tensor:
        """Returns which pixels are hidden, (height, width) bool."""
        cells = torch.rand(self.grid, self.grid) < self.probability
        rows, columns = (torch.arange(side) * self.grid // side for side in (height, width))
        return cells[rows][:, columns]


def _visible_part(region: Region, visible: np.ndarray) -> Region:
    """Returns a region whose mask ends where the hidden cells begin; a box stays as it is."""
    if region.mask is None:
        return region
    bitmap = region.bitmap(*visible.shape) & visible
    box = box_of_mask(bitmap) or region.box
    return Region(**{**vars(region), "mask": encode_mask(bitmap), "box": box})


def is_pseudo(record: Mapping[str, Any]) -> bool:
    """Whether a machine has drawn the targets of a catalog record."""
    regions = record.get("regions", ())
    scores = (r.score if isinstance(r, Region) else r.get("score", 1.0) for r in regions)
    return bool(record.get("pseudo", False)) or any(score < 1 for score in scores)
