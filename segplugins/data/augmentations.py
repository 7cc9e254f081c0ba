"""Augmentations from a config, and those that detectron2 lacks.

Inside the augmentations, pixels of a label map that carry no class are IGNORED (-1), whatever
number the data set uses for them: a crop or a pad then needs no knowledge of the data set.
"""

from typing import List

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, PadTransform, Transform

IGNORED = -1
# Between black and white, so that the border is no edge that a network could take for an object.
_PAD_VALUE = 128


class PadToSquare(T.Augmentation):
    """Pads an image at the right and at the bottom to a square; one that is larger stays.

    Args:
        size: side in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"the size to pad to must be at least 1 pixel, got {size}")
        self.size = size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the padding of an image (H, W, 3)."""
        height, width = image.shape[:2]
        right, bottom = max(self.size - width, 0), max(self.size - height, 0)
        if right == 0 and bottom == 0:
            return NoOpTransform()
        return PadTransform(
            0, 0, right, bottom, width, height, pad_value=_PAD_VALUE, seg_pad_value=IGNORED
        )


class ColorJitterSSD(T.Augmentation):
    """Brightness +-32, contrast and saturation 0.5-1.5, hue +-18, as SSD does; RGB."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns detectron2's transform, which draws its values when it is applied."""
        # Its package imports cv2: only where it is asked for.
        from detectron2.projects.point_rend import ColorAugSSDTransform

        return ColorAugSSDTransform(img_format="RGB")


def build_augmentations(cfg: CfgNode, is_train: bool) -> List[T.Augmentation]:
    """Returns what the config asks for, in this order: resize, crop, colour, flip, pad.

    Args:
        cfg: its INPUT node.
        is_train: at test an image is only resized.
    """
    resize, *flip = detection_utils.build_augmentation(cfg, is_train)
    if not is_train:
        return [resize]
    augmentations: List[T.Augmentation] = [resize]
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint(
                crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, IGNORED
            )
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(ColorJitterSSD())
    augmentations.extend(flip)
    if cfg.INPUT.PAD_TO:
        augmentations.append(PadToSquare(cfg.INPUT.PAD_TO))
    return augmentations
