"""Decoding of raster files: what pictures, label maps, masks and panoptic ids have in common.

Only the formats below are decoded. Pillow knows others, some of which (EPS) start other programs.
"""

import io
import logging
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from segplugins.files.faults import Fault, FaultPolicy
from segplugins.files.plain_files import check_plain_file
from segplugins.files.values import MAX_PIXELS

logger = logging.getLogger(__name__)

Source = Union[str, Path, bytes]

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
# How file names of these formats end. Case does not matter.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm"),
)
# Values are altered where these are saved, so labels cannot be trusted.
LOSSY_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp")

_ORIENTATION = 274  # of EXIF: 1 = as stored, 3 = upside down, 5-8 = on its side
# What stands behind the first picture of an MPO is no picture of its own.
_WITH_FRAMES = ("GIF", "PNG", "TIFF", "WEBP")
_WITH_EXIF = ("JPEG", "MPO", "TIFF", "WEBP")


class Decoded(NamedTuple):
    """A decoded file.

    Args:
        image: Pillow's image, loaded. Pixels of a TIFF are turned already.
        raw_mode: how the file stores its pixels, such as "RGB;16B".
        orientation: EXIF orientation, 1 to 8.
    """

    image: Image.Image
    raw_mode: str
    orientation: int

    @property
    def is_turned(self) -> bool:
        """Whether the pixels of `image` follow the orientation already."""
        return self.image.format == "TIFF"


class Header(NamedTuple):
    """What a raster file says before its pixels are decoded.

    Args:
        stored_size: (height, width) of the pixels as stored.
        orientation: EXIF orientation, 1 to 8.
        mode: Pillow's name of the kind of pixels, such as "RGB" or "I;16".
        format: one of `FORMATS`, or "MPO", a JPEG with further pictures behind the first.
    """

    stored_size: Tuple[int, int]
    orientation: int
    mode: str
    format: str

    @property
    def size(self) -> Tuple[int, int]:
        """(height, width) of the picture as it is shown, turned as its EXIF data say."""
        return self.stored_size[::-1] if self.orientation >= 5 else self.stored_size


def read_header(source: Source, policy: FaultPolicy, *, what: str = "image") -> Optional[Header]:
    """Returns what a raster file says about itself; None if the policy lets a fault pass.

    EXIF data of a PNG are found only in front of its pixels.

    Args:
        source: path of the file, or its content.
        policy: gets a fault "missing" or "unreadable".
        what: "image", "label map", ..., for messages.
    """
    try:
        with _open(source, FORMATS) as image:
            orientation = _orientation(image)
            height, width = image.height, image.width
            if image.format == "TIFF" and orientation >= 5:  # Pillow has exchanged them already
                height, width = width, height
            return Header((height, width), orientation, image.mode, image.format)
    except Exception as error:  # decoders of damaged files raise whatever they please
        policy.report(_fault(error, source, what))
        return None


def decode(
    source: Source, policy: FaultPolicy, *, what: str, formats: Sequence[str] = FORMATS
) -> Optional[Decoded]:
    """Returns the decoded file; None if the policy lets a fault pass.

    Of a file of several pictures, such as a moving GIF, it is the first, and a warning says so.

    Args:
        source: path of the file, or its content.
        policy: gets a fault "missing", or "unreadable": no such format, cut off, damaged, or of
            more than `MAX_PIXELS`.
        what: "image", "label map", ..., for messages.
        formats: those of Pillow that are accepted.
    """
    try:
        with _open(source, formats) as image:
            raw_mode = " ".join(str(tile[3]) for tile in image.tile)
            # Asked before the pixels are decoded, of a damaged PNG Pillow would look for EXIF data,
            # ignore the damage, and the half that was decoded would pass for the image.
            orientation = _orientation(image) if image.format in _WITH_EXIF else 0
            frames = image.format in _WITH_FRAMES and getattr(image, "is_animated", False)
            image.load()
            if frames:
                _warn_of_frames(file_name(source) or what)
            return Decoded(image, raw_mode, orientation or _orientation(image))
    except Exception as error:  # decoders of damaged files raise whatever they please
        policy.report(_fault(error, source, what))
        return None


@lru_cache(maxsize=4096)  # once for each file
def _warn_of_frames(name: str) -> None:
    logger.warning(
        "%s holds several pictures and the first one is read; to have them all, save each as a "
        "file of its own, or the whole as a video",
        name,
    )


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns pixels as stored, (H, W, ...), turned as an EXIF orientation says: a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down = orientation in (3, 4, 7, 8)
    right = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if down else 1, :: -1 if right else 1]


def turn_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns pixels as stored from those that `turn` gave: a view."""
    # Turning by a quarter is undone by the quarter the other way; all others undo themselves.
    return turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def size_text(size: Sequence[int]) -> str:
    """Returns "480x640", height x width, for messages."""
    return f"{size[0]}x{size[1]}"


def file_name(source: Source) -> str:
    """Returns the path of a source, "" of bytes, for the field of a fault."""
    return "" if isinstance(source, bytes) else str(source)


def _open(source: Source, formats: Sequence[str]) -> Image.Image:
    if not isinstance(source, bytes):
        check_plain_file(source)
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError(
            f"it is {image.width}x{image.height} pixels, expected at most {MAX_PIXELS}"
        )
    return image


def _orientation(image: Image.Image) -> int:
    if image.format not in _WITH_EXIF and "exif" not in image.info:
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged block: the picture is as good as one without
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_empty(source: Source) -> bool:
    return (len(source) if isinstance(source, bytes) else Path(source).stat().st_size) == 0


def _fault(error: Exception, source: Source, what: str) -> Fault:
    file = file_name(source)
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        step = "copy it there, or take the record out of the data set"
        return Fault("missing", f"the {what} does not exist; {step}", file)
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError) and _is_empty(source):
        reason = "it is empty, 0 bytes"
    elif isinstance(error, UnidentifiedImageError):
        reason = f"it is none of {', '.join(FORMATS)}"
    step = "replace the file, or take the record out of the data set"
    return Fault("unreadable", f"the {what} cannot be read ({reason}); {step}", file)
