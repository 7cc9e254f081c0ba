"""The "images" of COCO, LVIS and panoptic files, and of the instances that refs mean."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import msgspec

from segplugins.files.faults import STRICT, FaultError, FileFaults, MissingFile
from segplugins.files.raster import read_header
from segplugins.files.values import (
    LARGEST_SIDE,
    Id,
    as_id,
    as_path,
    as_side,
    as_size,
    existing_form,
)


class ImageEntry(msgspec.Struct):
    """One picture; as decoded, then in normal form.

    Args:
        id: tells it from the others.
        file_name: path below the folder of pictures.
        height: in pixels.
        width: in pixels.
        coco_url: where LVIS has it instead of a path.
        neg_category_ids: LVIS: categories that it surely does not show.
        not_exhaustive_category_ids: LVIS: categories of which not every object is annotated.
        position: index in the file.
    """

    id: Any = None
    file_name: Any = None
    height: Any = None
    width: Any = None
    coco_url: Any = None
    neg_category_ids: Any = None
    not_exhaustive_category_ids: Any = None
    position: int = -1

    @property
    def size(self) -> Tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width


def read_images(
    listed: List[Tuple[int, ImageEntry]],
    faults: FileFaults,
    *,
    image_root: Optional[Path] = None,
    keep_parts: Optional[int] = None,
) -> Tuple[Dict[Id, ImageEntry], Dict[Id, Id]]:
    """Brings images to normal form; those without id, path or size are faults.

    A missing size is taken from the picture.

    Args:
        listed: position in the file and entry.
        faults: receives what is wrong.
        image_root: folder of the pictures; None: they are not asked for. Then paths do not matter,
            and sizes must be in the file.
        keep_parts: only so many parts of each path stand below the folder; None: all.

    Returns:
        Images by id, and for each id of the file the id of the image that it stands for: a picture
        that is listed under two ids is a fault and counts once.
    """
    images: Dict[Id, ImageEntry] = {}
    alias: Dict[Id, Id] = {}
    first: Dict[str, Id] = {}
    for position, image in listed:
        image.position = position
        number = _image_id(image, position, alias, faults)
        if number is None:
            continue
        place = {"record": number, "entry": ("images", position)}
        if image_root is not None:
            try:
                image.file_name = existing_form(image_root, _path(image, keep_parts))
            except ValueError as error:
                field = f"images[{position}].file_name"
                faults.report("path", str(error), field=field, **place)
                continue
        try:
            _complete_size(image, image_root)
        except ValueError as error:
            faults.report("image-size", str(error), field=f"images[{position}]", **place)
            continue
        before = number if image_root is None else first.setdefault(image.file_name, number)
        if before != number:
            message = f"{image.file_name} is image {before} already; the two share annotations"
            field = f"images[{position}].file_name"
            faults.report("id", message, field=field, mend=("same as", before), **place)
            alias[number] = before
        else:
            images[number] = image
            alias[number] = number
    return images, alias


def _image_id(
    image: ImageEntry, position: int, alias: Dict[Id, Id], faults: FileFaults
) -> Optional[Id]:
    field = f"images[{position}].id"
    try:
        image.id = as_id(image.id)
    except ValueError as error:
        faults.report("id", f"image: no id: {error}", field=field, entry=("images", position))
        return None
    if image.id in alias:
        message = f"image: id {image.id} stands twice"
        faults.report("id", message, record=image.id, field=field, entry=("images", position))
        return None
    return image.id


def _path(image: ImageEntry, keep_parts: Optional[int]) -> str:
    # LVIS has no file names, but the URLs of COCO: .../train2017/000000391895.jpg
    path = image.file_name
    if path in (None, "") and isinstance(image.coco_url, str):
        path = "/".join(image.coco_url.split("/")[-2:])
    if keep_parts is not None and isinstance(path, str):
        path = "/".join(path.replace("\\", "/").split("/")[-keep_parts:])
    return as_path(path)


def _complete_size(image: ImageEntry, image_root: Optional[Path]) -> None:
    if all(type(side) is int and 0 < side < LARGEST_SIDE for side in image.size):
        as_size(*image.size)
        return
    missing = [key for key in ("height", "width") if getattr(image, key) is None]
    if missing and image_root is not None:
        image.height, image.width = picture_size(image_root / image.file_name)
        return
    wrong = {}
    for key in ("height", "width"):
        value = getattr(image, key)
        try:
            setattr(image, key, as_side(value))
        except ValueError:
            wrong[key] = value
    if wrong:
        raise ValueError(f"got {str(wrong):.80}, expected numbers of pixels")
    as_size(*image.size)


def picture_size(path: Path) -> Tuple[int, int]:
    """Returns the (height, width) of a picture as it is read: turned as its EXIF data say.

    Raises:
        ValueError: the picture is missing or cannot be read.
    """
    try:
        return read_header(path, STRICT).size
    except MissingFile:
        raise ValueError(
            f"no width and height, and there is no picture {path} to take them from"
        ) from None
    except FaultError as error:
        raise ValueError(
            f"no width and height, and the picture {path} is not readable: {error.fault.message}"
        ) from error
