"""DenseConvNeXt: CLIP's ConvNeXt run pixel by pixel where the tower itself would pool.

B images, D width of the space shared with texts, (h, w) the grid of the last stage.
"""

from typing import Dict, Iterable, List, Tuple

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

STAGES = ("res2", "res3", "res4", "res5")


class DenseConvNeXt(Backbone):
    """A CLIP ConvNeXt that keeps its grid. Its parts keep their names: "trunk.*", "head.*".

    Args:
        visual: image tower of a CLIP: `trunk`, a timm ConvNeXt, and `head`, the projection into the
            space of the text embeddings (linear or an MLP).

    Raises:
        ValueError: the tower is no ConvNeXt that ends in a projection.
    """

    def __init__(self, visual: nn.Module):
        super().__init__()
        trunk = getattr(visual, "trunk", None)
        stages = getattr(trunk, "stages", ())
        if not hasattr(trunk, "stem") or len(stages) != len(STAGES) or not hasattr(visual, "head"):
            raise ValueError(
                f"expected a CLIP whose image tower is a ConvNeXt of {len(STAGES)} stages, got "
                f"{type(trunk or visual).__name__}; choose MODEL.CLIP.NAME like convnext_base_w_320"
            )
        if not isinstance(trunk.head.fc, nn.Identity):
            raise ValueError("the trunk must end in its norm: the projection stands in visual.head")
        self.trunk = trunk
        self.head = visual.head
        info: List[dict] = trunk.feature_info
        self._shapes = {
            name: ShapeSpec(channels=stage["num_chs"], stride=stage["reduction"])
            for name, stage in zip(STAGES, info)
        }

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this: the stride of the last stage."""
        return self._shapes[STAGES[-1]].stride

    def output_shape(self) -> Dict[str, ShapeSpec]:
        """Returns channels and stride of "res2" to "res5"."""
        return dict(self._shapes)

    def forward(self, images: Tensor) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Encodes a batch.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            The embedding of every pixel (B, D, h, w), not normalised (SED's F_v), and the maps
            "res2" to "res5" (F_2..F_5), straight from the stages without a norm.

        Raises:
            ValueError: a side is no multiple of the stride.
        """
        height, width = images.shape[-2:]
        if height % self.size_divisibility or width % self.size_divisibility:
            raise ValueError(
                f"an input of {height}x{width} pixels does not fit the encoder's stride: both must "
                f"be multiples of {self.size_divisibility}"
            )
        features = stage_maps(self.trunk.stem, self.trunk.stages, images)
        x = self.trunk.head.norm(self.trunk.norm_pre(features[STAGES[-1]]))
        return self.head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), features

    def pooled(self, features: Dict[str, Tensor]) -> Tensor:
        """Returns (B, D), not normalised, what the tower itself says of whole images."""
        return self.head(self.trunk.head(self.trunk.norm_pre(features[STAGES[-1]])))


def stage_maps(stem: nn.Module, stages: Iterable[nn.Module], images: Tensor) -> Dict[str, Tensor]:
    """Returns the maps "res2" to "res5" of a ConvNeXt.

    Args:
        stem: images to the cells of the first stage.
        stages: four.
        images: (B, 3, H, W), normalised.
    """
    # A ConvNeXt is half LayerNorm and Linear over channels: with them last, nothing is moved.
    x = stem(images.contiguous(memory_format=torch.channels_last))
    maps = {}
    for name, stage in zip(STAGES, stages):
        x = maps[name] = stage(x)
    return maps
