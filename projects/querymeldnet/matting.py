"""Controllable matting: the mask of a phrase, refined to an alpha matte (Fig. 7d).

    python -m segplugins.projects.querymeldnet.matting --input cat.jpg --prompt "the cat" \\
        --output mattes/ --config-file configs/querymeldnet/tiny.yaml MODEL.WEIGHTS model.pth

writes <picture>.alpha0.png (0-255), one per prompt, and <picture>.cutout0.png, the object on a
transparent ground. The mask gives a trimap: what certainly belongs to the object, what certainly
does not, and the unknown band between, where a refiner decides. The default is a guided filter,
which has nothing to learn; --network names weights of matting_network.py.

H W pixels.
"""

import argparse
import math
from pathlib import Path
from typing import List, Protocol, Tuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segplugins.engine.command import add_config_arguments, command_parser, run_command

BACKGROUND, UNKNOWN, FOREGROUND = 0, 1, 2  # values of a trimap


class MattingRefiner(Protocol):
    """Decides on the unknown band of a trimap."""

    def __call__(self, image: Tensor, trimap: Tensor) -> Tensor:
        """Returns (H, W) alpha in [0, 1] of an image (3, H, W) 0-1 and a trimap (H, W) int64."""
        ...


def band_radius(mask: Tensor, share: float) -> int:
    """Returns the half width of the unknown band in pixels, a share of the box's diagonal.

    It is at least 1.

    Args:
        mask: (H, W) bool.
        share: 0.015 is 1.5 %.
    """
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if not len(rows):
        return 1
    height = int(rows[-1] - rows[0]) + 1
    width = int(columns[-1] - columns[0]) + 1
    return max(1, round(share * math.hypot(height, width)))


def trimap_of_mask(mask: Tensor, radius: int) -> Tensor:
    """Returns (H, W) int64: `FOREGROUND`, `BACKGROUND`, and `UNKNOWN` up to `radius` off the edge.

    The border of the image is no edge of the mask.

    Args:
        mask: (H, W) bool.
        radius: in pixels, of the discs that erode and dilate.
    """
    trimap = torch.full(mask.shape, UNKNOWN, dtype=torch.int64, device=mask.device)
    trimap[~_dilated(~mask, radius)] = FOREGROUND
    trimap[~_dilated(mask, radius)] = BACKGROUND
    return trimap


def _dilated(mask: Tensor, radius: int) -> Tensor:
    """Returns (H, W) bool: pixels at most `radius` from a pixel of the mask."""
    reach = torch.arange(-radius, radius + 1, device=mask.device)
    disc = (reach[:, None].square() + reach.square() <= radius * radius).float()
    counts = F.conv2d(mask[None, None].float(), disc[None, None], padding=radius)
    return counts[0, 0] > 0.5


def box_mean(maps: Tensor, radius: int) -> Tensor:
    """Returns (C, H, W): means of maps (C, H, W) over square windows, cut at the border.

    By sums up to each row and column, so that large windows cost no more than small ones.
    """
    for dim in (1, 2):
        side = maps.shape[dim]
        sums = F.pad(maps.cumsum(dim), (0, 0, 1, 0) if dim == 1 else (1, 0))
        places = torch.arange(side, device=maps.device)
        first, last = (places - radius).clamp_min(0), (places + radius + 1).clamp_max(side)
        shape = (1, side, 1) if dim == 1 else (1, 1, side)
        total = sums.index_select(dim, last) - sums.index_select(dim, first)
        maps = total / (last - first).view(shape)
    return maps


