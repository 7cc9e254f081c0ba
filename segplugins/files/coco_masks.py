"""Masks of annotations that are still the text of their JSON file.

The numbers of polygons are nearly all of a file of instances. They are read some hundred objects at
a time, right before they are checked: then they are still in the cache of the processor.
"""

from typing import Any, List, Sequence

import msgspec
import numpy as np

from segplugins.files.json_file import parse_json


def read_mask_texts(annotations: Sequence[Any], path: str) -> None:
    """Replaces the JSON text of masks by what it says; other masks stay as they are.

    Args:
        annotations: entries as decoded, with "segmentation" and "position".
        path: of their file, for messages.

    Raises:
        ValueError: a text is no JSON.
    """
    written = [a for a in annotations if type(a.segmentation) is msgspec.Raw]
    if not written:
        return
    text = b"[%b]" % b",".join([annotation.segmentation for annotation in written])
    try:
        masks = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        masks = [_mask(annotation, path) for annotation in written]
    for annotation, mask in zip(written, masks):
        annotation.segmentation = mask


def _mask(annotation: Any, path: str) -> Any:
    place = f"annotation file {path}, segmentation of annotations[{annotation.position}]"
    return parse_json(bytes(annotation.segmentation), place)


def span_of_masks(annotations: List[Any], data: bytes) -> slice:
    """Returns a part of a JSON file that lies within the list of its annotations.

    Args:
        annotations: entries as decoded from `data`, in their order.
        data: the file.

    Returns:
        From the first mask that is still text to the last; empty where there is none.
    """
    written = [a.segmentation for a in annotations if type(a.segmentation) is msgspec.Raw]
    if not written:
        return slice(0, 0)
    first, last = (_address(mask) for mask in (written[0], written[-1]))
    start = first - _address(data)
    return slice(start, start + last - first)


def _address(buffer: Any) -> int:
    return np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
