"""Panoptic maps: pictures whose colour is the number of a segment, R + 256 G + 65536 B."""

from typing import Optional

import numpy as np

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.raster import Source, decode, file_name

__all__ = ["read_segment_ids"]

# Reads a pixel as R + 256 G + 65536 B whatever the byte order of the machine.
_PIXEL = np.dtype("<u4")


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
