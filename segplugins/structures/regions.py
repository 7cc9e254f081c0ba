"""The one record: an image, a list of (text, box, mask) regions, a task.

N is the number of regions of an image, H and W its size in pixels.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from pycocotools import mask as coco_mask

# A vertex this many image sides away from the image is a typing error, not an object: pycocotools
# walks every polygon pixel by pixel, so that one such vertex would hold a worker for minutes.
_REACH = 8
# Pixels that the outlines of one mask may run through, whatever the size of the image: pycocotools
# keeps some 40 bytes for each of them.
_OUTLINE = 5_000_000
# No image has this many pixels a side, and float32 still tells neighbours apart below it.
_FARTHEST = 2**24


class Task(StrEnum):
    """What a data set asks of a model."""

    SEMANTIC = "semantic"
    INSTANCE = "instance"
    PANOPTIC = "panoptic"
    REFERRING = "referring"
    SALIENT = "salient"  # also foreground sets: one mask, one phrase
    PART = "part"
    DETECTION = "detection"  # boxes without masks
    RETRIEVAL = "retrieval"  # whole images and captions, which are to find each other
    CLASSIFICATION = "classification"  # one class of the whole image


@dataclass(frozen=True)
class Region:
    """One thing that an image shows, or a phrase that has no target in it.

    Args:
        text: class name or phrase.
        box: (x0, y0, x1, y1) in absolute pixels, or None.
        mask: COCO RLE {"size": [H, W], "counts": ...} or a list of polygons [x0, y0, x1, y1, ...],
            at image size, or None. A region with neither box nor mask says that its text has no
            target in this image; several targets of one phrase are several regions.
        class_index: index in the vocabulary, -1 = free text.
        is_thing: whether its instances are counted apart.
        score: < 1 where a machine drew it.
        extra: what a source knows besides: captions, mask quality, tools, crowd flags.
    """

    text: str
    box: Optional[Tuple[float, float, float, float]] = None
    mask: Optional[Union[dict, list]] = None
    class_index: int = -1
    is_thing: bool = True
    score: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_target(self) -> bool:
        """False where the text has no target in the image."""
        return self.box is not None or self.mask is not None

    def bitmap(self, height: int, width: int) -> np.ndarray:
        """Returns the mask as (height, width) bool; see `decode_mask`."""
        if self.mask is None:
            raise ValueError(f"region '{self.text}' has no mask")
        return decode_mask(self.mask, height, width)


def rle_counts(rle: Mapping[str, Any]) -> np.ndarray:
    """Returns the run lengths of a COCO RLE, (R,) int64: background, foreground, background, ...

    Args:
        rle: "counts" a list of ints, or the compressed text that pycocotools writes.

    Raises:
        ValueError: the counts cannot be read.
    """
    counts = rle.get("counts")
    if isinstance(counts, (list, tuple, np.ndarray)):
        try:
            runs = np.asarray(counts)
        except ValueError:  # lists of different lengths in it
            raise ValueError(f"RLE counts must be one list, got {counts!r:.80}") from None
        if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
            raise ValueError(
                f"RLE counts must be one list of whole numbers, got {runs.dtype} {runs.shape}"
            )
        return runs.astype(np.int64)
    if isinstance(counts, str):
        counts = counts.encode("ascii", errors="replace")
    if not isinstance(counts, bytes):
        raise ValueError(f"RLE counts must be a list or text, got {type(counts).__name__}")
    return _uncompressed(counts)


def _uncompressed(text: bytes) -> np.ndarray:
    """Reads COCO's text form: 5 bits a character, lowest first, bit 6 = more follow.

    From the fourth number on, each is the difference to the one two places before.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return codes
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise ValueError("RLE text is damaged: a character outside '0'..'o', or it ends too soon")
    last = (codes & 0x20) == 0
    first = np.concatenate(([True], last[:-1]))
    number = np.cumsum(first) - 1
    place = np.arange(codes.size) - np.flatnonzero(first)[number]
    if place.max() > 7:  # more than any image holds; sums of 64 bits could run over
        raise ValueError("RLE text is damaged: a run length of more than 40 bits")
    values = np.zeros(number[-1] + 1, np.int64)
    np.add.at(values, number, (codes & 0x1F) << (5 * place))
    negative = (codes[last] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * (place[last][negative] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def decode_mask(mask: Union[Mapping[str, Any], Sequence], height: int, width: int) -> np.ndarray:
    """Turns a COCO mask into pixels, after checks that keep a hostile one from doing harm.

    pycocotools reads past the end of short RLEs and dies on coordinates that are not finite or
    are huge; both are refused here, as are outlines so long that drawing them would take minutes
    or all memory.

    Args:
        mask: RLE, or polygons.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: the mask does not fit the image or is not one.
    """
    if isinstance(mask, Mapping):
        return _decode_rle(mask, height, width)
    check_polygons(mask, height, width)
    return draw_polygons(mask, height, width)


def draw_polygons(polygons: Sequence, height: int, width: int) -> np.ndarray:
    """Returns polygons that `check_polygons` has passed as (height, width) bool.

    After a crop they may reach far outside: what is right on a large image lies many sides away
    from a small part of it.

    Raises:
        ValueError: their outlines are too long, or a value is not finite.
    """
    values = [np.asarray(polygon, np.float64) for polygon in polygons]
    _check_outline(values, height, width)
    rles = coco_mask.frPyObjects([each.tolist() for each in values], height, width)
    return _decode_rle(coco_mask.merge(rles), height, width)


def _check_outline(polygons: Sequence[np.ndarray], height: int, width: int) -> None:
    # No side is longer than the whole polygon is wide and high: mostly that says enough.
    spans = [(len(values) / 2, float(np.ptp(values))) for values in polygons if len(values)]
    length = sum(count * span for count, span in spans)
    if length <= _OUTLINE:
        return
    length = sum(
        float(np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum())
        for points in (polygon.reshape(-1, 2) for polygon in polygons)
    )
    if not length <= _OUTLINE:  # also where it is NaN
        raise ValueError(
            f"the outlines of a mask in a {height}x{width} image run through {length:.0f} pixels, "
            f"expected at most {_OUTLINE}"
        )


def check_runs(runs: np.ndarray, height: int, width: int) -> None:
    """Raises ValueError if run lengths do not fill an image of height x width exactly."""
    if runs.size and runs.min() < 0:
        raise ValueError(f"RLE holds a negative run length {runs.min()}")
    # Before the sum, which huge runs would carry past the largest number and back to a small one.
    if runs.size and runs.max() > height * width:
        raise ValueError(f"RLE holds a run of {runs.max()} pixels, the image has {height}*{width}")
    if runs.sum() != height * width:
        raise ValueError(f"RLE runs add up to {runs.sum()} pixels, expected {height}*{width}")


def _decode_rle(rle: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    size = rle.get("size")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise ValueError(f"RLE has size {size}, expected [{height}, {width}] (height, width)")
    runs = rle_counts(rle)
    check_runs(runs, height, width)
    values = np.arange(runs.size) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def check_polygons(polygons: Sequence, height: int, width: int) -> None:
    """Checks polygons of an image.

    Raises:
        ValueError: there is none; one has fewer than 3 points, an odd number of values, or a value
            that is no finite number or lies far outside the image; the outlines are too long.
    """
    if not isinstance(polygons, (list, tuple)) or not polygons:
        raise ValueError(f"a mask must be an RLE or a list of polygons, got {polygons!r:.80}")
    limit = _REACH * max(height, width)
    checked = []
    for polygon in polygons:
        if not isinstance(polygon, (list, tuple, np.ndarray)):
            raise ValueError(f"a polygon must be a list of numbers, got {polygon!r:.80}")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon needs 3 or more (x, y) pairs, got {len(polygon)} values")
        try:
            values = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"a polygon must be a list of numbers, got {polygon!r:.80}") from None
        if values.ndim != 1:
            raise ValueError(f"a polygon must be one list of numbers, got {polygon!r:.80}")
        if not -limit <= values.min() <= values.max() <= limit:  # also where one is NaN
            raise ValueError(
                f"a polygon leaves the {height}x{width} image too far or is not finite: "
                f"values from {values.min()} to {values.max()}, expected at most {limit} (8 sides)"
            )
        checked.append(values)
    _check_outline(checked, height, width)


def encode_mask(mask: np.ndarray) -> Dict[str, Any]:
    """Returns a bitmap as COCO RLE with text counts, ready for JSON.

    Args:
        mask: (H, W) bool.
    """
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def box_of_mask(mask: np.ndarray) -> Optional[Tuple[float, float, float, float]]:
    """Returns the tight box (x0, y0, x1, y1) of a bitmap (H, W), or None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def box_outline(box: Sequence[float], height: int, width: int, *, line: float = 2) -> np.ndarray:
    """Returns the border of a box as pixels, to be painted.

    Args:
        box: (x0, y0, x1, y1) in pixels.
        height: H of the image in pixels.
        width: W of the image in pixels.
        line: pixels that the border is wide, inwards.

    Returns:
        (height, width) bool: pixels whose centre lies in the border.
    """
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5

    def inside(margin: float) -> np.ndarray:
        within = (columns > box[0] + margin) & (columns < box[2] - margin)
        return within & (rows > box[1] + margin) & (rows < box[3] - margin)

    return inside(0) & ~inside(line)


def check_box(box: Sequence[float]) -> None:
    """Checks one box (x0, y0, x1, y1).

    Raises:
        ValueError: not four finite numbers, or no area.
    """
    if (
        not isinstance(box, (list, tuple, np.ndarray))
        or len(box) != 4
        or not all(isinstance(value, (int, float, np.number)) for value in box)
        or not all(-_FARTHEST <= value <= _FARTHEST for value in box)  # also false for NaN
    ):
        raise ValueError(
            f"a box must be four finite numbers (x0, y0, x1, y1) up to {_FARTHEST}, got {box!r:.80}"
        )
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"a box must have x1 > x0 and y1 > y0, got {tuple(box)}")


_ALWAYS = ("image", "height", "width", "task", "vocabulary")


def validate_record(record: Mapping[str, Any], *, training: bool = False) -> None:
    """Checks what a mapper gives a model.

    Args:
        record: "image" (3, H, W) uint8 RGB, "height", "width" in pixels, "task", "vocabulary" (a
            name or None) and, where that is None, "texts" (K); in training "instances" and/or
            "sem_seg" (H, W) int64; optional "ignore_negative" (K,) bool.
        training: whether a target must be there.

    Raises:
        ValueError: a key is missing or has another form; the message names the file.
    """
    where = f"record of {record.get('file_name', 'an image without file_name')}"
    for problem in _problems(record, training):
        raise ValueError(f"{where}: {problem}")


def _problems(record: Mapping[str, Any], training: bool) -> List[str]:
    missing = [key for key in _ALWAYS if key not in record]
    if missing:
        return [f"keys {missing} are missing"]
    problems = []
    image = record["image"]
    if not isinstance(image, torch.Tensor) or image.dtype != torch.uint8 or image.dim() != 3:
        return ["image must be a (3, H, W) uint8 tensor"]
    if image.shape[0] != 3:
        problems.append(f"image has {image.shape[0]} channels, expected 3 (RGB)")
    if not isinstance(record["task"], Task):
        problems.append(f"task is {record['task']!r}, expected one of {[t.value for t in Task]}")
    for key in ("height", "width"):
        if not isinstance(record[key], int) or record[key] < 1:
            problems.append(f"{key} is {record[key]!r}, expected a positive int")
    if record["vocabulary"] is None and "texts" not in record:
        problems.append("neither a vocabulary nor texts: a model would have nothing to look for")
    if training and "instances" not in record and "sem_seg" not in record:
        problems.append("neither instances nor sem_seg to learn from")
    return problems + _target_problems(record)


def _target_problems(record: Mapping[str, Any]) -> List[str]:
    problems = []
    size = tuple(record["image"].shape[-2:])
    sem_seg = record.get("sem_seg")
    if sem_seg is not None and (sem_seg.dtype != torch.int64 or tuple(sem_seg.shape) != size):
        problems.append(f"sem_seg is {tuple(sem_seg.shape)} {sem_seg.dtype}, expected {size} int64")
    instances = record.get("instances")
    if instances is not None:
        if tuple(instances.image_size) != size:
            problems.append(f"instances are of a {instances.image_size} image, expected {size}")
        absent = [key for key in ("gt_classes", "gt_boxes") if not instances.has(key)]
        if absent:
            problems.append(f"instances lack {absent}")
        elif instances.gt_classes.numel() and instances.gt_classes.min() < 0:
            problems.append("gt_classes holds a negative index")
        texts = record.get("texts")
        if texts is not None and not absent and instances.gt_classes.numel():
            highest = int(instances.gt_classes.max())
            if highest >= len(texts):
                problems.append(f"gt_classes reaches {highest}, but there are {len(texts)} texts")
    ignore = record.get("ignore_negative")
    if ignore is not None and "texts" in record and len(ignore) != len(record["texts"]):
        problems.append(
            f"ignore_negative has {len(ignore)} entries for {len(record['texts'])} texts"
        )
    return problems
