"""A synthetic picture and vocabulary that need no weights, for the benchmark and the tests.

12 classes are in the picture and the rest resemble one another, so that early rejection has
something to reject. Random weights say nothing about accuracy.
"""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from segplugins.projects.sed.chunks import Decoding
from segplugins.projects.sed.cost_map import cost_map
from segplugins.projects.sed.decoder import GradualFusionDecoder

PRESENT = 12


class Sizes(NamedTuple):
    """Of the model; as they stand those of SED-B."""

    clip: str = "convnext_base_w_320"
    embed_dim: int = 640
    templates: int = 80
    skip_channels: Tuple[int, ...] = (512, 256, 128)
    widths: Tuple[int, ...] = (128, 64, 32, 16)
    skip_widths: Tuple[int, ...] = (32, 16, 8)


SMALL = Sizes("convnext_drawn", 64, 4, (96, 48, 32), (32, 32, 16, 16), (8, 8, 8))


class Scene(NamedTuple):
    """What the decoder gets of one image and one vocabulary."""

    decoder: GradualFusionDecoder
    dense: Tensor  # (1, D, S, S)
    skips: List[Tensor]  # (1, ., 2S, 2S), (1, ., 4S, 4S), (1, ., 8S, 8S)
    text: Tensor  # (N, P, D)

    def decode(self, top_k: Optional[int] = None, chunk: int = 0) -> Decoding:
        """Returns: the product's answer."""
        decoder, *image = self
        return Decoding(decoder, *image, chunk=chunk, top_k=top_k)

    def cost(self) -> Tensor:
        """Returns: (N, P, S, S)"""
        return cost_map(self.dense, self.text)[0]


def build_decoder(sizes: Sizes) -> GradualFusionDecoder:
    """Returns: a decoder of random weights, in evaluation mode."""
    torch.manual_seed(0)
    return GradualFusionDecoder(
        templates=sizes.templates,
        widths=sizes.widths,
        skip_channels=sizes.skip_channels,
        skip_widths=sizes.skip_widths,
        kernel_sizes=(9, 9, 9),
        heads=4,
        attention="linear",
        pooling=(2, 2),
        test_pooling=(1, 1),
    ).eval()


def draw_scene(
    classes: int, side: int, sizes: Sizes, device: str = "cpu", bank: Optional[str] = None
) -> Scene:
    """Draws the recipe.

    Present class r: text a_r + J; absent ones: b + d u + J, d evenly in [-0.02, 0.02], with a
    jitter J ~ 0.3 N(0, 1) per template that all classes share; of unit length. The image is 3 x 4
    rectangles, rectangle r holds a_r + 0.3 N(0, 1). Skip features ~ N(0, 1).

    Args:
        classes: N, at least 12.
        side: S of the encoder's last grid: 24 for 768 pixels.
        sizes: of the model.
        device: where all of it but a bank is.
        bank: file to write the text to and map it from; None = in memory.
    """
    random = torch.Generator().manual_seed(0)
    width = sizes.embed_dim

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    jitter, names = 0.3 * normal(sizes.templates, width), normal(PRESENT, width)
    base, direction = normal(width), normal(width)
    shape = (classes, sizes.templates, width)
    text = np.memmap(bank, np.float32, "w+", shape=shape) if bank else np.empty(shape, np.float32)
    shifts = torch.linspace(-0.02, 0.02, classes - PRESENT)
    for row in range(classes):
        name = names[row] if row < PRESENT else base + shifts[row - PRESENT] * direction
        text[row] = nn.functional.normalize(name + jitter, dim=-1)
    steps = torch.arange(side)
    rectangle = 4 * (3 * steps // side)[:, None] + 4 * steps // side
    dense = (names[rectangle] + 0.3 * normal(side, side, width)).permute(2, 0, 1)
    skips = [
        normal(1, channels, side * 2**i, side * 2**i)
        for i, channels in enumerate(sizes.skip_channels, start=1)
    ]
    bank_or_text = torch.from_numpy(text)
    return Scene(
        build_decoder(sizes).to(device),
        dense[None].to(device),
        # As the encoder gives them.
        [skip.to(device, memory_format=torch.channels_last) for skip in skips],
        bank_or_text if bank else bank_or_text.to(device),
    )
