"""Label maps: files whose pixels are class numbers, and masks of one object.

A label map is taken as stored: one channel of 1, 2, 4, 8, 16 or 32 bits, the indices of a palette,
or floats that are whole numbers. What the numbers mean is told by a `LabelCoding`
(label_coding.py). Colours need a colour table. JPEG is refused, because it alters the values at
the edges.

H and W are the height and width in pixels.
"""

from typing import Optional

import numpy as np
from PIL import Image

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.pictures import grey_of_8_bits
from segplugins.files.raster import Decoded, Source, decode, file_name

__all__ = ["FOREGROUND_ABOVE", "read_colours", "read_label_map", "read_mask"]

# A grey value above it belongs to the object: 128 itself is background, as salient-object
# evaluations have it.
FOREGROUND_ABOVE = 128

# Pillow spreads grey values of few bits over 0..255, which is right for pictures: these are the
# factors that bring labels back.
_SPREAD_BY = {"L;2": 85, "L;4": 17}
_WHITE_IS_ZERO = ("L;I", "L;2I", "L;4I")


class _Form(ValueError):
    """A file of another form than the reader accepts."""


def read_label_map(
    source: Source, policy: FaultPolicy = STRICT, *, what: str = "label map"
) -> Optional[np.ndarray]:
    """Returns a label map, (H, W) whole numbers as stored: uint8, uint16 or int32.

    Args:
        source: path of the file, or its content.
        policy: gets a fault "missing", "unreadable" or "map-form".
        what: for messages.

    Returns:
        The map; None if the policy lets a fault pass.
    """
    decoded = decode(source, policy, what=what)
    if decoded is None:
        return None
    try:
        return _labels(decoded)
    except _Form as error:
        policy.report(Fault("map-form", f"the {what} {error}", file_name(source)))
        return None


def read_colours(
    source: Source, policy: FaultPolicy = STRICT, *, what: str = "label map"
) -> Optional[np.ndarray]:
    """Returns the colours of a colour-coded label map, (H, W) int32: 65536 R + 256 G + B.

    Args:
        source: path of the file, or its content.
        policy: gets a fault "missing", "unreadable" or "map-form".
        what: for messages.
    """
    decoded = decode(source, policy, what=what)
    if decoded is None:
        return None
    try:
        _check_map(decoded)
        image = decoded.image
        if image.mode not in ("RGB", "RGBA", "P") or ";16" in decoded.raw_mode:
            raise _Form(
                f"has pixels of kind {decoded.raw_mode or image.mode}, expected RGB of 8 bits, "
                "because the set has label_colours"
            )
        rgb = np.asarray(image if image.mode == "RGB" else _without_alpha(image)).astype(np.int32)
        return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    except _Form as error:
        policy.report(Fault("map-form", f"the {what} {error}", file_name(source)))
        return None


def read_mask(
    source: Source, policy: FaultPolicy = STRICT, *, what: str = "mask"
) -> Optional[np.ndarray]:
    """Returns a mask of one object, (H, W) bool: where the grey value is above 128 of 255.

    Colours count by their brightness, values of 16 bits and floats as in pictures. A mask of 0 and
    1 would show nothing, and is a fault.

    Args:
        source: path of the file, or its content.
        policy: gets a fault "missing", "unreadable" or "map-form".
        what: for messages.
    """
    decoded = decode(source, policy, what=what)
    if decoded is None:
        return None
    try:
        return _grey(decoded) > FOREGROUND_ABOVE
    except ValueError as error:
        policy.report(Fault("map-form", f"the {what} {error}", file_name(source)))
        return None


def _check_map(decoded: Decoded) -> None:
    if decoded.image.format in ("JPEG", "MPO"):
        raise _Form("is a JPEG, which alters values at edges; save class indices as PNG")
    if decoded.orientation != 1:
        raise _Form(
            f"is turned by EXIF orientation {decoded.orientation}, expected pixels as they are "
            "stored; save it without EXIF data"
        )


def _labels(decoded: Decoded) -> np.ndarray:
    _check_map(decoded)
    image, raw_mode = decoded.image, decoded.raw_mode
    if raw_mode.split(" ")[0] in _WHITE_IS_ZERO:
        raise _Form("stores white as 0, so that its numbers are inverted; save black as 0")
    labels = np.asarray(image)
    if labels.ndim != 2:
        raise _Form(
            f"has {labels.shape[2]} channels ({image.mode}), expected one channel of whole "
            "numbers; save class indices, or describe the colours with label_colours"
        )
    if labels.dtype.kind == "f":
        return _whole_numbers(labels)
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    factor = _SPREAD_BY.get(raw_mode)
    if factor is not None:
        return labels // np.uint8(factor)
    return labels.astype(labels.dtype.newbyteorder("="), copy=False)


def _whole_numbers(labels: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int32)
    wrong = whole != labels
    if wrong.any():
        raise _Form(
            f"holds the float {labels[wrong][0]:g} in {wrong.sum()} pixels in all that are no "
            "whole numbers; save class indices"
        )
    return whole


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _grey(decoded: Decoded) -> np.ndarray:
    image = decoded.image
    if decoded.orientation != 1:
        raise _Form(f"is turned by EXIF orientation {decoded.orientation}; save it without")
    if image.mode[0] in "IF":
        return grey_of_8_bits(np.asarray(image))
    grey = np.asarray(_without_alpha(image).convert("L") if image.mode == "P" else _as_grey(image))
    highest = grey.max(initial=0)
    if highest == 0 and image.mode in ("RGBA", "LA") and _varies(image.getchannel("A")):
        raise _Form("shows its object by transparency alone; save it in grey, the object as 255")
    # A soft mask may stay below the threshold, one of two values was stored by another rule.
    if 0 < highest <= FOREGROUND_ABOVE and (
        highest == 1 or image.mode == "P" or len(np.unique(grey)) <= 2
    ):
        raise _Form(
            f"holds grey values up to {highest} only, and the object is what is above "
            f"{FOREGROUND_ABOVE}; save the object as 255"
        )
    return grey


def _varies(channel: Image.Image) -> bool:
    low, high = channel.getextrema()
    return low != high


def _as_grey(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else image.convert("L")
