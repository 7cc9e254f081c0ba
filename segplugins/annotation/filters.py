"""Filters that need no model: confidence, overlap, area, repeated captions, the fit of masks.

Each leaves a decision per region or caption in the audit, with the value that it measured.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Dict, List, Sequence, Set, Tuple

import numpy as np

from segplugins.annotation.sample import REGION_ID, Decision, Sample, clipped, prompt_box
from segplugins.annotation.stage import Stage, check_choice, check_share
from segplugins.structures.regions import Region, box_of_mask
from segplugins.structures.vocabulary import folded

# Values that regions may have, to what makes them.
_SCORES = {
    "score": "regions",
    "quality": "masks",
    "detector_score": "detector scores",
    "mask_stability": "stabilities",
    "clip_score": "CLIP scores",
}


@dataclass(kw_only=True)
class FilterScore(Stage):
    """Drops regions of low confidence.

    Args:
        threshold: lower values are dropped.
        value: "score" of the region, or a number in its `extra`: "quality" (of the mask, by the
            segmenter), "detector_score", "mask_stability", "clip_score". Regions without it stay.
        drop: False = only count the failure, for `decide`.
    """

    name: ClassVar[str] = "filter_score"

    threshold: float
    value: str = "score"
    drop: bool = True

    def check(self) -> None:
        check_choice("value", self.value, list(_SCORES))
        check_share("threshold", self.threshold, -1.0)

    def needed(self) -> Tuple[str, ...]:
        """Returns what has the value."""
        return (_SCORES[self.value],)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            values = {}
            for index in sample.targets():
                region = sample.regions[index]
                value = region.score if self.value == "score" else region.extra.get(self.value)
                if value is not None:
                    values[index] = float(value)
            verdicts = {index: value >= self.threshold for index, value in values.items()}
            sample.judge(self.title, verdicts, values, self.threshold, drop=self.drop)


@dataclass(kw_only=True)
class SuppressOverlaps(Stage):
    """Drops boxes that overlap one of a higher score (non-maximum suppression).

    The audit gives the IoU with the box that won.

    Args:
        iou: boxes that overlap more are taken for one object.
        per_text: only boxes of the same text compete; False: all do, and the winner keeps its text.
    """

    name: ClassVar[str] = "suppress_overlaps"
    needs: ClassVar[Tuple[str, ...]] = ("regions",)

    iou: float = 0.5
    per_text: bool = False

    def check(self) -> None:
        check_share("iou", self.iou)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            targets = sample.targets()
            boxes = sample.boxes(targets)
            scores = np.array([sample.regions[index].score for index in targets])
            texts = [folded(sample.regions[index].text) for index in targets]
            winners: List[int] = []
            verdicts, values = {}, {}
            for place in np.argsort(-scores, kind="stable"):
                rivals = [w for w in winners if not self.per_text or texts[w] == texts[place]]
                # A row at a time: all pairs of ten thousand boxes would fill the memory.
                overlap = box_iou(boxes[place : place + 1], boxes[rivals])
                highest = float(overlap.max(initial=0.0))
                values[targets[place]], verdicts[targets[place]] = highest, highest <= self.iou
                if highest <= self.iou:
                    winners.append(place)
            sample.judge(self.title, verdicts, values, self.iou, surplus=targets)


@dataclass(kw_only=True)
class FilterArea(Stage):
    """Drops regions that are a very small or a very large part of the image.

    Args:
        low: smallest share of the image.
        high: largest share of the image.
        min_pixels: fewest pixels.
        drop: False = only count the failure, for `decide`.
    """

    name: ClassVar[str] = "filter_area"
    needs: ClassVar[Tuple[str, ...]] = ("regions",)

    low: float = 0.001
    high: float = 0.95
    min_pixels: int = 1
    drop: bool = True

    def check(self) -> None:
        check_share("low", self.low)
        check_share("high", self.high, self.low)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            height, width = sample.image.size
            targets = sample.targets()
            pixels = {index: region_pixels(sample, index) for index in targets}
            values = {index: pixels[index] / (height * width) for index in targets}
            verdicts = {
                index: self.low <= values[index] <= self.high and pixels[index] >= self.min_pixels
                for index in targets
            }
            sample.judge(self.title, verdicts, values, self.low, drop=self.drop)


@dataclass(kw_only=True)
class FilterDuplicates(Stage):
    """Drops captions that say the same again, but for case and blanks.

    It looks at the captions of the image and of each region; regions with the same text and nearly
    the same box are one region, of which the one of the higher score stays.

    Args:
        iou: boxes of one text that overlap more are one region.
    """

    name: ClassVar[str] = "filter_duplicates"

    iou: float = 0.9

    def check(self) -> None:
        check_share("iou", self.iou)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            sample.captions = self._unique(sample, sample.captions, None)
            for index, region in enumerate(sample.regions):
                captions = region.extra.get("captions")
                if captions:
                    unique = self._unique(sample, captions, region.extra["region_id"])
                    extra = {**region.extra, "captions": unique}
                    sample.regions[index] = replace(region, extra=extra)
        SuppressOverlaps(title=self.title, iou=self.iou, per_text=True)(samples)

    def _unique(self, sample: Sample, captions: Sequence[dict], number: object) -> List[dict]:
        before: Set[str] = set()
        unique = []
        for caption in captions:
            key = folded(caption["text"])
            if key in before:
                sample.decisions.append(
                    Decision(
                        self.title, caption["text"], False, region_id=number, note="said before"
                    )
                )
            else:
                before.add(key)
                unique.append(caption)
        return unique


@dataclass(kw_only=True)
class GateMasks(Stage):
    """Checks masks that were made from boxes; those that do not fit go, and their boxes stay.

    A record may not mix boxes and masks, so such boxes go to "set_aside" of the record.

    Args:
        min_quality: lowest quality that the segmenter names; no check where it names none.
        min_share: smallest part of the prompt box that the mask covers.
        max_share: largest part.
        min_fit: lowest IoU of the tight box of the mask with the prompt box.
    """

    name: ClassVar[str] = "gate_masks"
    needs: ClassVar[Tuple[str, ...]] = ("masks",)

    min_quality: float = 0.7
    min_share: float = 0.05
    max_share: float = 1.0
    min_fit: float = 0.5

    def check(self) -> None:
        check_share("min_quality", self.min_quality)
        check_share("min_fit", self.min_fit)
        check_share("min_share", self.min_share)
        check_share("max_share", self.max_share, self.min_share)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            measured = {
                sample.regions[index].extra[REGION_ID]: self._measured(sample, index)
                for index in sample.targets()
                if sample.regions[index].mask is not None
            }
            for number, (note, low, high) in enumerate(self._limits()):
                values = {
                    index: measured[region.extra[REGION_ID]][number]
                    for index, region in enumerate(sample.regions)
                    if region.extra[REGION_ID] in measured
                }
                verdicts = {
                    index: value is None or low <= value <= high for index, value in values.items()
                }
                sample.judge(self.title, verdicts, values, low, aside=_without_mask, note=note)

    def _limits(self) -> Sequence[tuple]:
        return (
            ("quality by the segmenter", self.min_quality, np.inf),
            ("share of the box that the mask covers", self.min_share, self.max_share),
            ("IoU of the mask's box with the prompt", self.min_fit, 1.0),
        )

    def _measured(self, sample: Sample, index: int) -> tuple:
        region = sample.regions[index]
        prompt = np.array(prompt_box(region, sample.image))
        area = float((prompt[2] - prompt[0]) * (prompt[3] - prompt[1]))
        mask = sample.bitmap(index)
        tight = np.array([box_of_mask(mask)])
        # A mask may reach outside its prompt: only what lies inside counts as covering it.
        x0, y0 = np.floor(prompt[:2]).clip(0).astype(int)
        x1, y1 = np.ceil(prompt[2:]).clip(0).astype(int)
        covered = float(mask[y0:y1, x0:x1].sum())
        share = min(covered / max(area, 1e-9), 1.0)
        return region.extra.get("quality"), share, float(box_iou(prompt[None], tight)[0, 0])


@dataclass(kw_only=True)
class Decide(Stage):
    """Drops regions that failed more than a number of the stages with `drop: false` before it.

    Args:
        failures: that a region may have.
    """

    name: ClassVar[str] = "decide"
    needs: ClassVar[Tuple[str, ...]] = ("failures",)

    failures: int = 0

    def check(self) -> None:
        if self.failures < 0:
            raise ValueError(f"failures is {self.failures}, expected 0 or more")

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            values = {
                index: float(len(region.extra.get("failed", ())))
                for index, region in enumerate(sample.regions)
                if region.has_target
            }
            verdicts = {index: value <= self.failures for index, value in values.items()}
            sample.judge(self.title, verdicts, values, self.failures)


def _without_mask(region: Region) -> Region:
    extra = {key: value for key, value in region.extra.items() if key != "prompt_box"}
    return replace(region, box=region.extra.get("prompt_box", region.box), mask=None, extra=extra)


def region_pixels(sample: Sample, index: int) -> float:
    """Returns the area of a region's mask in pixels, or that of its box where it has no mask."""
    region = sample.regions[index]
    if region.mask is not None:
        return float(sample.bitmap(index).sum())
    x0, y0, x1, y1 = clipped(np.asarray(region.box, np.float64), sample.image)
    return float((x1 - x0) * (y1 - y0))


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the IoU (N, M) of boxes (N, 4) with boxes (M, 4), x0, y0, x1, y1."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod((high - low).clip(0), axis=2)
    areas = [np.prod((boxes[:, 2:] - boxes[:, :2]).clip(0), axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    return shared / np.maximum(union, 1e-9)


def mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the IoU of two masks (H, W) bool; 0 where both are empty."""
    union = int((one | other).sum())
    return float((one & other).sum()) / union if union else 0.0


FILTERS: Dict[str, type] = {
    stage.name: stage
    for stage in (FilterScore, SuppressOverlaps, FilterArea, FilterDuplicates, GateMasks, Decide)
}
