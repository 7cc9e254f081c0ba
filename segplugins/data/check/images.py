"""What can be wrong with the image of a record: missing, damaged, of another size, turned."""

from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np

from segplugins.data.read_images import read_image
from segplugins.files.faults import Collect, Fault, InRecord


def image_faults(
    record: Mapping[str, Any], position: int
) -> Tuple[Optional[np.ndarray], Sequence[Fault]]:
    """Reads an image as training does.

    Args:
        record: of the catalog.
        position: of the record in the set.

    Returns:
        (H, W, 3) uint8 RGB, or None if it has a fault, and its faults and remarks.
    """
    collected = Collect()
    image = read_image(record, InRecord(collected, record_id(record), position))
    return image, collected.faults


def record_id(record: Mapping[str, Any]) -> str:
    """Returns the name of a record in messages: the values that tell it from the others."""
    keys = ("image_id", "ref_id", "video_id", "expression_id", "frame")
    return "/".join(str(record[key]) for key in keys if key in record)
