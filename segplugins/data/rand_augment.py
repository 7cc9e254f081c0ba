"""timm's RandAugment as an augmentation of pictures whose targets are texts alone."""

from typing import Sequence

import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform
from PIL import Image


class RandAugmentTransform(Transform):
    """One draw of RandAugment; made anew for every picture.

    Args:
        policy: timm's transform of PIL pictures.
    """

    def __init__(self, policy) -> None:
        super().__init__()
        self._policy = policy

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Returns (H, W, 3) uint8 of the same size."""
        return np.asarray(self._policy(Image.fromarray(img)))

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Raises ValueError: it turns and shears pictures, and no box follows."""
        raise ValueError(
            "INPUT.RAND_AUGMENT turns and shears pictures, so that boxes and masks would no longer "
            "fit; train on sets of captions alone (captions_only), or set it to ''"
        )

    apply_segmentation = apply_coords


class RandAugment(T.Augmentation):
    """RandAugment as timm trains with it, for pictures with texts alone.

    Args:
        policy: timm's text of it, such as "rand-m9-mstd0.5-inc1".
        size: side of the pictures in pixels, of which shifts are a share.
        colour: (R, G, B) of what comes in from outside, 0-255.

    Raises:
        ValueError: another text.
    """

    def __init__(self, policy: str, size: int, colour: Sequence[float]) -> None:
        super().__init__()
        # timm imports torchvision: only where it is asked for.
        from timm.data.auto_augment import rand_augment_transform

        if not policy.startswith("rand-"):
            raise ValueError(
                f"INPUT.RAND_AUGMENT is '{policy}', expected timm's text of a RandAugment, such as "
                "'rand-m9-mstd0.5-inc1', or ''"
            )
        options = {
            "translate_const": int(size * 0.45),
            "img_mean": tuple(min(255, round(value)) for value in colour),
            "interpolation": Image.BILINEAR,
        }
        try:
            self._policy = rand_augment_transform(policy, options)
        except (AssertionError, ValueError, KeyError) as error:
            raise ValueError(f"INPUT.RAND_AUGMENT '{policy}': timm refuses it ({error})") from error

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the transform of an image (H, W, 3), which draws when it is applied."""
        return RandAugmentTransform(self._policy)
