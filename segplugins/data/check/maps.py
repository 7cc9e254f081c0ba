"""What can be wrong with label maps, panoptic maps and masks in files, and what they hold.

H, W are the image size in pixels.
"""

from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from segplugins.data.check.images import record_id
from segplugins.data.read_regions import label_coding, object_mask
from segplugins.files.faults import Collect, Fault, FaultPolicy, InRecord
from segplugins.files.label_maps import read_colours, read_label_map
from segplugins.files.panoptic_ids import read_segment_ids
from segplugins.files.raster import size_text

Counts = Dict[int, int]
_LISTED = 5


class MapCheck:
    """Checks the map of one record.

    Args:
        record: of the catalog.
        metadata: of its data set.
        position: of the record in the set.
        size: (H, W) of its image.
    """

    def __init__(
        self, record: Mapping[str, Any], metadata: Any, position: int, size: Tuple[int, int]
    ):
        self.record, self.metadata, self.size = record, metadata, size
        self._where = {"record": record_id(record), "position": position}
        self.faults: List[Fault] = []
        self.labels: Counts = {}  # pixels by the value that they have in a map of classes

    def classes(self) -> Counts:
        """Checks a map of classes. Returns: pixels per class; those of no class are left out."""
        path = self.record["sem_seg_file_name"]
        coding = label_coding(self.metadata)
        labels = self._read(read_colours if coding.colours else read_label_map, path, "label map")
        if labels is None:
            return {}
        values, counts = _values(labels)
        self.labels = dict(zip(values.tolist(), counts.tolist()))
        classes, unknown = coding.classes(values)
        if unknown.size:
            message = f"the label map {coding.fault_text(values[unknown], counts[unknown])}"
            self._note("label-value", message, path)
        pixels: Counter = Counter()
        for index, count in zip(classes.tolist(), counts.tolist()):
            if index >= 0:
                pixels[index] += count
        return dict(pixels)

    def segments(self) -> Tuple[Counts, Counts]:
        """Checks a panoptic map with its segments.

        Returns:
            Pixels per class, segments per class; crowds are left out.
        """
        path = self.record["pan_seg_file_name"]
        ids = self._read(read_segment_ids, path, "panoptic map")
        if ids is None:
            return {}, {}
        pixel_counts = dict(zip(*(part.tolist() for part in _values(ids))))
        listed = {segment["id"]: segment for segment in self.record["segments_info"]}
        unlisted = sorted(set(pixel_counts) - set(listed) - {0})
        if unlisted:
            examples = ", ".join(f"{i} ({pixel_counts[i]} pixels)" for i in unlisted[:_LISTED])
            message = f"the map holds {examples} of {len(unlisted)} ids that no segment has"
            self._note("segment-id", message, path)
        pixels: Counts = {}
        segments: Counts = {}
        for number, segment in listed.items():
            category = segment["category_id"]
            self._check_segment(number, segment, pixel_counts.get(number, 0), path)
            if not segment.get("iscrowd") and number in pixel_counts:
                pixels[category] = pixels.get(category, 0) + pixel_counts[number]
                segments[category] = segments.get(category, 0) + 1
        return pixels, segments

    def _check_segment(
        self, number: int, segment: Mapping[str, Any], pixels: int, path: str
    ) -> None:
        names = getattr(self.metadata, "stuff_classes", None)
        category, area = segment["category_id"], segment.get("area", pixels)
        where = {"field": f"segment {number}", "entry": number}
        if pixels == 0:
            self._note("segment-id", "the map holds no pixel of it", path, **where)
        elif area != pixels:
            message = f"area is {area!r:.40}, the map holds {pixels} pixels of it"
            # Evaluation counts the pixels, and nothing else asks for areas.
            self._note("area", message, path, mend=("area", pixels), remark=True, **where)
        if names is not None and not 0 <= category < len(names):
            message = f"category_id {category} is outside the {len(names)} classes"
            self._note("unknown-id", message, path, **where)

    def mask(self) -> bool:
        """Checks a mask of one phrase. Returns: whether it shows anything."""
        path = self.record["mask_file_name"]
        shown = self._read(self._mask, path, "mask")
        if shown is None:
            return False
        if not shown.any():
            number = self.record.get("object_id")
            what = "pixel is above 128" if number is None else f"pixel is of object {number}"
            self._note("empty-mask", f"no {what}: the phrase has no target", path, remark=True)
        return bool(shown.any())

    def _mask(self, path: str, policy: FaultPolicy, *, what: str) -> Optional[np.ndarray]:
        return object_mask(path, self.record, policy)

    def objects(self, texts: Sequence[str]) -> None:
        """Checks a map of object numbers, of which number i is meant by text i - 1."""
        path = self.record["label_file_name"]
        labels = self._read(read_label_map, path, "map of objects")
        if labels is not None and (labels.min() < 0 or labels.max() > len(texts)):
            message = f"it holds object {labels.max()}, but there are {len(texts)} expressions"
            self._note("label-value", message, path)

    def _read(self, read: Callable, path: str, what: str) -> Optional[np.ndarray]:
        collected = Collect()
        array = read(path, InRecord(collected, **self._where), what=what)
        self.faults += collected.faults
        if array is not None and array.shape != self.size:
            message = (
                f"the {what} is {size_text(array.shape)} (height x width), its image "
                f"{size_text(self.size)}"
            )
            self._note("map-size", message, path)
            return None
        return array

    def _note(self, kind: str, message: str, path: str, **more: Any) -> None:
        self.faults.append(Fault(kind, message, path, **self._where, **more))


def _values(array: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the values that occur, int64 and ascending, and how often each does."""
    if array.dtype.itemsize <= 2 and array.dtype.kind == "u":
        counts = np.bincount(array.ravel())
        values = np.flatnonzero(counts)
        return values, counts[values]
    # Runs first: a map of segments has few of them, and sorting pixels is slow.
    flat = array.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(np.append(starts, flat.size))
    values, run_of = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(run_of.ravel(), weights=lengths).astype(np.int64)
    return values.astype(np.int64), counts


def text_faults(record: Mapping[str, Any]) -> Iterator[Tuple[str, str]]:
    """Yields field and message for texts of a record that say nothing."""
    for key in ("texts", "sentences"):
        listed = record.get(key)
        if key in record and not (isinstance(listed, (list, tuple)) and listed):
            yield key, f"'{key}' is {listed!r:.40}, expected a list of phrases"
        elif key in record:
            for number, text in enumerate(listed):
                if not isinstance(text, str) or not text.strip():
                    yield f"{key}[{number}]", f"the text is {text!r:.40}"