class GuidedFilter:
    """Alpha as a linear function of the colours around each pixel (He et al., ECCV 2010).

    In every window a and b minimise mean (a · I + b - p)^2 + epsilon |a|^2 over the pixels that are
    certain, p = 1 in the foreground and 0 in the background. Alpha is the mean of a · I + b over
    the windows of a pixel, of which those that see both kinds weigh most. Pixels whose windows see
    nothing certain get windows of twice the size; without any certain pixel alpha is 1/2.

    Args:
        radius: of the square windows, in pixels.
        epsilon: holds a small where colours hardly differ.
    """

    def __init__(self, radius: int = 8, epsilon: float = 1e-4):
        if radius < 1 or epsilon <= 0:
            raise ValueError(
                f"radius must be at least 1 and epsilon above 0, got {radius} and {epsilon}"
            )
        self.radius, self.epsilon = radius, epsilon

    def __call__(self, image: Tensor, trimap: Tensor) -> Tensor:
        """Returns (H, W) alpha, see `MattingRefiner`."""
        alpha = torch.full(trimap.shape, 0.5, dtype=torch.float64, device=image.device)
        missing, radius = trimap == UNKNOWN, self.radius
        while missing.any() and radius < 2 * max(trimap.shape):
            found, informed = self._alpha(image.double(), trimap, radius)
            alpha = torch.where(missing & informed, found, alpha)
            missing, radius = missing & ~informed, 2 * radius
        alpha = torch.where(trimap == UNKNOWN, alpha, (trimap == FOREGROUND).to(alpha.dtype))
        return alpha.to(image.dtype)

    def _alpha(self, colours: Tensor, trimap: Tensor, radius: int) -> Tuple[Tensor, Tensor]:
        """Returns (H, W) alpha, and (H, W) whether any window of a pixel sees a certain pixel."""

        def averaged(maps: Tensor) -> Tensor:
            return box_mean(maps, radius)

        # The band itself says nothing: it is weighed out of the windows.
        weight = (trimap != UNKNOWN).to(colours.dtype)
        mask = (trimap == FOREGROUND).to(colours.dtype)
        total = averaged(weight[None]).clamp_min(1e-12)
        mean = averaged(colours * weight) / total
        mask_mean = averaged((mask * weight)[None]) / total
        products = colours[:, None] * colours[None]
        second = averaged((products * weight).flatten(0, 1)) / total
        covariance = second.view(3, 3, *weight.shape) - mean[:, None] * mean[None]
        cross = averaged(colours * mask * weight) / total - mean * mask_mean
        eye = self.epsilon * torch.eye(3, dtype=colours.dtype, device=colours.device)
        matrices = covariance.permute(2, 3, 0, 1) + eye
        slope = torch.linalg.solve(matrices, cross.permute(1, 2, 0)[..., None])[..., 0]
        slope = slope.permute(2, 0, 1)
        offset = mask_mean - (slope * mean).sum(dim=0, keepdim=True)
        # Windows with both kinds know best, those without a certain pixel nothing.
        useful = (mask_mean * (1 - mask_mean)).clamp_min(1e-3) * (total > 1e-9)
        counted = averaged(useful)
        slope = averaged(slope * useful) / counted.clamp_min(1e-12)
        offset = averaged(offset * useful) / counted.clamp_min(1e-12)
        alpha = (slope * colours).sum(dim=0) + offset[0]
        return alpha.clamp(0, 1), counted[0] > 1e-9


def refined_alpha(image: Tensor, mask: Tensor, refiner: MattingRefiner, share: float) -> Tensor:
    """Returns (H, W) float32 alpha of a mask: the refiner's in the unknown band, 0 or 1 elsewhere.

    Args:
        image: (3, H, W) RGB, 0-1.
        mask: (H, W) bool.
        refiner: see `MattingRefiner`.
        share: half width of the band as a share of the diagonal of the mask's box.

    Raises:
        ValueError: the mask has another size than the image, or the share is not above 0.
    """
    if tuple(mask.shape) != tuple(image.shape[1:]):
        raise ValueError(f"mask {tuple(mask.shape)} for an image {tuple(image.shape[1:])}")
    if not 0 < share < 1:
        raise ValueError(f"the share of the unknown band must lie in (0, 1), got {share}")
    trimap = trimap_of_mask(mask, band_radius(mask, share))
    alpha = (trimap == FOREGROUND).float()
    band = trimap == UNKNOWN
    if band.any():
        alpha[band] = refiner(image, trimap).float()[band]
    return alpha


def write_mattes(
    picture: Path, masks: np.ndarray, image: np.ndarray, output: Path, **options
) -> List[Path]:
    """Writes alpha mattes and cut-outs of the masks of a picture; returns their paths.

    Args:
        picture: its file, for the names.
        masks: (N, H, W) bool.
        image: (H, W, 3) uint8 RGB.
        output: folder, made if need be.
        options: of `refined_alpha`.
    """
    output.mkdir(parents=True, exist_ok=True)
    colours = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    written = []
    for number, mask in enumerate(masks):
        alpha = refined_alpha(colours, torch.from_numpy(mask.copy()), **options)
        grey = (255 * alpha).round().byte().numpy()
        for kind, pixels in (("alpha", grey), ("cutout", np.dstack([image, grey]))):
            path = output / f"{picture.stem}.{kind}{number}.png"
            Image.fromarray(pixels).save(path)
            written.append(path)
    return written


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    parser.add_argument("--input", required=True, type=Path, help="a picture")
    parser.add_argument("--prompt", action="append", required=True, help="phrase; repeat for more")
    parser.add_argument("--output", type=Path, default=Path("output/mattes"), help="folder")
    parser.add_argument(
        "--band",
        type=float,
        default=0.015,
        help="half width of the unknown band, as a share of the diagonal of the object's box "
        "(default: %(default)s)",
    )
    parser.add_argument("--network", type=Path, help="weights of the matting network")
    add_config_arguments(parser, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    """Segments the picture by its prompts and refines the masks."""
    from segplugins.prediction.inputs import read_picture
    from segplugins.prediction.loading import load

    from .matting_network import load_matting_network

    refiner: MattingRefiner = GuidedFilter()
    if args.network is not None:
        refiner = load_matting_network(args.network)
    frame = read_picture(args.input)
    result = load(args.config_file, options=args.opts)(args.input, prompts=args.prompt)
    masks = np.stack([result.mask(prompt) for prompt in result.names])
    write_mattes(args.input, masks, frame.image, args.output, refiner=refiner, share=args.band)


if __name__ == "__main__":
    run_command(main, parser())
