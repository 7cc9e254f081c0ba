"""Samples of a checked data set as label maps that can be painted."""

from typing import Any, Iterator, List, Mapping, NamedTuple, Sequence

import numpy as np

from segplugins.data.catalog import dataset_metadata
from segplugins.data.check.images import record_id
from segplugins.data.check.run import Checked
from segplugins.data.pairs.decode import Pair, read_record
from segplugins.data.read_images import read_image
from segplugins.data.read_regions import has_label_map, read_label_map, read_regions, target_form
from segplugins.structures.regions import Region, box_outline


class Sample(NamedTuple):
    """An image with what the data set says of it.

    Args:
        title: id, size and number of targets in one line.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int64, index into the names, -1 = nothing.
        names: of the labels.
    """

    title: str
    image: np.ndarray
    labels: np.ndarray
    names: List[str]


def samples(checked: Checked, number: int) -> Iterator[Sample]:
    """Yields samples, evenly spread over the records that have no fault.

    Args:
        checked: of `check_dataset`.
        number: how many, at most.
    """
    faulty = {fault.position for fault in checked.faults}
    records = [r for i, r in enumerate(checked.loaded.records) if i not in faulty]
    number = min(number, len(records))
    metadata = dataset_metadata(checked.loaded.name) if number else None
    for i in range(number):
        yield _sample(records[len(records) * i // number], metadata, checked.classes)


def _sample(record: Mapping[str, Any], metadata: Any, classes: Sequence[str]) -> Sample:
    if "entry" in record:
        return _pair_sample(read_record(record))
    image = read_image(record)
    labels = np.full(image.shape[:2], -1, np.int64)
    names = [str(text) for text in record.get("texts", ())]
    if has_label_map(record):
        found = read_label_map(record, metadata)
        labels, names = found.ids.astype(np.int64), list(found.sentences or classes)
        if found.segments is not None and not found.sentences:
            names = [classes[segment["category_id"]] for segment in found.segments]
    elif target_form(record) is not None:
        names = _paint_regions(labels, read_regions(record, metadata))
    height, width = labels.shape
    return Sample(f"{record_id(record)}  {width} x {height}", image, labels, names)


def _pair_sample(pair: Pair) -> Sample:
    """Returns an image-text pair, with its first text in the title."""
    labels = np.full(pair.image.shape[:2], -1, np.int64)
    names = _paint_regions(labels, pair.regions)
    height, width = labels.shape
    words = next(iter([*pair.captions, ", ".join(pair.tags)]), "")
    return Sample(f"{pair.key}  {width} x {height}  {words}".strip(), pair.image, labels, names)


def _paint_regions(labels: np.ndarray, regions: Sequence[Region]) -> List[str]:
    """Paints regions, small ones on top, and returns their texts."""
    shown = sorted((r for r in regions if r.has_target), key=lambda region: -_area(region))
    for index, region in enumerate(shown):
        _paint(labels, region, index)
    return [region.text for region in shown]


def _area(region: Region) -> float:
    if region.box is None:
        return float("inf")
    x0, y0, x1, y1 = region.box
    return (x1 - x0) * (y1 - y0)


def _paint(labels: np.ndarray, region: Region, index: int) -> None:
    if region.mask is not None:
        labels[region.bitmap(*labels.shape)] = index
        return
    labels[box_outline(region.box, *labels.shape)] = index
