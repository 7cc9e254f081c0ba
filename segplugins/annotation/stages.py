"""The stages that make annotations: tags, captions, boxes, masks.

Those that take annotations away stand in filters.py and verify.py.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Dict, List, Sequence, Tuple, Union

import numpy as np

from segplugins.annotation.sample import Decision, Sample, clipped, rounded, with_mask
from segplugins.annotation.stage import Stage, asked, check_choice, check_share
from segplugins.structures.regions import Region, box_of_mask, encode_mask
from segplugins.structures.vocabulary import folded


@dataclass(kw_only=True)
class TagImage(Stage):
    """Names what is in an image.

    Args:
        model: a tagger.
        threshold: tags of a lower score are dropped; those without a score stay.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "tag_image"
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("tagger",)}

    model: Any
    threshold: float = 0.0
    annotator: str = ""

    def check(self) -> None:
        check_share("threshold", self.threshold)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample, tags in zip(samples, self.model.tag([s.image for s in samples])):
            before = {folded(tag["name"]) for tag in sample.tags}
            for tag in tags:
                key = folded(tag.text)
                note = "empty" if not key else "said before" if key in before else ""
                kept = not note and (tag.score is None or tag.score >= self.threshold)
                sample.decisions.append(
                    Decision(self.title, tag.text, kept, tag.score, self.threshold, note=note)
                )
                if kept:
                    before.add(key)
                    entry = {"name": tag.text, "score": rounded(tag.score)}
                    sample.tags.append({**entry, "annotator": self.annotator})


@dataclass(kw_only=True)
class CaptionImage(Stage):
    """Says what an image shows.

    Args:
        model: a captioner.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "caption_image"
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("captioner",)}

    model: Any
    annotator: str = ""

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample, captions in zip(samples, self.model.caption([s.image for s in samples])):
            before = {folded(caption["text"]) for caption in sample.captions}
            for caption in captions:
                key = folded(caption.text)
                is_new = bool(key) and key not in before
                note = "" if is_new else "empty" if not key else "said before"
                sample.decisions.append(
                    Decision(self.title, caption.text, is_new, caption.score, note=note)
                )
                if is_new:
                    before.add(key)
                    sample.captions.append(
                        {
                            "text": caption.text,
                            "score": rounded(caption.score),
                            "annotator": self.annotator,
                            "prompt_id": caption.prompt_id,
                            "kept": True,
                        }
                    )


@dataclass(kw_only=True)
class Detect(Stage):
    """Finds boxes, by the tags of an image or by a vocabulary.

    Args:
        model: a detector.
        names: "tags", "vocabulary" (that of the recipe), or a list of names.
        threshold: detections of a lower score are dropped.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "detect"
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("detector",)}

    model: Any
    names: Union[str, Sequence[str]] = "tags"
    threshold: float = 0.0
    annotator: str = ""

    def check(self) -> None:
        check_share("threshold", self.threshold)
        if isinstance(self.names, str):
            check_choice("names", self.names, ("tags", "vocabulary"))

    def __call__(self, samples: Sequence[Sample]) -> None:
        names = [
            [tag["name"] for tag in sample.tags] if self.names == "tags" else list(self.names)
            for sample in samples
        ]
        positions = asked(samples, names)
        found = self.model.detect(
            [samples[i].image for i in positions], [names[i] for i in positions]
        )
        for position, detections in zip(positions, found):
            self._add(samples[position], detections)

    def _add(self, sample: Sample, detections: Sequence[Any]) -> None:
        for detection in detections:
            box = clipped(np.asarray(detection.box, np.float64), sample.image)
            box = tuple(np.round(box, 2).tolist())
            has_area = box[2] > box[0] and box[3] > box[1] and bool(detection.text.strip())
            kept = has_area and detection.score >= self.threshold
            note = "" if has_area else "no area inside the image, or no name"
            number = sample.next_id if kept else None
            sample.decisions.append(
                Decision(
                    self.title,
                    detection.text,
                    kept,
                    float(detection.score),
                    self.threshold,
                    number,
                    note,
                )
            )
            if kept:
                region = Region(detection.text, box, score=float(detection.score))
                score = rounded(detection.score)
                sample.add(region, label_source=self.annotator, detector_score=score)


