"""Boxes of a whole data set in a few arrays: some 40 bytes a box instead of 600.

Objects365 has 30 million of them. Loader workers that are forked share the arrays, and what is
pickled for those that are spawned is as small.
"""

from collections.abc import Sequence
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Tuple, Union

import numpy as np
from detectron2.structures import BoxMode

from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.coco_images import ImageEntry
from segplugins.files.values import Id


class _Arrays(NamedTuple):
    """N boxes: corners (N, 4) float32 in pixels, class int32, id int64, flag uint8.

    Ids are objects where some of them are text.
    """

    corners: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray
    crowds: np.ndarray


class BoxColumns(Sequence):
    """The "annotations" of one image: reads like a list of dicts, and is a part of arrays.

    Args:
        arrays: of all images together.
        start: first box of the image.
        stop: one behind its last box.
    """

    __slots__ = ("_arrays", "_start", "_stop")

    def __init__(self, arrays: Tuple[np.ndarray, ...], start: int, stop: int):
        self._arrays, self._start, self._stop = _Arrays(*arrays), start, stop

    @property
    def crowds(self) -> int:
        """Number of crowds among the boxes."""
        return int(self._arrays.crowds[self._start : self._stop].sum())

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, index: Union[int, slice]) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"box {index} of {len(self)}")
        row = self._start + index % len(self)
        return {
            "id": self._arrays.numbers.item(row),
            "iscrowd": int(self._arrays.crowds[row]),
            "category_id": int(self._arrays.classes[row]),
            "bbox": self._arrays.corners[row].tolist(),
            "bbox_mode": BoxMode.XYXY_ABS,
        }

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> Tuple[Any, ...]:
        part = tuple(array[self._start : self._stop].copy() for array in self._arrays)
        return _unpickled, tuple((array.dtype.str, _content(array)) for array in part)


def _content(array: np.ndarray) -> Union[bytes, list]:
    return array.tolist() if array.dtype == object else array.tobytes()


def _unpickled(*columns: Tuple[str, Union[bytes, list]]) -> BoxColumns:
    corners, *others = (
        np.array(content, object) if isinstance(content, list) else np.frombuffer(content, dtype)
        for dtype, content in columns
    )
    return BoxColumns((corners.reshape(-1, 4), *others), 0, len(others[0]))


class BoxTable:
    """The boxes of a file by image, cut at the border of their image.

    Args:
        annotations: of the file, with boxes.
        indices: class by category id.
        images: by id.
    """

    def __init__(
        self,
        annotations: List[InstanceEntry],
        indices: Mapping[Id, int],
        images: Mapping[Id, ImageEntry],
    ):
        order = {number: row for row, number in enumerate(images)}
        count = len(annotations)
        rows = np.fromiter((order[a.image_id] for a in annotations), np.int64, count)
        boxes = np.fromiter((v for a in annotations for v in a.bbox), np.float64, 4 * count)
        boxes = boxes.reshape(-1, 4)
        sizes = np.array([image.size for image in images.values()]).reshape(-1, 2)
        limits = sizes[rows][:, [1, 0, 1, 0]]
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        corners = corners.clip(0, limits)
        kept = (corners[:, 2:] - corners[:, :2] >= 1).all(axis=1)
        self.left_out = int(count - kept.sum())
        by_image = np.flatnonzero(kept)[np.argsort(rows[kept], kind="stable")]
        numbers = [annotation.id for annotation in annotations]
        has_text = str in set(map(type, numbers))
        self._arrays = _Arrays(
            corners[by_image].astype(np.float32),
            np.fromiter((indices[a.category_id] for a in annotations), np.int32, count)[by_image],
            np.fromiter(numbers, object if has_text else np.int64, count)[by_image],
            np.fromiter((a.iscrowd for a in annotations), np.uint8, count)[by_image],
        )
        counts = np.bincount(rows[kept], minlength=len(images))
        self._stops = dict(zip(images, np.cumsum(counts).tolist()))
        self._counts = dict(zip(images, counts.tolist()))

    def of_image(self, number: Id) -> BoxColumns:
        """Returns the boxes of one image."""
        stop = self._stops[number]
        return BoxColumns(self._arrays, stop - self._counts[number], stop)
