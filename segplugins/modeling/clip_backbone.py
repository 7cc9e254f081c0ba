"""ClipBackbone: the image tower of a CLIP as the backbone of another model.

B images, D width of the space shared with texts, (h, w) the grid of the last stage.
"""

from typing import Dict, Sequence

from detectron2.layers import ShapeSpec
from torch import Tensor
from torch.nn import functional as F

from segplugins.clip import ClipTowers

from .dense_convnext import STAGES, DenseConvNeXt

CLIP = "clip"  # its name in a config


class ClipBackbone(DenseConvNeXt):
    """Maps of a CLIP's ConvNeXt, the last of them in the space of the texts.

    "res5" is the embedding of every cell in place of the stage that it is projected from: a class
    without any mask can be found only where pictures and words are comparable before training.

    Args:
        towers: a CLIP whose image tower is a ConvNeXt.

    Raises:
        ValueError: its image tower is none.
    """

    def __init__(self, towers: ClipTowers):
        super().__init__(towers.visual)
        self.pixel_mean = _scaled(towers.image_mean)
        self.pixel_std = _scaled(towers.image_std)
        stride = self._shapes[STAGES[-1]].stride
        self._shapes[STAGES[-1]] = ShapeSpec(channels=towers.embed_dim, stride=stride)

    def forward(self, images: Tensor) -> Dict[str, Tensor]:
        """Returns "res2" to "res4" and "res5" (B, D, h, w), whose cells have unit mean square.

        Args:
            images: (B, 3, H, W), normalised; both sides multiples of the last stride.
        """
        embeddings, maps = super().forward(images)
        root = embeddings.shape[1] ** 0.5
        return {**maps, STAGES[-1]: root * F.normalize(embeddings, dim=1)}


def _scaled(values: Sequence[float]) -> Sequence[float]:
    return tuple(255 * value for value in values)