@dataclass(kw_only=True)
class SegmentBoxes(Stage):
    """Turns boxes into masks: those of detections or those that the data set has.

    A region whose mask is empty is dropped.

    Args:
        model: a box segmenter.
        replace: also regions that have a mask get a new one.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "segment_boxes"
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("box_segmenter",)}

    model: Any
    replace: bool = True
    annotator: str = ""

    def __call__(self, samples: Sequence[Sample]) -> None:
        wanted = [
            [i for i in s.targets() if self.replace or s.regions[i].mask is None] for s in samples
        ]
        positions = asked(samples, wanted)
        boxes = [samples[i].boxes(wanted[i]) for i in positions]
        answers = self.model.segment_boxes([samples[i].image for i in positions], boxes)
        for position, answer in zip(positions, answers):
            sample, verdicts, values = samples[position], {}, {}
            for index, mask, score in zip(wanted[position], answer.masks, answer.scores):
                verdicts[index], values[index] = bool(mask.any()), float(mask.sum())
                if verdicts[index]:
                    sample.regions[index] = with_mask(
                        sample.regions[index],
                        mask,
                        quality=rounded(score),
                        mask_source=self.annotator,
                    )
            sample.judge(self.title, verdicts, values, 1, note="pixels of the mask")


@dataclass(kw_only=True)
class CaptionBoxes(Stage):
    """Describes regions.

    Args:
        model: a region captioner.
        count: captions asked for per region.
        as_text: the best caption becomes the text of the region; its former text stays in
            `extra["label"]`. A region without any caption is then dropped.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "caption_boxes"
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("region_captioner",)}

    model: Any
    count: int = 1
    as_text: bool = True
    annotator: str = ""

    def check(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, expected 1 or more")

    def __call__(self, samples: Sequence[Sample]) -> None:
        wanted = [sample.targets() for sample in samples]
        positions = asked(samples, wanted)
        boxes = [samples[i].boxes(wanted[i]) for i in positions]
        answers = self.model.caption_boxes([samples[i].image for i in positions], boxes, self.count)
        for position, captions in zip(positions, answers):
            self._add(samples[position], wanted[position], captions)

    def _add(self, sample: Sample, wanted: Sequence[int], answers: Sequence[Any]) -> None:
        verdicts: Dict[int, bool] = {}
        for index, captions in zip(wanted, answers):
            region = sample.regions[index]
            entries = [
                {"text": c.text, "score": rounded(c.score), "annotator": self.annotator}
                | ({} if c.prompt_id is None else {"prompt_id": c.prompt_id})
                for c in captions[: self.count]
                if c.text.strip()
            ]
            listed = [*region.extra.get("captions", ()), *entries]
            region = replace(region, extra={**region.extra, "captions": listed})
            if self.as_text:
                verdicts[index] = bool(entries)
                if entries:
                    extra = {"label": region.text, **region.extra}
                    region = replace(region, text=entries[0]["text"], extra=extra)
            sample.regions[index] = region
        sample.judge(self.title, verdicts, {}, note="a caption is there")


@dataclass(kw_only=True)
class SegmentPhrase(Stage):
    """Makes a region of every caption that is kept.

    A caption without a target stays as a caption; the audit says so.

    Args:
        model: a phrase segmenter.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "segment_phrase"
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("phrase_segmenter",)}

    model: Any
    annotator: str = ""

    def __call__(self, samples: Sequence[Sample]) -> None:
        wanted = [[c["text"] for c in s.captions if c.get("kept", True)] for s in samples]
        positions = asked(samples, wanted)
        answers = self.model.segment_phrases(
            [samples[i].image for i in positions], [wanted[i] for i in positions]
        )
        for position, answer in zip(positions, answers):
            sample = samples[position]
            for text, mask, score in zip(wanted[position], answer.masks, answer.scores):
                has_target = bool(mask.any())
                number = sample.next_id if has_target else None
                pixels = float(mask.sum())
                sample.decisions.append(
                    Decision(self.title, text, has_target, pixels, 1, number, "pixels of the mask")
                )
                if has_target:
                    region = Region(text, box_of_mask(mask), encode_mask(mask))
                    quality = rounded(score)
                    sample.add(region, quality=quality, mask_source=self.annotator)


@dataclass(kw_only=True)
class SegmentStuff(Stage):
    """Adds the background as regions that are no things.

    Args:
        model: a stuff segmenter.
        threshold: segments of a lower score are dropped.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "segment_stuff"
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("stuff_segmenter",)}

    model: Any
    threshold: float = 0.0
    annotator: str = ""

    def check(self) -> None:
        check_share("threshold", self.threshold)

    def __call__(self, samples: Sequence[Sample]) -> None:
        answers = self.model.segment_stuff([sample.image for sample in samples])
        for sample, segments in zip(samples, answers):
            for segment in segments:
                kept = bool(segment.mask.any()) and segment.score >= self.threshold
                number = sample.next_id if kept else None
                sample.decisions.append(
                    Decision(self.title, segment.text, kept, segment.score, self.threshold, number)
                )
                if kept:
                    region = Region(
                        segment.text,
                        box_of_mask(segment.mask),
                        encode_mask(segment.mask),
                        is_thing=False,
                        score=float(segment.score),
                    )
                    sample.add(region, mask_source=self.annotator)


