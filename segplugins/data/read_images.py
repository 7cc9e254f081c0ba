"""The image of a catalog record, in the direction that its annotations were made in.

H and W are the height and width in pixels.
"""

from typing import Any, Mapping, Optional, Tuple

import numpy as np

from segplugins.files.faults import STRICT, Fault, FaultPolicy, InRecord
from segplugins.files.pictures import Picture, read_picture
from segplugins.files.raster import read_header, size_text

# Keys of a record that name a file of the size of its image.
_MAPS = ("sem_seg_file_name", "pan_seg_file_name", "mask_file_name", "label_file_name")


def record_name(record: Mapping[str, Any]) -> str:
    """Returns the name of a catalog record in messages: its id, and its data set if it has one."""
    return f"record {_id(record)}"


def strict_for(record: Mapping[str, Any]) -> FaultPolicy:
    """Returns the strict policy; its messages name the record."""
    return InRecord(STRICT, _id(record))


def read_image(record: Mapping[str, Any], policy: Optional[FaultPolicy] = None) -> np.ndarray:
    """Returns the image of a catalog record, (H, W, 3) uint8 RGB.

    It is turned as its EXIF data say, unless the annotations were made on the picture as stored:
    if the record's "height" and "width", or else its label map, have the size of the picture as
    stored and not as shown. See `read_picture` for the kinds of files.

    Args:
        record: of the catalog.
        policy: gets the faults of `read_picture`, "image-size" if the record gives another size
            than the file, and a remark "exif" if the picture is turned. None: strict.

    Returns:
        The image; None if the policy lets a fault pass.
    """
    policy = policy or strict_for(record)
    path = record["file_name"]
    picture = read_picture(path, policy)
    if picture is None:
        return None
    size = _record_size(record) or _map_size(record, picture)
    image = picture.fitted(size)
    if _record_size(record) not in (None, image.shape[:2]):
        turned = f" after EXIF orientation {picture.orientation}" if picture.orientation > 1 else ""
        message = (
            f"the image is {size_text(picture.size)} (height x width){turned}, its record says "
            f"{size_text(size)}; annotations made for another size would not fit"
        )
        policy.report(Fault("image-size", message, path, field="height, width"))
        return None
    if picture.orientation > 1:
        done = "turns the image; do the annotations follow?"
        if image.shape[:2] != picture.size:
            done = "is not applied, because the annotations have the size of the image as stored"
        message = f"EXIF orientation {picture.orientation} {done}"
        policy.report(Fault("exif", message, path, remark=True))
    return image


def check_same_size(labels: np.ndarray, image: np.ndarray, path: str, record: Mapping) -> None:
    """Compares the size of a label map with that of its image.

    Raises:
        ValueError: they differ.
    """
    size, expected = labels.shape[:2], image.shape[:2]
    if size != expected:
        is_turned = size[::-1] == expected
        turned = "; are the two turned against each other, by EXIF?" if is_turned else ""
        raise ValueError(
            f"{record_name(record)}: label map {path} is {size_text(size)} (height x width), its "
            f"image {record.get('file_name')} is {size_text(expected)}; they must be equal{turned}"
        )


def _id(record: Mapping[str, Any]) -> str:
    name = str(record.get("image_id", record.get("file_name", "without file_name")))
    return f"{name} of '{record['dataset']}'" if "dataset" in record else name


def _record_size(record: Mapping[str, Any]) -> Optional[Tuple[int, int]]:
    height, width = record.get("height"), record.get("width")
    return None if height is None or width is None else (height, width)


def _map_size(record: Mapping[str, Any], picture: Picture) -> Optional[Tuple[int, int]]:
    """Returns (H, W) of the label map of a picture that lies on its side; None if it stands."""
    path = next((record[key] for key in _MAPS if key in record), None)
    if picture.orientation < 5 or path is None:
        return None
    # A faulty map is a fault of the map's reader, not of the image.
    header = read_header(path, _Nothing(), what="label map")
    return None if header is None else header.stored_size


class _Nothing:
    """A policy that lets every fault pass."""

    def report(self, fault: Fault) -> None:
        """Does nothing."""
