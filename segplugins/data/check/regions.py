"""What can be wrong with one region of an image: its text, its box, its mask."""

from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence, Tuple

import numpy as np

from segplugins.structures.regions import Region, check_box, decode_mask

# Annotation tools round up to half a pixel and more; what is farther outside was meant otherwise.
_BEYOND = 2.0


@dataclass(frozen=True)
class RegionFault:
    """See `Fault`; `field` is "text", "box" or "mask"."""

    kind: str
    field: str
    message: str
    remark: bool = False


def region_faults(region: Region, height: int, width: int) -> Iterator[RegionFault]:
    """Finds what is wrong with a region, its mask drawn.

    Args:
        region: of an image.
        height: H of the image in pixels.
        width: W of the image in pixels.
    """
    yield from cheap_faults(region, height, width)
    if region.mask is None:
        return
    try:
        bitmap = decode_mask(region.mask, height, width)
    except ValueError as error:
        yield RegionFault(_mask_kind(region.mask), "mask", str(error))
        return
    if not bitmap.any():
        # It lies in the image, or reading would have stopped: thinner than a pixel.
        message = "the mask covers no pixel of the image; training leaves it out"
        yield RegionFault("empty-mask", "mask", message, remark=True)
    elif not isinstance(region.mask, Mapping):
        yield from _outside(region.mask, height, width)


def cheap_faults(region: Region, height: int, width: int) -> Iterator[RegionFault]:
    """Finds what can be found without drawing the mask; training asks this of every region."""
    if not isinstance(region.text, str) or not region.text.strip():
        yield RegionFault("sentence", "text", f"the text is {region.text!r:.40}")
    for sentence in region.extra.get("sentences", ()):
        if not isinstance(sentence, str) or not sentence.strip():
            yield RegionFault("sentence", "text", f"a sentence is {sentence!r:.40}")
    if region.box is not None:
        yield from _box_faults(region, height, width)


def check_regions(regions: Sequence[Region], height: int, width: int) -> None:
    """Stops at the first region whose text or box would make a wrong target.

    Where there is a mask the box is made from it, so that a wrong one does no harm. Masks are
    checked where they are drawn.

    Raises:
        ValueError: the message names the region and what is wrong.
    """
    for region in regions:
        for fault in cheap_faults(region, height, width):
            if not fault.remark and (fault.field != "box" or region.mask is None):
                raise ValueError(f"region '{region.text}', {fault.field}: {fault.message}")


def _box_faults(region: Region, height: int, width: int) -> Iterator[RegionFault]:
    try:
        check_box(region.box)
    except ValueError as error:
        yield RegionFault("box", "box", str(error))
        return
    x0, y0, x1, y1 = region.box
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        message = f"{tuple(region.box)} lies outside the {height}x{width} image"
        yield RegionFault("box", "box", message)
    elif min(x0, y0) < -_BEYOND or x1 > width + _BEYOND or y1 > height + _BEYOND:
        message = f"{tuple(region.box)} reaches beyond the {height}x{width} image; it is cut"
        yield RegionFault("box", "box", message, remark=True)


def _mask_kind(mask: object) -> str:
    return "rle" if isinstance(mask, Mapping) else "polygon"


def _outside(polygons: Sequence, height: int, width: int) -> Iterator[RegionFault]:
    low, high = _extent(polygons)
    if min(low) < -_BEYOND or high[0] > width + _BEYOND or high[1] > height + _BEYOND:
        message = (
            f"a polygon reaches from {low} to {high} (x, y), beyond the {height}x{width} image; "
            "it is cut"
        )
        yield RegionFault("polygon", "mask", message, remark=True)


def _extent(polygons: Sequence) -> Tuple[Tuple[float, float], Tuple[float, float]]:
    points = np.concatenate([np.asarray(p, np.float64).reshape(-1, 2) for p in polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))
