"""Pictures: any file that a camera or a program wrote, to RGB of 8 bits.

What files of other kinds become is decided here, for training, evaluation, checks and tools alike:

    grey, palette, CMYK       converted to RGB
    transparency              left out; colours stay as the file has them
    16 bits a channel         the full range: value // 256. A picture whose values all lie below
                              4096 (12 bits) would come out nearly black and is refused
    32-bit whole numbers      as 16 bits, if they lie within 0 to 65535; refused otherwise
    floats                    255 * value, if they lie within 0 to 1; refused otherwise

H and W are the height and width in pixels.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
from PIL import Image

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.raster import (
    Source,
    decode,
    file_name,
    turn,
    turn_back,
)

__all__ = ["Picture", "grey_of_8_bits", "read_picture"]

_DARKEST = 4096  # of 16 bits: less than this at the brightest pixel is a scale of its own
_STRIP_PIXELS = 2**24  # of a large picture, copied at a time
_STEP = "save the picture in 8 bits, scaled to 0..255"


@dataclass(frozen=True)
class Picture:
    """A picture as it is shown.

    Args:
        pixels: (H, W, 3) uint8 RGB, turned as the EXIF data say.
        orientation: the EXIF orientation, 1 to 8.
    """

    pixels: np.ndarray
    orientation: int = 1

    @property
    def size(self) -> Tuple[int, int]:
        """(H, W) as it is shown."""
        return self.pixels.shape[:2]

    def fitted(self, size: Optional[Tuple[int, int]]) -> np.ndarray:
        """Returns the pixels in the direction that annotations of a size were made in.

        Annotations are made on the picture as shown, or by programs that ignore EXIF data on the
        picture as stored; public sets have both kinds. If `size` is that of the picture as stored
        and not as shown, the pixels are returned as stored, otherwise as shown.

        Args:
            size: (H, W) of the annotations or of the label map; None = unknown.
        """
        is_stored = size is not None and tuple(size) == self.size[::-1] != self.size
        if self.orientation >= 5 and is_stored:
            return np.ascontiguousarray(turn_back(self.pixels, self.orientation))
        return self.pixels


def read_picture(
    source: Source, policy: FaultPolicy = STRICT, *, what: str = "image"
) -> Optional[Picture]:
    """Returns a picture as RGB of 8 bits; see the module for what other kinds become.

    Args:
        source: path of the file, or its content.
        policy: gets a fault "missing", "unreadable" or "pixel-range".
        what: for messages.

    Returns:
        The picture; None if the policy lets a fault pass.
    """
    decoded = decode(source, policy, what=what)
    if decoded is None:
        return None
    try:
        pixels = _rgb(decoded.image, decoded.raw_mode)
    except _PixelRange as error:
        policy.report(Fault("pixel-range", f"the {what} {error}; {_STEP}", file_name(source)))
        return None
    except (ValueError, OSError) as error:  # Pillow cannot convert every kind, such as LAB
        message = f"the {what} cannot be converted to RGB ({error}); {_STEP}"
        policy.report(Fault("unreadable", message, file_name(source)))
        return None
    if decoded.orientation != 1 and not decoded.is_turned:
        pixels = np.ascontiguousarray(turn(pixels, decoded.orientation))
    return Picture(pixels, decoded.orientation)


class _PixelRange(ValueError):
    """Values that no rule brings to 8 bits."""


def _rgb(image: Image.Image, raw_mode: str) -> np.ndarray:
    """Returns (H, W, 3) uint8."""
    if image.mode[0] in "IF":
        grey = grey_of_8_bits(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=2)
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")
    pixels = _in_strips(image if image.mode == "RGB" else image.convert("RGB"))
    if ";16" in raw_mode:  # Pillow has kept the upper 8 of 16 bits
        _check_not_dark(256 * int(pixels.max(initial=0)) + 255)
    return pixels


def _in_strips(image: Image.Image) -> np.ndarray:
    """Returns (H, W, 3) uint8 of an RGB image; Pillow alone would hold three copies of it."""
    rows = max(1, _STRIP_PIXELS // image.width)
    if rows >= image.height:
        return np.asarray(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(strip)
    return pixels


def grey_of_8_bits(values: np.ndarray) -> np.ndarray:
    """Brings grey values of 16 bits, 32 bits or floats to 8 bits; see the module for the rule.

    Args:
        values: (H, W).

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: the values are outside the range, or use a small part of it; the message gives
            their range.
    """
    if not values.size:
        return values.astype(np.uint8)
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # also if one is not a number
            raise _PixelRange(f"holds floats from {low:g} to {high:g}, expected 0 to 1")
        return np.rint(values * 255.0).astype(np.uint8)
    if low < 0 or high > 65535:
        raise _PixelRange(f"holds whole numbers from {low} to {high}, expected 0 to 65535")
    if high > 0:
        _check_not_dark(int(high))
    return (values // 256).astype(np.uint8)


def _check_not_dark(high: int) -> None:
    if high < _DARKEST:
        raise _PixelRange(
            f"holds 16-bit values up to {high} only, which value // 256 would make nearly black"
        )
