"""ImageNormalizer: records to one normalised batch."""

from typing import List, Sequence

import torch
from detectron2.structures import ImageList
from torch import Tensor, nn

from segplugins.clip import ClipTowers


class ImageNormalizer(nn.Module):
    """Puts the images of some records on the model's device, normalises and pads them.

    Args:
        mean: of each channel, RGB on the scale 0-255.
        std: likewise, above 0.
        divisibility: height and width of the batch become multiples of it; 1 = no more padding than
            the largest image asks for.

    Raises:
        ValueError: not three channels, a std that is not above 0, or a divisibility below 1.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], divisibility: int = 1):
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f"mean and std need three values on the scale 0-255, std above 0, got "
                f"{list(mean)} and {list(std)}"
            )
        if divisibility < 1:
            raise ValueError(f"divisibility must be at least 1, got {divisibility}")
        # Not in the checkpoint: they belong to the encoder's weights and come from the config.
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1), persistent=False)
        self.divisibility = divisibility

    @classmethod
    def of_clip(cls, towers: ClipTowers, divisibility: int) -> "ImageNormalizer":
        """Returns one with the statistics that a CLIP was trained with."""
        return cls(towers.pixel_mean, towers.pixel_std, divisibility)

    @property
    def device(self) -> torch.device:
        """Where the batch will be: the model's device."""
        return self.mean.device

    def normalize(self, image: Tensor) -> Tensor:
        """Returns (3, H, W) float32, (image - mean) / std, of an image (3, H, W), RGB 0-255.

        Raises:
            ValueError: the image has another shape or no pixel.
        """
        if image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(
                f"an image has shape {tuple(image.shape)}, expected (3, H, W): RGB, channels first"
            )
        return (image.to(self.device, torch.float32, non_blocking=True) - self.mean) / self.std

    def forward(self, records: List[dict]) -> ImageList:
        """Batches images of different sizes.

        Args:
            records: from the mapper; "image" is (3, H, W) RGB 0-255.

        Returns:
            (B, 3, height, width), each image in the upper left corner of zeros (the mean colour),
            with the sizes the images had.
        """
        images = [self.normalize(record["image"]) for record in records]
        return ImageList.from_tensors(images, self.divisibility)
