"""Verifiers: filters that ask a model. They need a scorer of texts, or the segmenter again.

clip score     does the text fit the region?              score of the faded crop
captions       does a caption fit the image?              score of the whole image
mask           is this mask good?                         score inside less score outside
existence      is this concept here at all?               score against rival texts
jitter         does the mask stay if the box moves?       mean IoU with the masks of moved boxes
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Dict, List, Sequence, Tuple, Union

import numpy as np

from segplugins.annotation.answers import checked_scores, one_each, segment_in_parts
from segplugins.annotation.filters import mask_iou
from segplugins.annotation.interfaces import Box, Image, View
from segplugins.annotation.sample import (
    REGION_ID,
    Decision,
    Sample,
    clipped,
    rounded,
    whole_box,
)
from segplugins.annotation.stage import Stage, asked, check_choice, check_share
from segplugins.structures.regions import Region
from segplugins.structures.vocabulary import folded

Roles = Dict[str, Tuple[str, ...]]


def region_view(sample: Sample, index: int, *, grow: float, fade: float) -> View:
    """Returns a region as a scorer sees it: its box grown, what is outside its mask faded."""
    box = whole_box(_tight_box(sample, index), sample.image, grow)
    mask = sample.bitmap(index) if sample.regions[index].mask is not None else None
    return View(sample.image, box, mask, fade if mask is not None else 0.0)


def scores_of(
    model: Any, views: Sequence[View], texts: Sequence[Sequence[str]]
) -> List[np.ndarray]:
    """Returns the scores (T,) of each view's T texts.

    Raises:
        ValueError: the scorer gave more or fewer, or one that is no number.
    """
    if not views:
        return []
    answers = one_each(model.score(views, texts), views, "views")
    return [checked_scores(scores, listed) for scores, listed in zip(answers, texts)]


def _tight_box(sample: Sample, index: int) -> Box:
    region = sample.regions[index]
    return region.box if region.box is not None else tuple(sample.boxes([index])[0])


@dataclass(kw_only=True)
class FilterClip(Stage):
    """Drops regions whose text does not fit what is under their mask.

    The score goes to `extra["clip_score"]`.

    Args:
        model: a scorer.
        threshold: lower cosines are dropped.
        grow: share of its size by which the box of the mask grows.
        fade: 0-1, how far pixels outside the mask go to the mean colour of the image.
        drop: False = only count the failure, for `decide`.
    """

    name: ClassVar[str] = "filter_clip"
    needs: ClassVar[Tuple[str, ...]] = ("regions",)
    makes: ClassVar[Tuple[str, ...]] = ("CLIP scores",)
    roles: ClassVar[Roles] = {"model": ("scorer",)}

    model: Any
    threshold: float = 0.20
    grow: float = 0.1
    fade: float = 0.5
    drop: bool = True

    def check(self) -> None:
        check_share("threshold", self.threshold, -1.0)
        check_share("fade", self.fade)
        check_share("grow", self.grow, 0.0, 10.0)

    def __call__(self, samples: Sequence[Sample]) -> None:
        targets = [sample.targets() for sample in samples]
        places = [(s, i) for s, listed in enumerate(targets) for i in listed]
        views = [region_view(samples[s], i, grow=self.grow, fade=self.fade) for s, i in places]
        texts = [[samples[s].regions[i].text] for s, i in places]
        scores = scores_of(self.model, views, texts)
        values: List[Dict[int, float]] = [{} for _ in samples]
        for (s, i), score in zip(places, scores):
            values[s][i] = float(score[0])
        for sample, its in zip(samples, values):
            for index, value in its.items():
                _note(sample, index, clip_score=rounded(value))
            verdicts = {index: value >= self.threshold for index, value in its.items()}
            sample.judge(self.title, verdicts, its, self.threshold, drop=self.drop)


@dataclass(kw_only=True)
class FilterCaptions(Stage):
    """Marks captions of images by whether they fit; the best of those left is always kept.

    A caption that was marked before gets its score and stays marked.

    Args:
        model: a scorer.
        threshold: captions of a lower cosine get "kept": false.
    """

    name: ClassVar[str] = "filter_captions"
    needs: ClassVar[Tuple[str, ...]] = ("captions",)
    roles: ClassVar[Roles] = {"model": ("scorer",)}

    model: Any
    threshold: float = 0.20

    def check(self) -> None:
        check_share("threshold", self.threshold, -1.0)

    def __call__(self, samples: Sequence[Sample]) -> None:
        wanted = [[caption["text"] for caption in sample.captions] for sample in samples]
        positions = asked(samples, wanted)
        if not positions:
            return
        views = [whole_view(samples[i].image) for i in positions]
        answers = scores_of(self.model, views, [wanted[i] for i in positions])
        for position, scores in zip(positions, answers):
            sample = samples[position]
            left = np.array([bool(caption.get("kept", True)) for caption in sample.captions])
            best = int(np.argmax(np.where(left, scores, -np.inf)))
            for number, (caption, score) in enumerate(zip(sample.captions, scores)):
                kept = bool(left[number] and (score >= self.threshold or number == best))
                entry = {"clip_score": rounded(score), "kept": kept}
                sample.captions[number] = {**caption, **entry}
                note = "" if left[number] else "dropped before"
                text, value = caption["text"], float(score)
                sample.decisions.append(
                    Decision(self.title, text, kept, value, self.threshold, note=note)
                )


@dataclass(kw_only=True)
class VerifyMask(Stage):
    """Drops masks that are not good: that leave out what their text means, or hold other things.

    The text is compared with two views of one crop: the mask alone, and what the mask leaves out.
    A good mask takes the evidence with it, so the first scores higher than the second. The
    difference goes to `extra["mask_gain"]`.

    Args:
        model: a scorer.
        threshold: a lower difference is dropped.
        grow: share of its size by which the box of the mask grows.
        drop: False = only count the failure, for `decide`.
    """

    name: ClassVar[str] = "verify_mask"
    needs: ClassVar[Tuple[str, ...]] = ("masks",)
    roles: ClassVar[Roles] = {"model": ("scorer",)}

    model: Any
    threshold: float = 0.02
    grow: float = 0.3
    drop: bool = True

    def check(self) -> None:
        check_share("threshold", self.threshold, -2.0, 2.0)
        check_share("grow", self.grow, 0.0, 10.0)

    def __call__(self, samples: Sequence[Sample]) -> None:
        places = [
            (s, i)
            for s, sample in enumerate(samples)
            for i in sample.targets()
            if sample.regions[i].mask is not None
        ]
        inside = [region_view(samples[s], i, grow=self.grow, fade=1.0) for s, i in places]
        outside = [replace(view, shown=~view.shown) for view in inside]
        texts = [[samples[s].regions[i].text] for s, i in places]
        scores = scores_of(self.model, [*inside, *outside], [*texts, *texts])
        values: List[Dict[int, float]] = [{} for _ in samples]
        for (s, i), one, other in zip(places, scores, scores[len(places) :]):
            values[s][i] = float(one[0]) - float(other[0])
        for sample, its in zip(samples, values):
            for index, value in its.items():
                _note(sample, index, mask_gain=rounded(value))
            verdicts = {index: value >= self.threshold for index, value in its.items()}
            sample.judge(self.title, verdicts, its, self.threshold, drop=self.drop)


@dataclass(kw_only=True)
class VerifyExistence(Stage):
    """Drops regions of concepts that the image does not show, and keeps them as hard negatives.

    A region's text is compared with rival texts on the region's crop, and its share of the softmax
    is the evidence. A text none of whose regions passes becomes a region without a target: the
    image surely does not show it, although a model thought so.

    Args:
        model: a scorer.
        threshold: regions of a lower share are dropped.
        negative_below: a text whose best share is lower becomes a hard negative.
        rivals: "vocabulary" (that of the recipe) or a list of texts. The other texts of the image
            are rivals as well.
        temperature: that cosines are divided by before the softmax; CLIP's is 0.01.
        grow: share of its size by which the box grows.
        drop: False = only count the failure, for `decide`; then there are no negatives.
    """

    name: ClassVar[str] = "verify_existence"
    needs: ClassVar[Tuple[str, ...]] = ("regions",)
    roles: ClassVar[Roles] = {"model": ("scorer",)}

    model: Any
    threshold: float = 0.2
    negative_below: float = 0.05
    rivals: Union[str, Sequence[str]] = "vocabulary"
    temperature: float = 0.01
    grow: float = 0.1
    drop: bool = True

    def check(self) -> None:
        check_share("threshold", self.threshold)
        check_share("negative_below", self.negative_below, 0.0, self.threshold)
        check_share("grow", self.grow, 0.0, 10.0)
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}, expected more than 0")
        if isinstance(self.rivals, str):
            check_choice("rivals", self.rivals, ("vocabulary",))

    def __call__(self, samples: Sequence[Sample]) -> None:
        places = [(s, i) for s, sample in enumerate(samples) for i in sample.targets()]
        views = [region_view(samples[s], i, grow=self.grow, fade=0.0) for s, i in places]
        texts = [self._texts(samples[s], i) for s, i in places]
        scores = scores_of(self.model, views, texts)
        values: List[Dict[int, float]] = [{} for _ in samples]
        for (s, i), cosines in zip(places, scores):
            logits = np.asarray(cosines, np.float64) / self.temperature
            shares = np.exp(logits - logits.max())
            values[s][i] = float(shares[0] / shares.sum())
        for sample, its in zip(samples, values):
            self._decide(sample, its)

    def _texts(self, sample: Sample, index: int) -> List[str]:
        """Returns the text of a region and its rivals, each once."""
        region = sample.regions[index]
        others = [other.text for other in sample.regions if other.has_target]
        label = region.extra.get("label", region.text)  # "all dogs" is no rival of "dog"
        texts = {folded(region.text): region.text}
        for text in [*self.rivals, *others]:
            if folded(text) != folded(label):
                texts.setdefault(folded(text), text)
        return list(texts.values())

    def _decide(self, sample: Sample, values: Dict[int, float]) -> None:
        best: Dict[str, Tuple[float, Region]] = {}
        for index, value in values.items():
            region = sample.regions[index]
            _note(sample, index, existence=rounded(value))
            before = best.get(folded(region.text))
            if before is None or value > before[0]:
                best[folded(region.text)] = (value, region)
        verdicts = {index: value >= self.threshold for index, value in values.items()}
        absent = [index for index, value in values.items() if value < self.negative_below]
        sample.judge(self.title, verdicts, values, self.threshold, drop=self.drop, surplus=absent)
        if not self.drop:
            return
        for value, region in best.values():
            if value < self.negative_below:
                sample.add(
                    Region(region.text),
                    negative="existence",
                    existence=rounded(value),
                    replaces=region.extra[REGION_ID],
                )


@dataclass(kw_only=True)
class FilterJitter(Stage):
    """Drops masks that change when their box is moved a little along its diagonal.

    For a box b of size w, h and an offset d the box b + d (w, h, w, h), cut at the image, is
    segmented again; the stability is the mean IoU with the mask that the region has. It goes to
    `extra["mask_stability"]`.

    Args:
        model: a box segmenter.
        offsets: shares of the size of the box.
        threshold: a lower stability is dropped.
        iou: "fg" = IoU of the masks; "fg_bg_mean" = mean with the IoU of their backgrounds.
        drop: False = only count the failure, for `decide`.
    """

    name: ClassVar[str] = "filter_jitter"
    needs: ClassVar[Tuple[str, ...]] = ("masks",)
    makes: ClassVar[Tuple[str, ...]] = ("stabilities",)
    roles: ClassVar[Roles] = {"model": ("box_segmenter",)}

    model: Any
    offsets: Sequence[float] = (-0.1, -0.05, 0.05, 0.1)
    threshold: float = 0.8
    iou: str = "fg"
    drop: bool = True

    def check(self) -> None:
        check_share("threshold", self.threshold)
        check_choice("iou", self.iou, ("fg", "fg_bg_mean"))
        if not self.offsets or any(not 0 < abs(offset) < 1 for offset in self.offsets):
            raise ValueError(f"offsets are {self.offsets}, expected numbers in (-1, 1) but 0")

    def __call__(self, samples: Sequence[Sample]) -> None:
        wanted = [
            [i for i in sample.targets() if sample.regions[i].mask is not None]
            for sample in samples
        ]
        positions = asked(samples, wanted)
        boxes = [
            jittered(samples[i].boxes(wanted[i]), self.offsets, samples[i].image) for i in positions
        ]
        flat = [each.reshape(-1, 4) for each in boxes]
        moves = len(self.offsets)
        measured: List[Dict[int, float]] = [{} for _ in positions]
        images = [samples[i].image for i in positions]
        for part in segment_in_parts(self.model, images, flat, group=moves):
            sample, listed = samples[positions[part.image]], wanted[positions[part.image]]
            moved = part.masks.reshape(-1, moves, *sample.image.size)
            for index, masks in zip(listed[part.start // moves :], moved):
                measured[part.image][index] = stability(sample.bitmap(index), masks, self.iou)
        for position, values in zip(positions, measured):
            sample = samples[position]
            for index, value in values.items():
                _note(sample, index, mask_stability=rounded(value))
            verdicts = {index: value >= self.threshold for index, value in values.items()}
            sample.judge(self.title, verdicts, values, self.threshold, drop=self.drop)


def jittered(boxes: np.ndarray, offsets: Sequence[float], image: Image) -> np.ndarray:
    """Returns boxes (N, 4) moved along their diagonals, (N, offsets, 4), cut at the image."""
    sides = boxes[:, 2:] - boxes[:, :2]
    steps = np.concatenate([sides, sides], axis=1)[:, None] * np.asarray(offsets)[None, :, None]
    return clipped(boxes[:, None] + steps, image)


def stability(mask: np.ndarray, moved: np.ndarray, kind: str = "fg") -> float:
    """Returns the mean IoU of a mask (H, W) with the masks (J, H, W) of moved boxes; 0 if empty."""
    if not mask.any():
        return 0.0
    values = [mask_iou(mask, other) for other in moved]
    if kind == "fg_bg_mean":
        values = [(v + mask_iou(~mask, ~other)) / 2 for v, other in zip(values, moved)]
    return float(np.mean(values))


def whole_view(image: Image) -> View:
    """Returns the view of a whole image."""
    return View(image, (0, 0, image.size[1], image.size[0]))


def _note(sample: Sample, index: int, **extra: Any) -> None:
    region = sample.regions[index]
    sample.regions[index] = replace(region, extra={**region.extra, **extra})


VERIFIERS: Dict[str, type] = {
    stage.name: stage
    for stage in (FilterClip, FilterCaptions, VerifyMask, VerifyExistence, FilterJitter)
}
