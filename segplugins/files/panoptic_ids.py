"""Panoptic maps: pictures whose colour is the number of a segment, R + 256 G + 65536 B."""

from typing import Optional

import cv2
import numpy as np

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.plain_files import read_plain_file
from segplugins.files.raster import Source, decode, file_name
from segplugins.files.values import MAX_PIXELS

__all__ = ["read_segment_ids"]

# Reads a pixel as R + 256 G + 65536 B whatever the byte order of the machine.
_PIXEL = np.dtype("<u4")
_PNG = b"\x89PNG\r\n\x1a\n"
# Neither turned as metadata say, nor blended with alpha, nor in OpenCV's own order of channels.
_AS_IN_FILE = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_PLAIN = (b"\x08\x02", b"\x08\x06")  # 8 bits; RGB, RGBA


def read_segment_ids(
    source: Source, policy: FaultPolicy = STRICT, *, what: str = "panoptic map"
) -> Optional[np.ndarray]:
    """Returns the segment id of every pixel of a panoptic PNG.

    Args:
        source: path of the file, or its content.
        policy: gets a fault "missing", "unreadable" or "map-form".
        what: for messages.

    Returns:
        (H, W) uint32, 0 = no segment; None if the policy lets a fault pass. A palette is looked up;
        alpha is left out.
    """
    ids = _plain_ids(source)
    if ids is not None:
        return ids
    decoded = decode(source, policy, what=what, formats=("PNG",))
    if decoded is None:
        return None
    image = decoded.image
    if image.mode not in ("RGB", "RGBA", "P") or ";16" in decoded.raw_mode:
        message = (
            f"the {what} has pixels of kind {decoded.raw_mode}, expected RGB of 8 bits: an id is "
            "R + 256 G + 65536 B"
        )
        policy.report(Fault("map-form", message, file_name(source)))
        return None
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    # Pillow keeps colours in four bytes a pixel: as they stand they are the number.
    pixels = image.tobytes("raw", "RGBX" if image.mode == "RGB" else "RGBA")
    ids = np.frombuffer(pixels, _PIXEL) & 0xFFFFFF
    return ids.reshape(image.height, image.width)


def _plain_ids(source: Source) -> Optional[np.ndarray]:
    """Returns the ids of a PNG of 8 bits and three or four channels, which most are.

    OpenCV decodes it faster than Pillow. None where the file is another one, or damaged: what is
    wrong with it is then said by the other way.
    """
    try:
        content = source if isinstance(source, bytes) else read_plain_file(source)
    except OSError:
        return None
    if content[:8] != _PNG or content[12:16] != b"IHDR" or content[24:26] not in _PLAIN:
        return None
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    if width * height > MAX_PIXELS:
        return None
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _AS_IN_FILE)
    if pixels is None:
        return None
    ids = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA).view(_PIXEL)[..., 0]
    ids &= 0xFFFFFF
    return ids
