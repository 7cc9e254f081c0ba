"""ClipBackbone: the image tower of a CLIP as the backbone of another model."""

from typing import Dict

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from segplugins.clip import ClipTowers

from .dense_convnext import DenseConvNeXt, stage_maps

CLIP = "clip"  # its name in a config


class ClipBackbone(Backbone):
    """The maps of a CLIP's ConvNeXt, as FC-CLIP takes them; what would pool them is left out.

    Args:
        towers: a CLIP whose image tower is a ConvNeXt.

    Raises:
        ValueError: its image tower is none.
    """

    def __init__(self, towers: ClipTowers):
        super().__init__()
        dense = DenseConvNeXt(towers.visual)
        self.trunk = nn.ModuleDict({"stem": dense.trunk.stem, "stages": dense.trunk.stages})
        self.pixel_mean, self.pixel_std = towers.pixel_mean, towers.pixel_std
        self._shapes = dense.output_shape()

    @property
    def size_divisibility(self) -> int:
        """Sides of the batch must be multiples of it."""
        return max(shape.stride for shape in self._shapes.values())

    def output_shape(self) -> Dict[str, ShapeSpec]:
        """Returns channels and stride of "res2" to "res5"."""
        return dict(self._shapes)

    def forward(self, images: Tensor) -> Dict[str, Tensor]:
        """Returns the maps (B, C, h, w) of (B, 3, H, W), normalised."""
        return stage_maps(self.trunk["stem"], self.trunk["stages"], images)
