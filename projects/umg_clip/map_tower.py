"""MapTower: any model of timm that offers feature maps, behind the seam of the CLIP towers.

B images, C channels of the coarsest map, D width of the space shared with texts, (h, w) its grid.
"""

from typing import Dict, List, Tuple

from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from segplugins.modeling.timm_backbone import TimmBackbone

from .vit_tower import DenseOutput

_LAST = "res5"


class MapTower(nn.Module):
    """A backbone of four maps and a projection of the coarsest one. Parts: "trunk.*", "head.*".

    Args:
        trunk: gives "res2" to "res5"; its batch norms keep their statistics.
        head: (..., C) to (..., D).
    """

    adapters = None
    is_projection_new = False
    ends = ("head.",)

    def __init__(self, trunk: TimmBackbone, head: nn.Module):
        super().__init__()
        self.trunk = trunk
        self.head = head

    @property
    def width(self) -> int:
        """C."""
        return self.output_shape()[_LAST].channels

    @property
    def size_divisibility(self) -> int:
        """Sides of the input must be multiples of it."""
        return self.trunk.size_divisibility

    def output_shape(self) -> Dict[str, ShapeSpec]:
        """Returns channels and stride of "res2" to "res5"."""
        return self.trunk.output_shape()

    def sharded_units(self) -> List[nn.Module]:
        """Returns nothing: such models are small, and a sharded run gathers them whole."""
        return []

    def dense(self, images: Tensor, *, adapted: bool = True) -> DenseOutput:
        """Returns the four maps of (B, 3, H, W), and the coarsest, which masks are pooled from."""
        maps = self.trunk(images)
        return DenseOutput(maps, maps[_LAST])

    def encode(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        """Returns (B, D, h, w) and (B, D), not normalised: of every cell, and of whole images."""
        last = self.dense(images).last
        cells = self.project(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return cells, self.project(last.mean(dim=(2, 3)))

    def project(self, vectors: Tensor) -> Tensor:
        """Returns (..., D), not normalised, of vectors (..., C)."""
        return self.head(vectors)
