"""Sample: one image on its way through the stages, with every decision made about it."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from segplugins.annotation.interfaces import Box, Image
from segplugins.files.region_shards import region_data
from segplugins.structures.regions import Region, Task, box_of_mask, encode_mask

SCHEMA_VERSION = 2
REGION_ID = "region_id"


@dataclass(frozen=True)
class Decision:
    """What a stage decided about a region, a tag or a caption.

    Args:
        stage: title of the stage, such as "3 filter_clip".
        text: of what was judged.
        kept: False where it was dropped, or would be (see `Sample.judge`).
        value: what was measured; None where there is no number to it.
        threshold: what it was compared with.
        region_id: of the region; None for tags and captions of the image.
        note: why, where the value does not say it.
    """

    stage: str
    text: str
    kept: bool
    value: Optional[float] = None
    threshold: Optional[float] = None
    region_id: Optional[int] = None
    note: str = ""

    def as_data(self) -> Dict[str, Any]:
        """Returns it as JSON data."""
        data = {"stage": self.stage, "region_id": self.region_id, "text": self.text}
        data |= {"kept": self.kept, "value": rounded(self.value), "threshold": self.threshold}
        return {**data, "note": self.note} if self.note else data


@dataclass(eq=False)
class Sample:
    """An image and what is known of it so far.

    Args:
        image: decoded.
        image_id: see `image_identity`.
        source: where the image comes from.
        regions: found so far; each has an `extra["region_id"]`. Fill it by `add`.
        tags: JSON data: "name", "score", "annotator".
        captions: JSON data: "text", "score", "annotator", "prompt_id", "kept".
        set_aside: regions that a stage dropped, which is their `extra["dropped_by"]`. They stay in
            the record, for people; nothing is trained on them.
        not_exhaustive: texts of regions that were dropped: the image may show such objects.
        decisions: made so far.
        more: other keys of the record.
    """

    image: Image
    image_id: str
    source: str = ""
    regions: List[Region] = field(default_factory=list)
    tags: List[Dict[str, Any]] = field(default_factory=list)
    captions: List[Dict[str, Any]] = field(default_factory=list)
    set_aside: List[Region] = field(default_factory=list)
    not_exhaustive: List[str] = field(default_factory=list)
    decisions: List[Decision] = field(default_factory=list)
    more: Dict[str, Any] = field(default_factory=dict)
    _count: int = 0

    def add(self, region: Region, **extra: Any) -> Region:
        """Adds a region under a new number and returns it."""
        more = {key: value for key, value in extra.items() if value is not None}
        region = replace(region, extra={**region.extra, REGION_ID: self._count, **more})
        self._count += 1
        self.regions.append(region)
        return region

    def propose(
        self,
        stage: str,
        region: Region,
        kept: bool,
        value: Optional[float],
        threshold: Optional[float] = None,
        *,
        note: str = "",
        **extra: Any,
    ) -> None:
        """Records the decision about a new region, and adds the region if it is kept.

        Args:
            stage: title of the stage that made it.
            region: with its text.
            kept: whether it becomes a region of the sample.
            value: what was measured.
            threshold: what it was compared with.
            note: why.
            extra: for the region.
        """
        number = self._count if kept else None
        self.decisions.append(Decision(stage, region.text, kept, value, threshold, number, note))
        if kept:
            self.add(region, **extra)

    def state(self) -> Tuple[Any, ...]:
        """Returns what stages change, for `restore`."""
        lists = (
            self.regions,
            self.tags,
            self.captions,
            self.set_aside,
            self.not_exhaustive,
            self.decisions,
        )
        return (*map(list, lists), dict(self.more), self._count)

    def restore(self, state: Tuple[Any, ...]) -> None:
        """Takes back all changes since `state` was called."""
        lists, (more, self._count) = map(list, state[:-2]), state[-2:]
        self.regions, self.tags, self.captions, self.set_aside, *others = lists
        self.not_exhaustive, self.decisions = others
        self.more = dict(more)

    def targets(self) -> List[int]:
        """Returns the positions of regions that have a target in the image."""
        return [index for index, region in enumerate(self.regions) if region.has_target]

    def boxes(self, positions: Sequence[int]) -> np.ndarray:
        """Returns the boxes (N, 4) float64 that models are asked with; see `prompt_box`."""
        boxes = [prompt_box(self.regions[index], self.image) for index in positions]
        return np.array(boxes, np.float64).reshape(-1, 4)

    def bitmap(self, index: int) -> np.ndarray:
        """Returns the mask (H, W) bool of a region; that of its box where it has no mask."""
        region = self.regions[index]
        if region.mask is not None:
            return region.bitmap(*self.image.size)
        mask = np.zeros(self.image.size, bool)
        x0, y0, x1, y1 = whole_box(region.box, self.image)
        mask[y0:y1, x0:x1] = True
        return mask

    def judge(
        self,
        stage: str,
        verdicts: Mapping[int, bool],
        values: Mapping[int, Optional[float]],
        threshold: Optional[float] = None,
        *,
        drop: bool = True,
        surplus: Collection[int] = (),
        aside: Callable[[Region], Region] = lambda region: region,
        note: str = "",
    ) -> None:
        """Records a decision per region, and drops the regions that failed.

        What is dropped may be an object all the same: it goes to `set_aside`, its text to
        `not_exhaustive`.

        Args:
            stage: title of the stage.
            verdicts: position of a region to whether it passes.
            values: position to what was measured.
            threshold: what values were compared with.
            drop: False: failed regions stay and count the failure in `extra["failed"]`, for
                the stage `decide`.
            surplus: positions that leave nothing unannotated: another region is of the same
                object, or the image surely does not show it.
            aside: returns what is set aside of a region.
            note: why.
        """
        kept = []
        for index, region in enumerate(self.regions):
            if index not in verdicts:
                kept.append(region)
                continue
            passes, value = bool(verdicts[index]), values.get(index)
            number = region.extra[REGION_ID]
            self.decisions.append(
                Decision(stage, region.text, passes, value, threshold, number, note)
            )
            if not passes and not drop:
                failed = [*region.extra.get("failed", ()), stage]
                region = replace(region, extra={**region.extra, "failed": failed})
            if passes or not drop:
                kept.append(region)
            elif index not in surplus:
                self._set_aside(aside(region), stage)
        self.regions = kept

    def _set_aside(self, region: Region, stage: str) -> None:
        self.set_aside.append(replace(region, extra={**region.extra, "dropped_by": stage}))
        if region.text not in self.not_exhaustive:
            self.not_exhaustive.append(region.text)

    def as_record(self, task: Task) -> Dict[str, Any]:
        """Returns the region line of the image."""
        height, width = self.image.size
        return {
            "image_id": self.image_id,
            "source": self.source,
            "file_name": self.image.file_name,
            "height": height,
            "width": width,
            "task": str(task),
            "tags": self.tags,
            "captions": self.captions,
            "regions": [region_data(region) for region in self.regions],
            **({"set_aside": [region_data(r) for r in self.set_aside]} if self.set_aside else {}),
            **({"not_exhaustive": sorted(self.not_exhaustive)} if self.not_exhaustive else {}),
            **self.more,
            "schema_version": SCHEMA_VERSION,
        }


def image_identity(file_name: str, content: bytes) -> str:
    """Returns an id that differs wherever path or content differ, such as "x-3f2a9c...".

    Args:
        file_name: path below the folder of images.
        content: of the file.
    """
    digest = hashlib.sha256(file_name.encode() + b"\0" + hashlib.sha256(content).digest())
    return f"{PurePosixPath(file_name).stem}-{digest.hexdigest()[:20]}"


def with_mask(region: Region, mask: np.ndarray, **extra: Any) -> Region:
    """Returns a region with another mask and the tight box of it.

    The box that asked for the mask stays in `extra["prompt_box"]`.

    Args:
        region: of any kind.
        mask: (H, W) bool, not empty.
        extra: to be added.
    """
    before = {} if region.box is None else {"prompt_box": [round(float(v), 2) for v in region.box]}
    return replace(
        region,
        box=box_of_mask(mask),
        mask=encode_mask(mask),
        extra={**before, **region.extra, **extra},
    )


def prompt_box(region: Region, image: Image) -> Box:
    """Returns the box that a model is asked with: prompt box, else box, else that of the mask.

    Raises:
        ValueError: the region has no target.
    """
    box = region.extra.get("prompt_box", region.box)
    if box is None and region.mask is not None:
        box = box_of_mask(region.bitmap(*image.size))
    if box is None:
        raise ValueError(f"region '{region.text}' has no box and no mask")
    return tuple(map(float, box))


def clipped(boxes: np.ndarray, image: Image) -> np.ndarray:
    """Returns boxes (..., 4) x0, y0, x1, y1 cut at the image."""
    height, width = image.size
    return np.clip(boxes, 0, [width, height, width, height])


def whole_box(box: Sequence[float], image: Image, grow: float = 0.0) -> tuple:
    """Returns the whole pixels that a box touches, cut at the image, at least one a side.

    Args:
        box: x0, y0, x1, y1.
        image: that it is of.
        grow: share of width and height added on all sides together.
    """
    x0, y0, x1, y1 = box
    dx, dy = grow * (x1 - x0) / 2, grow * (y1 - y0) / 2
    height, width = image.size
    left = int(np.clip(np.floor(x0 - dx), 0, width - 1))
    top = int(np.clip(np.floor(y0 - dy), 0, height - 1))
    right = int(np.clip(np.ceil(x1 + dx), left + 1, width))
    bottom = int(np.clip(np.ceil(y1 + dy), top + 1, height))
    return left, top, right, bottom


def rounded(value: Optional[float]) -> Optional[float]:
    """Returns a number with five digits behind the point, None for None and for no number."""
    return None if value is None or not np.isfinite(value) else round(float(value), 5)
