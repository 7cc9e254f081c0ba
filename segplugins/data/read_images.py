"""Images and label maps from files, with errors that say which file of which record is at fault.

H and W are the height and width in pixels.
"""

import os
from typing import Any, Mapping, Optional

import numpy as np
from detectron2.data import detection_utils
from PIL import Image

# Pixels of an image: three times those of the largest that segmentation sets have, and few enough
# that a header of a few bytes cannot make a worker ask for all memory.
LARGEST = 100_000_000


def record_name(record: Mapping[str, Any]) -> str:
    """Returns how messages call a catalog record: its id, and its data set where it has one."""
    name = f"record {record.get('image_id', record.get('file_name', 'without file_name'))}"
    return f"{name} of '{record['dataset']}'" if "dataset" in record else name


def read_file(path: str, record: Mapping[str, Any], *, format: Optional[str], what: str):
    """Returns the pixels of an image file, turned as its EXIF data say.

    Args:
        path: of the file.
        record: that names it, for the message.
        format: PIL mode to convert to, or None to leave the values as they stand in the file.
        what: "image" or "label map", for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read: no image, cut off, or of more than `LARGEST` pixels.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{record_name(record)}: {what} {path} does not exist; copy it there, or take the "
            "record out of the data set"
        )
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > LARGEST:
                raise ValueError(
                    f"it is {picture.width}x{picture.height} pixels, expected at most {LARGEST}"
                )
            # detectron2's read_image looks for EXIF data first. Of a damaged PNG that look meets
            # the damage, ignores it, and the half that was decoded would pass for the image.
            picture.load()
            turned = detection_utils._apply_exif_orientation(picture)
            return detection_utils.convert_PIL_to_numpy(turned, format)
    except Exception as error:  # decoders of damaged files raise whatever they please
        raise ValueError(
            f"{record_name(record)}: {what} {path} could not be read ({error}); replace the file, "
            "or take the record out of the data set"
        ) from error


def read_image(record: Mapping[str, Any]) -> np.ndarray:
    """Returns the image of a catalog record, (H, W, 3) uint8 RGB.

    It is turned as its EXIF data say, unless the record's "height" and "width" are those of the
    file as it lies: then its annotations are, too.

    Raises:
        FileNotFoundError, ValueError: see `read_file`; also where the record's "height" and
            "width" are not those of the file.
    """
    path = record["file_name"]
    image = np.asarray(read_file(path, record, format="RGB", what="image"))
    height, width = image.shape[:2]
    expected = (record.get("height", height), record.get("width", width))
    if (width, height) == tuple(expected) != (height, width):
        # The annotations were made on the file as it lies, not as its EXIF data turn it: Visual
        # Genome and Objects365 have both kinds.
        with Image.open(path) as lying:
            image = np.asarray(lying.convert("RGB"))
        height, width = image.shape[:2]
    if (height, width) != tuple(expected):
        raise ValueError(
            f"{record_name(record)}: image {path} is {height}x{width} (height x width), its record "
            f"says {expected[0]}x{expected[1]}; annotations made for another size would not fit"
        )
    return image


def read_labels(path: str, record: Mapping[str, Any]) -> np.ndarray:
    """Returns a label map (H, W) as whole numbers of the file's own width: 8, 16 or 32 bits.

    Raises:
        FileNotFoundError, ValueError: see `read_file`; also where it has more than one channel.
    """
    labels = np.asarray(read_file(path, record, format=None, what="label map"))
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{record_name(record)}: label map {path} has shape {labels.shape} and type "
            f"{labels.dtype}, expected one channel of whole numbers; save class indices, no colours"
        )
    return labels


def check_same_size(labels: np.ndarray, image: np.ndarray, path: str, record: Mapping) -> None:
    """Compares the size of a label map with that of its image.

    Raises:
        ValueError: they differ.
    """
    if labels.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"{record_name(record)}: label map {path} is {_size(labels)} (height x width), its "
            f"image {record.get('file_name')} is {_size(image)}; they must be equal"
        )


def check_label_range(
    labels: np.ndarray, num_classes: int, ignore_label: int, path: str, record: Mapping
) -> None:
    """Compares the values of a label map with the classes.

    Args:
        labels: (H, W) whole numbers.
        num_classes: labels 0 to num_classes - 1 are right, and `ignore_label`.
        ignore_label: label of pixels that carry no class.
        path: of the file.
        record: that names it.

    Raises:
        ValueError: another value; the message gives it, how many pixels have it, and the file.
    """
    wrong = (labels >= num_classes) & (labels != ignore_label)
    if labels.dtype.kind == "i":
        wrong |= (labels < 0) & (labels != ignore_label)
    if wrong.any():
        values, counts = np.unique(labels[wrong], return_counts=True)
        listed = ", ".join(f"{v} ({c} pixels)" for v, c in zip(values[:5], counts[:5]))
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        raise ValueError(
            f"{record_name(record)}: label map {path} holds {listed}{more}; expected 0 to "
            f"{num_classes - 1}, or {ignore_label} for pixels without a class"
        )


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
