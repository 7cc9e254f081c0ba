"""What the files of annotation programs say, in the form of a COCO instance file."""

import math
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from segplugins.structures.regions import decode_mask, encode_mask

Point = Tuple[float, float]

_STEPS = 64  # corners of a circle


class Content:
    """Collects images, annotations and categories.

    The id of an annotation says where it stands in its file, so that messages name the place.

    Args:
        names: classes in the order of their numbers, where the file lists them; others follow in
            the order of the alphabet.
        box_masks: whether rectangles are masks of that shape.
    """

    def __init__(self, names: Iterable[str] = (), *, box_masks: bool = False):
        self._listed = list(names)
        self._box_masks = box_masks
        self._images: List[Dict[str, Any]] = []
        self._annotations: List[Dict[str, Any]] = []

    def add_image(
        self, file_name: str, *, height: Any = None, width: Any = None, image_id: Any = None
    ) -> Any:
        """Adds a picture, in pixels; None: as in the picture. Returns its id."""
        number = file_name if image_id is None else image_id
        self._images.append(
            {"id": number, "file_name": file_name, "height": height, "width": width}
        )
        return number

    def add_mask(self, place: str, image_id: Any, name: str, mask: Any, **more: Any) -> None:
        """Adds an object with a mask: COCO RLE or flat polygons; `more` as in COCO."""
        self._add(place, image_id, name, segmentation=mask, **more)

    def add_box(
        self, place: str, image_id: Any, name: str, corners: Sequence[float], **more: Any
    ) -> None:
        """Adds a rectangle between two opposite corners (x, y, x, y) in pixels."""
        x0, y0, x1, y1 = (*map(min, corners[:2], corners[2:]), *map(max, corners[:2], corners[2:]))
        shape = {"bbox": [x0, y0, x1 - x0, y1 - y0]}
        if self._box_masks:
            shape["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]
        self._add(place, image_id, name, **shape, **more)

    def _add(self, place: str, image_id: Any, name: str, **entry: Any) -> None:
        self._annotations.append({"id": place, "image_id": image_id, "name": name, **entry})

    def as_coco(self) -> Dict[str, List[Dict[str, Any]]]:
        """Returns "images", "annotations" and "categories" as COCO has them."""
        others = {entry["name"] for entry in self._annotations} - set(self._listed)
        numbers = {name: i for i, name in enumerate([*self._listed, *sorted(others)], 1)}
        return {
            "images": self._images,
            "annotations": [
                {**entry, "category_id": numbers[entry["name"]]} for entry in self._annotations
            ],
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        }


def joined_masks(first: Any, other: Any, height: int, width: int) -> Any:
    """Returns two masks as one: polygons stay polygons, everything else is an RLE.

    Raises:
        ValueError: one of them does not fit the picture.
    """
    if isinstance(first, list) and isinstance(other, list):
        return first + other
    return encode_mask(decode_mask(first, height, width) | decode_mask(other, height, width))


def joined_keys(first: Mapping[str, Any], other: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns the further keys of two shapes of an object.

    It is a crowd if a shape is one. Of all else the first shape that has it counts.
    """
    iscrowd = max(first.get("iscrowd", 0), other.get("iscrowd", 0))
    return {**other, **first, "iscrowd": iscrowd}


def ellipse(centre: Point, radii: Tuple[float, float], degrees: float = 0.0) -> List[float]:
    """Returns an ellipse as one flat polygon [x, y, x, y, ...].

    Args:
        centre: (x, y) in pixels.
        radii: along its own x and y, in pixels.
        degrees: turned clockwise, as pictures show it.
    """
    turns = [2 * math.pi * step / _STEPS for step in range(_STEPS)]
    points = [(radii[0] * math.cos(turn), radii[1] * math.sin(turn)) for turn in turns]
    return turned(points, centre, degrees)


def turned(points: Iterable[Point], centre: Point, degrees: float) -> List[float]:
    """Returns points, given from `centre`, as a flat polygon turned clockwise around it."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    flat: List[float] = []
    for x, y in points:
        flat += [centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine]
    return flat


def flat_points(points: Any) -> Optional[List[float]]:
    """Returns [[x, y], ...] as [x, y, ...]; None if it is no list of points."""
    if not isinstance(points, (list, tuple)):
        return None
    flat: List[float] = []
    for point in points:
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            return None
        flat += point
    return flat
