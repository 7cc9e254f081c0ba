"""The Skip-layer Fusion Module (Sec. 3.2, Fig. 3b): detail from the encoder's earlier stages.

B images · T classes · C width before · g width of skip and cost guidance · K width after · (H, W)
the grid before; the module doubles it.
"""

from typing import NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import in_blocks


class ImageTerms(NamedTuple):
    """Terms of the first convolution that depend on weights and image: shared by all classes."""

    kernel: Tensor  # (C, K, 4, 4), upsampling and convolution in one
    share: Tensor  # (B, K, 2H, 2W), what the skip features and the biases add


class SkipFusion(nn.Module):
    """Doubles the grid and mixes in the image's own features and the cost map.

    The paper concatenates [upsampled features | skip features | cost guidance] for every class and
    convolves. A convolution of a concatenation is a sum of three, and two of them are not done per
    class here: the skip features are the same for all classes (nothing is repeated), and the
    upsampling, a deconvolution 2x2 with nothing after it, is merged with the 3x3 convolution: one
    deconvolution 4x4 of half the work, so that upsampled features never exist. This is exact up
    to rounding.

    Args:
        width: C.
        skip_width: g.
        out_width: K, a multiple of 16: one normalisation group per 16 channels.
        reads_skips: False leaves the skip features out, with their part of the convolution.

    Raises:
        ValueError: the widths do not fit.
    """

    def __init__(self, width: int, skip_width: int, out_width: int, *, reads_skips: bool = True):
        super().__init__()
        if out_width % 16 or out_width < 16 or not 0 < skip_width < width:
            raise ValueError(
                f"a decoder stage of width {width} needs a skip width below that and an output "
                f"width that is a multiple of 16, got {skip_width} and {out_width}"
            )
        self.up = nn.ConvTranspose2d(width, width - skip_width, 2, stride=2)
        self.reads_skips = reads_skips
        read = width + skip_width if reads_skips else width
        self.first = nn.Conv2d(read, out_width, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(out_width // 16, out_width)
        self.second = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(out_width // 16, out_width)

    def image_terms(self, skip: Tensor) -> ImageTerms:
        """Computes the terms that all classes share.

        Args:
            skip: (B, g, 2H, 2W), the reduced skip features; without them any map of that grid.
        """
        up_kernel, skip_kernel, _ = self._first_kernels()
        with torch.autocast(skip.device.type, enabled=False):
            # The deconvolution's kernel pushed through the convolution is the kernel of both.
            kernel = F.conv2d(self.up.weight, up_kernel, padding=2)
        # The deconvolution's bias goes through the convolution too, and less of it arrives at the
        # border, where that pads with zeros.
        bias = self.up.bias[None, :, None, None].expand(-1, -1, *skip.shape[-2:])
        share = F.conv2d(bias, up_kernel, padding=1)
        if self.reads_skips:
            share = F.conv2d(skip, skip_kernel, padding=1) + share
        else:
            share = share.repeat(len(skip), 1, 1, 1)
        return ImageTerms(kernel, share.contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor, guidance: Tensor, terms: ImageTerms) -> Tensor:
        """Fuses one stage.

        Args:
            x: (B, T, C, H, W), from the aggregation.
            guidance: (B, T, g, 2H, 2W), the cost map brought to the new grid.
            terms: of the images.

        Returns:
            (B, T, K, 2H, 2W).
        """
        guidance_kernel = self._first_kernels()[2]
        y = in_blocks(
            lambda part: self._fuse(x[:, part], guidance[:, part], terms, guidance_kernel),
            x.shape[1],
            dim=1,
            elements=terms.share.numel(),
            device=x.device,
        )
        return y.permute(0, 1, 4, 2, 3)

    def _fuse(
        self, x: Tensor, guidance: Tensor, terms: ImageTerms, guidance_kernel: Tensor
    ) -> Tensor:
        """(B, n, C, H, W), (B, n, g, 2H, 2W) -> (B, n, 2H, 2W, K)"""
        batch = x.shape[:2]
        y = F.conv_transpose2d(x.flatten(0, 1), terms.kernel, stride=2, padding=1)
        y = y.add_(F.conv2d(guidance.flatten(0, 1), guidance_kernel, padding=1))
        # Spread to the rows first: adding into a view of them would copy the gradient.
        y = y.add_(terms.share[:, None].expand(-1, batch[1], -1, -1, -1).flatten(0, 1))
        y = F.relu(self.first_norm(y), inplace=True)
        y = F.relu(self.second_norm(self.second(y)), inplace=True)
        return y.permute(0, 2, 3, 1).unflatten(0, batch)

    def _first_kernels(self) -> Tuple[Tensor, Tensor, Tensor]:
        """The first convolution's kernel by what it reads: upsampled, skip, cost guidance."""
        up = self.up.out_channels
        guidance = self.up.in_channels - up
        skips = guidance if self.reads_skips else 0
        return self.first.weight.split([up, skips, guidance], dim=1)
