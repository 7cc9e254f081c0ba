"""Result: what a model found in one picture, in one form for every task.

H and W are the picture's height and width in pixels, K the names asked for, N the regions found.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from PIL import Image

from segplugins.structures.regions import Region, Task, box_of_mask, decode_mask, encode_mask

NOTHING = -1  # label of a pixel that belongs to none of the names
_STRIP_PIXELS = 2**22  # counted at a time

Array = Union[np.ndarray, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Result:
    """Regions of one picture, each with a name, a mask and, where the model gives one, a score.

    Build one with `from_label_map`, `from_segments` or `from_masks`; `segplugins.load` does. A
    region's mask is stored as one value of a map of pixels where regions do not overlap, as COCO
    RLE where they may.

    Args:
        task: what was asked.
        names: the K classes of the vocabulary, or the K prompts, in the user's order.
        classes: (N,) index into `names` of each region.
        scores: (N,) float32, 0-1; None where the model gives none. For a label map the mean over
            the region's pixels.
        size: (H, W).
        is_thing: per name, whether its instances are counted apart.
        name: of the picture: its file name without ending.
        image: (H, W, 3) uint8 RGB, for `draw`; None where it is not there.

    Example:
        >>> labels = np.array([[0, 0, 1], [0, 2, 2]])
        >>> result = Result.from_label_map(labels, ("sky", "sea", "boat"))
        >>> result.names, result.masks.shape, result.shares()["sky"]
        (('sky', 'sea', 'boat'), (3, 2, 3), 0.5)
    """

    task: Task
    names: Tuple[str, ...]
    classes: np.ndarray
    scores: Optional[np.ndarray]
    size: Tuple[int, int]
    is_thing: Tuple[bool, ...] = ()
    name: str = ""
    image: Optional[np.ndarray] = field(default=None, repr=False)
    _map: Optional[np.ndarray] = field(default=None, repr=False)
    _values: Optional[np.ndarray] = field(default=None, repr=False)
    _rles: Optional[Tuple[Dict[str, Any], ...]] = field(default=None, repr=False)
    _map_is_classes: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        names = tuple(self.names)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "classes", np.asarray(self.classes, np.int64).reshape(-1))
        object.__setattr__(self, "is_thing", tuple(self.is_thing) or (False,) * len(names))
        count = len(self.classes)
        if count and not 0 <= self.classes.min() <= self.classes.max() < len(names):
            raise ValueError(
                f"classes run from {self.classes.min()} to {self.classes.max()}, but there are "
                f"{len(names)} names"
            )
        regions = self._values if self._rles is None else self._rles
        if regions is not None and len(regions) != count:
            raise ValueError(f"{count} classes for {len(regions)} regions; give one each")
        if self.scores is not None:
            scores = np.asarray(self.scores, np.float32).reshape(-1)
            if len(scores) != count:
                raise ValueError(f"{len(scores)} scores for {count} regions")
            object.__setattr__(self, "scores", scores)
        if self.image is not None and self.image.shape[:2] != tuple(self.size):
            raise ValueError(f"image is {self.image.shape[:2]} pixels, its result {self.size}")

    @classmethod
    def from_label_map(
        cls,
        labels: Array,
        names: Sequence[str],
        *,
        scores: Optional[Array] = None,
        **more: Any,
    ) -> "Result":
        """Makes a result of one class per pixel; every class that occurs is a region.

        Args:
            labels: (H, W) integers 0..K-1; every other value is `NOTHING`.
            names: K.
            scores: (H, W), probability of each pixel's class; (K,), score of each class; or None.
            more: other arguments of the class.
        """
        labels = narrow(labels, len(names))
        classes = np.flatnonzero(_class_counts(labels, len(names)))
        means = None
        if scores is not None:
            scores = _on_host(scores)
            if scores.ndim != 1:
                scores = mean_scores(labels, scores, len(names))
            means = scores[classes]
        return cls(
            task=more.pop("task", Task.SEMANTIC),
            names=tuple(names),
            classes=classes,
            scores=means,
            size=labels.shape,
            _map=labels,
            _values=classes,
            _map_is_classes=True,
            **more,
        )

    @classmethod
    def from_segments(
        cls,
        segments: Array,
        ids: Sequence[int],
        classes: Sequence[int],
        names: Sequence[str],
        **more: Any,
    ) -> "Result":
        """Makes a result of segments that do not overlap, as panoptic segmentation gives them.

        Args:
            segments: (H, W) integers, the id of each pixel's segment.
            ids: (N,) those that are regions; pixels of other ids are `NOTHING`.
            classes: (N,) index into `names`.
            names: K.
            more: other arguments of the class.
        """
        segments = _on_host(segments).astype(np.int32)
        return cls(
            task=more.pop("task", Task.PANOPTIC),
            names=tuple(names),
            classes=np.asarray(classes, np.int64),
            scores=more.pop("scores", None),
            size=segments.shape,
            _map=segments,
            _values=np.asarray(ids, np.int64),
            **more,
        )

    @classmethod
    def from_masks(
        cls,
        masks: Union[Array, Sequence[Mapping[str, Any]]],
        classes: Sequence[int],
        names: Sequence[str],
        *,
        size: Optional[Tuple[int, int]] = None,
        **more: Any,
    ) -> "Result":
        """Makes a result of masks that may overlap or be empty.

        Args:
            masks: (N, H, W) bool, or N COCO RLEs or lists of polygons of a picture of `size`.
            classes: (N,) index into `names`.
            names: K.
            size: (H, W); read from `masks` where they are an array.
            more: other arguments of the class.
        """
        if isinstance(masks, (np.ndarray, torch.Tensor)):
            masks = _on_host(masks).astype(bool)
            if masks.ndim != 3:
                raise ValueError(f"masks are {masks.shape}, expected (N, H, W)")
            size = masks.shape[1:]
        elif size is None:
            raise ValueError("masks as RLE need the picture's size (H, W)")
        else:
            # One after the other: of a large picture all at once would fill the memory.
            masks = (decode_mask(mask, *size) for mask in masks)
        return cls(
            task=more.pop("task", Task.INSTANCE),
            names=tuple(names),
            classes=np.asarray(classes, np.int64),
            scores=more.pop("scores", None),
            size=tuple(size),
            _rles=tuple(encode_mask(mask) for mask in masks),
            **more,
        )

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[Region]:
        """Yields every region with its text, box, mask (RLE), class and score."""
        for number in range(len(self)):
            yield self.region(number)

    def region(self, number: int) -> Region:
        """Returns one region as the record that data sets, models and annotation share."""
        mask = self.mask(number)
        index = int(self.classes[number])
        box = box_of_mask(mask)
        phrase = self.task in (Task.REFERRING, Task.SALIENT)
        return Region(
            text=self.names[index],
            box=box,
            # A phrase without a target has neither box nor mask.
            mask=None if box is None else encode_mask(mask),
            class_index=-1 if phrase else index,
            is_thing=self.is_thing[index],
            score=1.0 if self.scores is None else float(self.scores[number]),
        )

    def mask(self, which: Union[int, str]) -> np.ndarray:
        """Returns (H, W) bool: of a region by its number, or of all regions of a name.

        Raises:
            KeyError: the name was not asked for.
        """
        if isinstance(which, str):
            if which not in self.names:
                raise KeyError(f"'{which}' was not asked for; names are {list(self.names)}")
            mask = np.zeros(self.size, bool)
            for number in np.flatnonzero(self.classes == self.names.index(which)):
                mask |= self.mask(int(number))
            return mask
        if self._rles is not None:
            return decode_mask(self._rles[which], *self.size)
        return self._map == self._values[which]

    @property
    def overlaps(self) -> bool:
        """Whether regions are stored as masks of their own, which may overlap."""
        return self._rles is not None

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) bool; made when it is read."""
        masks = np.zeros((len(self), *self.size), bool)
        for number in range(len(self)):
            masks[number] = self.mask(number)
        return masks

    @cached_property
    def label_map(self) -> np.ndarray:
        """(H, W) signed integers: the index in `names` of each pixel, `NOTHING` (-1) elsewhere.

        Where regions overlap, the one of the highest score is on top; without scores the first.
        """
        if self._map_is_classes:
            return self._map
        labels = np.full(self.size, NOTHING, label_type(len(self.names)))
        ranks = np.zeros(len(self)) if self.scores is None else self.scores
        for number in np.argsort(-ranks, kind="stable")[::-1]:
            labels[self.mask(int(number))] = self.classes[number]
        return labels

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4) float64, tight boxes (x0, y0, x1, y1) in pixels; zeros where a mask is empty."""
        boxes = [box_of_mask(self.mask(number)) for number in range(len(self))]
        return np.array([box or (0.0,) * 4 for box in boxes], np.float64).reshape(-1, 4)

    @cached_property
    def areas(self) -> np.ndarray:
        """(N,) int64, pixels of each mask."""
        return np.array([self.mask(i).sum() for i in range(len(self))], np.int64)

    def shares(self) -> Dict[str, float]:
        """Returns name to its share of the picture, 0-1, largest first; absent names left out."""
        shares: Dict[str, float] = {}
        pixels = self.size[0] * self.size[1]
        for index in np.unique(self.classes):
            name = self.names[index]
            area = int(self.mask(name).sum())
            if area:
                shares[name] = area / pixels
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))

    def draw(self, **style: Any) -> Image.Image:
        """Returns the picture with its regions painted over it, their names, and a legend.

        Args:
            style: fields of `segplugins.pictures.Style`, such as `legend=False`.

        Raises:
            ValueError: the result was made without its image.
        """
        from .drawing import draw  # pictures need fonts and OpenCV: paid by who draws

        if self.image is None:
            raise ValueError("this result holds no image to draw on; give it as image=...")
        return Image.fromarray(draw(self, **style))

    def summary(self) -> str:
        """Returns one line: picture, size, task, and the largest shares."""
        shares = [f"{name} {100 * share:.0f} %" for name, share in self.shares().items()]
        more = f" and {len(shares) - 5} more" if len(shares) > 5 else ""
        found = ", ".join(shares[:5]) + more or "none of the names"
        height, width = self.size
        return f"{self.name or 'picture'} {width}x{height}, {self.task}: {found}"

    __repr__ = summary

    # What stands in exchange.py, as methods, since that is where people look for them.

    def to_supervision(self) -> Any:
        """Returns `supervision.Detections`; see `segplugins.prediction.exchange`."""
        from .exchange import to_supervision

        return to_supervision(self)

    def to_coco(self, image_id: Any, category_ids: Optional[Sequence[int]] = None) -> List[dict]:
        """Returns COCO results, a dictionary per region; see `exchange.to_coco`."""
        from .exchange import to_coco

        return to_coco(self, image_id, category_ids)

    def to_panoptic(
        self, image_id: Any, category_ids: Optional[Sequence[int]] = None
    ) -> Tuple[Image.Image, Dict[str, Any]]:
        """Returns COCO's panoptic PNG and the annotation that goes with it."""
        from .exchange import to_panoptic

        return to_panoptic(self, image_id, category_ids)

    def to_line(self, file_name: str) -> Dict[str, Any]:
        """Returns a region line: what training reads as a data set of kind "regions"."""
        from .exchange import to_line

        return to_line(self, file_name)

    def to_pandas(self) -> Any:
        """Returns a `pandas.DataFrame` with a row per region."""
        from .exchange import to_pandas

        return to_pandas(self)


