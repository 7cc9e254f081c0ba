"""What can be wrong with the image of a record: missing, damaged, of another size, turned."""

from typing import Any, Iterator, Mapping, Optional, Tuple

import numpy as np
from PIL import Image

from segplugins.data.read_images import read_file
from segplugins.files.faults import Fault

_ORIENTATION = 274  # of EXIF: 1 = as stored, 3 = upside down, 5-8 = on its side
_WITH_EXIF = ("JPEG", "MPO", "TIFF", "WEBP")
# What "RGB" makes of these is not what they show: values above 255 are cut.
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")


def image_faults(
    record: Mapping[str, Any], position: int
) -> Tuple[Optional[np.ndarray], Tuple[Fault, ...]]:
    """Reads an image as training does.

    Args:
        record: of the catalog.
        position: of the record in the set.

    Returns:
        (H, W, 3) uint8 RGB, or None where it cannot be read, and what is wrong.
    """
    path = record["file_name"]
    where = {"file": path, "record": record_id(record), "position": position}
    try:
        image = np.asarray(read_file(path, record, format="RGB", what="image"))
    except (FileNotFoundError, ValueError) as error:
        return None, (unreadable(error, "image", **where),)
    stored, orientation, mode = _header(path)
    faults = tuple(
        Fault(kind, message, field="height, width" if not remark else "", remark=remark, **where)
        for kind, message, remark in _header_faults(record, image, stored, orientation, mode)
    )
    return image, faults


def record_id(record: Mapping[str, Any]) -> str:
    """Returns what messages call a record: the values of what tells it from the others."""
    known = ("image_id", "ref_id", "video_id", "expression_id", "frame")
    return "/".join(str(record[key]) for key in known if key in record)


def unreadable(error: Exception, what: str, **where: Any) -> Fault:
    """Returns the fault of a file that is not there or cannot be decoded."""
    if isinstance(error, FileNotFoundError):
        return Fault("missing", f"the {what} does not exist", **where)
    reason = " ".join(str(error.__cause__ or error).split())
    return Fault("unreadable", f"the {what} cannot be read: {reason}", **where)


def _header(path: str) -> Tuple[Tuple[int, int], int, str]:
    """Returns the stored size (height, width), the EXIF orientation and the mode."""
    with Image.open(path) as image:
        # Asked of a PNG, Pillow decodes it whole to see whether EXIF data stand at its end.
        known = image.format in _WITH_EXIF or "exif" in image.info
        orientation = image.getexif().get(_ORIENTATION, 1) if known else 1
        return (image.height, image.width), orientation, image.mode


def _header_faults(
    record: Mapping[str, Any],
    image: np.ndarray,
    stored: Tuple[int, int],
    orientation: int,
    mode: str,
) -> Iterator[Tuple[str, str, bool]]:
    """Yields kind, message and whether it is a remark."""
    size = image.shape[:2]
    expected = (record.get("height", size[0]), record.get("width", size[1]))
    if expected != size and expected == stored and orientation != 1:
        yield (
            "exif",
            f"EXIF orientation {orientation} turns the image to {_x(size)} (height x width), the "
            f"record says {_x(expected)}, as it is stored: were the annotations made unturned?",
            False,
        )
    elif expected != size:
        message = f"the image is {_x(size)} (height x width), the record says {_x(expected)}"
        yield "image-size", message, False
    elif orientation not in (0, 1):
        message = f"EXIF orientation {orientation} turns the image; do the annotations follow?"
        yield "exif", message, True
    if mode in _DEEP_MODES:
        yield "image-mode", f"mode {mode}: values above 255 are cut, not scaled", True


def _x(size: Tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
