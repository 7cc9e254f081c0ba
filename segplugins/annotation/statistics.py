"""Counts of an output folder: images, regions, names, areas, captions, decisions of each stage.

Records are read one at a time; what is kept are counts, so that memory does not grow with images.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Union

import numpy as np

from segplugins.annotation.pipeline import decisions_of, records_of
from segplugins.structures.regions import rle_counts
from segplugins.structures.vocabulary import folded

# Sides of squares that bound the sizes, in pixels, as tables of region data sets use them.
SIZES = {"tiny": 20, "small": 40, "medium": 100, "large": 200, "huge": None}
_BINS = 20  # of a histogram of values
_SAMPLES = 20_000  # values of a stage that quantiles are taken from


@dataclass
class StageCounts:
    """Decisions of one stage.

    Args:
        judged: number of decisions.
        dropped: number that were "not kept".
        threshold: that values were compared with; None where there is none.
        values: up to 20,000 of what was measured, drawn evenly.
    """

    judged: int = 0
    dropped: int = 0
    threshold: Any = None
    values: List[float] = field(default_factory=list)
    _measured: int = 0
    _draws: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, decision: Mapping[str, Any]) -> None:
        """Counts a decision."""
        self.judged += 1
        self.dropped += not decision["kept"]
        self.threshold = decision["threshold"]
        value = decision["value"]
        if value is None:
            return
        self._measured += 1
        if len(self.values) < _SAMPLES:
            self.values.append(value)
        elif (place := int(self._draws.integers(self._measured))) < _SAMPLES:
            self.values[place] = value

    def as_data(self) -> Dict[str, Any]:
        """Returns counts, quantiles and a histogram as JSON data."""
        data: Dict[str, Any] = {"judged": self.judged, "dropped": self.dropped}
        data["threshold"] = self.threshold
        if self.values:
            low, middle, high = np.quantile(self.values, [0.1, 0.5, 0.9])
            data["quantiles"] = [round(float(each), 5) for each in (low, middle, high)]
            counts, edges = np.histogram(self.values, _BINS)
            data["histogram"] = counts.tolist()
            data["range"] = [round(float(edges[0]), 5), round(float(edges[-1]), 5)]
        return data


def statistics(folder: Union[str, Path]) -> Dict[str, Any]:
    """Returns the counts of an output folder as JSON data.

    "images", "left_out", "regions", "negatives", "set_aside", "masks", "categories" (number),
    "names" (name to count, the most frequent first), "sources" (images of each), "sizes" (share of
    regions in percent), "captions" (annotator to number and mean words, of images and of regions),
    "stages".
    """
    counts: Counter = Counter()
    names: Counter = Counter()
    shown: Dict[str, str] = {}
    sources: Counter = Counter()
    sizes: Counter = Counter()
    words: Dict[str, List[int]] = {}
    for record in records_of(folder):
        sources[str(record.get("source", ""))] += 1
        if "error" in record:
            counts["left_out"] += 1
            continue
        counts["images"] += 1
        counts["set_aside"] += len(record.get("set_aside", ()))
        for caption in record.get("captions", ()):
            _add_words(words, "image", caption)
        for region in record["regions"]:
            extra = region.get("extra", {})
            if "box" not in region and "mask" not in region:
                counts["negatives"] += 1
                continue
            counts["regions"] += 1
            counts["masks"] += "mask" in region
            key = folded(str(extra.get("label", region["text"])))
            shown.setdefault(key, str(extra.get("label", region["text"])))
            names[key] += 1
            sizes[size_of(region_area(region))] += 1
            for caption in extra.get("captions", ()):
                _add_words(words, "region", caption)
    total = max(sum(sizes.values()), 1)
    return {
        **{k: counts[k] for k in ("images", "left_out", "regions", "masks")},
        **{k: counts[k] for k in ("negatives", "set_aside")},
        "categories": len(names),
        "names": {shown[key]: count for key, count in names.most_common()},
        "sources": dict(sources),
        "sizes": {name: round(100 * sizes[name] / total, 2) for name in SIZES},
        "captions": {
            key: {"number": number, "mean_words": round(sum_of / number, 2)}
            for key, (number, sum_of) in sorted(words.items())
        },
        "stages": stage_counts(folder),
    }


def stage_counts(folder: Union[str, Path]) -> Dict[str, Dict[str, Any]]:
    """Returns the counts of each stage, in the order of the recipe, as JSON data."""
    stages: Dict[str, StageCounts] = {}
    for decision in decisions_of(folder):
        key = decision["stage"]
        if key.endswith("gate_masks"):  # three checks in one stage
            key = f"{key}: {decision['note']}"
        stages.setdefault(key, StageCounts()).add(decision)
    order = sorted(stages, key=lambda title: int(title.split(" ")[0]))
    return {title: stages[title].as_data() for title in order}


def _add_words(words: Dict[str, List[int]], kind: str, caption: Any) -> None:
    text = caption["text"] if isinstance(caption, Mapping) else str(caption)
    annotator = caption.get("annotator", "") if isinstance(caption, Mapping) else ""
    for key in (kind, f"{kind}, {annotator or 'source'}"):
        entry = words.setdefault(key, [0, 0])
        entry[0] += 1
        entry[1] += len(text.split())


def region_area(region: Mapping[str, Any]) -> float:
    """Returns the area of a region of a record in pixels: of its RLE, else of its box."""
    mask = region.get("mask")
    if isinstance(mask, Mapping):
        return float(rle_counts(mask)[1::2].sum())
    box = region.get("box")
    if box is None:  # polygons alone
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in mask])
        return float(np.prod(np.ptp(points, axis=0)))
    return float((box[2] - box[0]) * (box[3] - box[1]))


def size_of(area: float) -> str:
    """Returns the name of the size of an area in pixels: "tiny" is below 20 x 20, and so on."""
    for name, side in SIZES.items():
        if side is None or area < side * side:
            return name
    raise AssertionError("the last size has no bound")