def narrow(labels: Array, count: int) -> np.ndarray:
    """Returns (H, W) in the smallest signed type; values outside 0..count-1 become `NOTHING`.

    Raises:
        ValueError: not (H, W) whole numbers.
    """
    if isinstance(labels, torch.Tensor) and labels.dtype == torch.int64 and count < 2**15:
        # Narrow numbers before they leave the device. What is outside int16 is outside the names.
        labels = torch.where((labels >= 0) & (labels < count), labels, NOTHING).to(torch.int16)
    labels = _on_host(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"a label map must be (H, W) whole numbers, got {labels.dtype} {labels.shape}"
        )
    kind = label_type(count)
    if labels.dtype == kind and NOTHING <= labels.min(initial=0) <= labels.max(initial=0) < count:
        return labels
    inside = (labels >= 0) & (labels < count)
    return np.where(inside, labels.astype(kind, copy=False), kind(NOTHING))


def label_type(count: int) -> type:
    """Returns the smallest signed type that numbers this many classes and `NOTHING`."""
    return np.int16 if count < 2**15 else np.int32


def _on_host(array: Array) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def mean_scores(labels: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Returns (count,) float32, the mean score of each class's pixels, 0 where it has none.

    Args:
        labels: (H, W), see `narrow`.
        scores: (H, W), probability of each pixel's class.
        count: number of classes, K.

    Raises:
        ValueError: scores and label map differ in size.
    """
    if scores.shape != labels.shape:
        raise ValueError(f"scores are {scores.shape}, the label map {labels.shape}")
    totals = _class_counts(labels, count, scores)
    return (totals / np.maximum(_class_counts(labels, count), 1)).astype(np.float32)


def _class_counts(
    labels: np.ndarray, count: int, weights: Optional[np.ndarray] = None
) -> np.ndarray:
    """Returns (count,), the pixels of each class or the sum of their weights (H, W)."""
    total = np.zeros(count + 1, np.int64 if weights is None else np.float64)
    rows = max(1, _STRIP_PIXELS // max(1, labels.shape[1]))
    for top in range(0, len(labels), rows):  # bincount makes 16 bytes of every pixel
        strip = labels[top : top + rows].ravel().astype(np.int64) + 1  # NOTHING first
        own = None if weights is None else weights[top : top + rows].ravel()
        total += np.bincount(strip, weights=own, minlength=count + 1)
    return total[1:]