@dataclass(kw_only=True)
class MergeByText(Stage):
    """Makes one region of all that have the same text: the union of their masks.

    The score becomes the mean of theirs; their numbers stay in `extra["merged"]`.

    Args:
        template: the new text, with "{}" for the old.
    """

    name: ClassVar[str] = "merge_by_text"

    template: str = "all {}"

    def check(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(f"template is {self.template!r}, expected '{{}}' once in it")

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            groups: Dict[str, List[Region]] = defaultdict(list)
            others = []
            for region in sample.regions:
                if region.mask is None:
                    others.append(region)
                else:
                    groups[folded(region.text)].append(region)
            sample.regions = others
            for members in groups.values():
                self._merge(sample, members)

    def _merge(self, sample: Sample, members: Sequence[Region]) -> None:
        union = np.logical_or.reduce([r.bitmap(*sample.image.size) for r in members])
        quality = [r.extra["quality"] for r in members if r.extra.get("quality") is not None]
        source = members[0].extra
        sample.add(
            Region(
                self.template.replace("{}", members[0].text),
                box_of_mask(union),
                encode_mask(union),
                is_thing=members[0].is_thing,
                score=float(np.mean([region.score for region in members])),
                extra={k: source[k] for k in ("label_source", "mask_source") if k in source},
            ),
            label=members[0].text,
            merged=[region.extra["region_id"] for region in members],
            quality=rounded(float(np.mean(quality))) if quality else None,
        )


@dataclass(kw_only=True)
class ComposePanoptic(Stage):
    """Makes masks that do not overlap: stuff first, then things, the surest last and on top.

    A thing's rank is its score times its stability under jitter, where that was measured.

    Args:
        min_share: a segment that keeps less of its area is dropped.
        min_pixels: a segment left with fewer pixels is dropped.
    """

    name: ClassVar[str] = "compose_panoptic"

    min_share: float = 0.2
    min_pixels: int = 64

    def check(self) -> None:
        check_share("min_share", self.min_share)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            with_masks = [i for i, region in enumerate(sample.regions) if region.mask is not None]
            order = sorted(with_masks, key=lambda index: _rank(sample.regions[index]))
            canvas = np.full(sample.image.size, -1, np.int64)
            areas = {}
            for index in order:
                mask = sample.bitmap(index)
                canvas[mask], areas[index] = index, int(mask.sum())
            verdicts, values = {}, {}
            for index in with_masks:
                left = canvas == index
                pixels = int(left.sum())
                values[index] = pixels / max(areas[index], 1)
                verdicts[index] = pixels >= self.min_pixels and values[index] >= self.min_share
                if verdicts[index]:
                    sample.regions[index] = replace(
                        sample.regions[index], box=box_of_mask(left), mask=encode_mask(left)
                    )
            sample.judge(self.title, verdicts, values, self.min_share, note="share of area left")


def _rank(region: Region) -> Tuple[bool, float]:
    stability = region.extra.get("mask_stability")  # 0 is the least stable, None was not measured
    return region.is_thing, region.score * (1.0 if stability is None else stability)
