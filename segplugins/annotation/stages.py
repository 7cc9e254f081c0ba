"""The stages that make annotations: tags, captions, boxes, masks.

Those that combine them stand in combine.py, those that take some away in filters.py and verify.py.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from segplugins.annotation.answers import (
    checked_mask,
    checked_masks,
    checked_score,
    checked_text,
    one_each,
    segment_in_parts,
)
from segplugins.annotation.interfaces import Phrase
from segplugins.annotation.sample import Decision, Sample, clipped, rounded, with_mask
from segplugins.annotation.stage import Stage, asked, check_choice, check_share
from segplugins.structures.regions import Region, box_of_mask, encode_mask
from segplugins.structures.vocabulary import folded


def checked_phrase(phrase: Phrase) -> Phrase:
    """Returns a tag or caption of a model.

    Raises:
        ValueError: its text cannot be written, or its score is no number.
    """
    score = None if phrase.score is None else checked_score(phrase.score)
    return replace(phrase, text=checked_text(phrase.text), score=score)


class PhraseStage(Stage):
    """A stage that takes tags or captions of an image, each text once."""

    def _new(
        self,
        sample: Sample,
        phrases: Sequence[Phrase],
        before: Sequence[str],
        threshold: Optional[float] = None,
    ) -> Iterator[Phrase]:
        """Yields the phrases that are kept, after recording the decision about each.

        Args:
            sample: of the image.
            phrases: what the model said.
            before: texts that the sample has already.
            threshold: phrases of a lower score are dropped; those without a score stay.
        """
        texts = set(map(folded, before))
        for phrase in phrases:
            key = folded(phrase.text)
            note = "empty" if not key else "said before" if key in texts else ""
            is_sure = threshold is None or phrase.score is None or phrase.score >= threshold
            kept = not note and is_sure
            sample.decisions.append(
                Decision(self.title, phrase.text, kept, phrase.score, threshold, note=note)
            )
            if kept:
                texts.add(key)
                yield phrase


@dataclass(kw_only=True)
class TagImage(PhraseStage):
    """Names what is in an image.

    Args:
        model: a tagger.
        threshold: tags of a lower score are dropped; those without a score stay.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "tag_image"
    makes: ClassVar[Tuple[str, ...]] = ("tags",)
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("tagger",)}

    model: Any
    threshold: float = 0.0
    annotator: str = ""

    def check(self) -> None:
        check_share("threshold", self.threshold)

    def __call__(self, samples: Sequence[Sample]) -> None:
        answers = one_each(self.model.tag([s.image for s in samples]), samples, "images")
        answers = [list(map(checked_phrase, tags)) for tags in answers]
        for sample, tags in zip(samples, answers):
            before = [tag["name"] for tag in sample.tags]
            for tag in self._new(sample, tags, before, self.threshold):
                entry = {"name": tag.text, "score": rounded(tag.score)}
                sample.tags.append({**entry, "annotator": self.annotator})


@dataclass(kw_only=True)
class CaptionImage(PhraseStage):
    """Says what an image shows.

    Args:
        model: a captioner.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "caption_image"
    makes: ClassVar[Tuple[str, ...]] = ("captions",)
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("captioner",)}

    model: Any
    annotator: str = ""

    def __call__(self, samples: Sequence[Sample]) -> None:
        answers = one_each(self.model.caption([s.image for s in samples]), samples, "images")
        answers = [list(map(checked_phrase, captions)) for captions in answers]
        for sample, captions in zip(samples, answers):
            before = [caption["text"] for caption in sample.captions]
            for caption in self._new(sample, captions, before):
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
    makes: ClassVar[Tuple[str, ...]] = ("regions", "detector scores")
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("detector",)}

    model: Any
    names: Union[str, Sequence[str]] = "tags"
    threshold: float = 0.0
    annotator: str = ""

    def check(self) -> None:
        check_share("threshold", self.threshold)
        if isinstance(self.names, str):
            check_choice("names", self.names, ("tags", "vocabulary"))

    def needed(self) -> Tuple[str, ...]:
        """Returns the tags where it asks for them."""
        return ("tags",) if self.names == "tags" else ()

    def __call__(self, samples: Sequence[Sample]) -> None:
        names = [
            [tag["name"] for tag in sample.tags] if self.names == "tags" else list(self.names)
            for sample in samples
        ]
        positions = asked(samples, names)
        answers = self.model.detect(
            [samples[i].image for i in positions], [names[i] for i in positions]
        )
        made = [
            [self._region(samples[i], detection) for detection in detections]
            for i, detections in zip(positions, one_each(answers, positions, "images"))
        ]
        for position, regions in zip(positions, made):
            for region in regions:
                self._add(samples[position], region)

    def _region(self, sample: Sample, detection: Any) -> Region:
        """Returns a detection cut at the image; without a box where nothing of it is inside."""
        box = clipped(np.asarray(detection.box, np.float64), sample.image)
        x0, y0, x1, y1 = np.round(box, 2).tolist()
        inside = (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
        return Region(checked_text(detection.text), inside, score=checked_score(detection.score))

    def _add(self, sample: Sample, region: Region) -> None:
        is_region = region.has_target and bool(region.text.strip())
        sample.propose(
            self.title,
            region,
            is_region and region.score >= self.threshold,
            region.score,
            self.threshold,
            note="" if is_region else "no area inside the image, or no name",
            label_source=self.annotator,
            detector_score=rounded(region.score),
        )


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
    needs: ClassVar[Tuple[str, ...]] = ("regions",)
    makes: ClassVar[Tuple[str, ...]] = ("masks",)
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
        regions: List[Dict[int, Region]] = [{} for _ in positions]
        pixels: List[Dict[int, float]] = [{} for _ in positions]
        for part in segment_in_parts(self.model, [samples[i].image for i in positions], boxes):
            sample, listed = samples[positions[part.image]], wanted[positions[part.image]]
            for index, mask, score in zip(listed[part.start :], part.masks, part.scores):
                pixels[part.image][index] = float(mask.sum())
                if mask.any():
                    more = {"quality": rounded(score), "mask_source": self.annotator}
                    regions[part.image][index] = with_mask(sample.regions[index], mask, **more)
        for position, its, values in zip(positions, regions, pixels):
            sample = samples[position]
            for index, region in its.items():
                sample.regions[index] = region
            verdicts = {index: index in its for index in values}
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
    needs: ClassVar[Tuple[str, ...]] = ("regions",)
    makes: ClassVar[Tuple[str, ...]] = ("captions of regions",)
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
        answers = [
            [list(map(checked_phrase, said)) for said in one_each(captions, its, "boxes")]
            for captions, its in zip(one_each(answers, positions, "images"), boxes)
        ]
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
    needs: ClassVar[Tuple[str, ...]] = ("captions",)
    makes: ClassVar[Tuple[str, ...]] = ("regions", "masks")
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("phrase_segmenter",)}

    model: Any
    annotator: str = ""

    def __call__(self, samples: Sequence[Sample]) -> None:
        wanted = [[c["text"] for c in s.captions if c.get("kept", True)] for s in samples]
        positions = asked(samples, wanted)
        answers = self.model.segment_phrases(
            [samples[i].image for i in positions], [wanted[i] for i in positions]
        )
        answers = [
            checked_masks(answer, len(wanted[i]), samples[i].image)
            for i, answer in zip(positions, one_each(answers, positions, "images"))
        ]
        for position, answer in zip(positions, answers):
            for text, mask, score in zip(wanted[position], answer.masks, answer.scores):
                has_target = bool(mask.any())
                region = Region(text, box_of_mask(mask), encode_mask(mask) if has_target else None)
                samples[position].propose(
                    self.title,
                    region,
                    has_target,
                    float(mask.sum()),
                    1,
                    note="pixels of the mask",
                    quality=rounded(score),
                    mask_source=self.annotator,
                )


@dataclass(kw_only=True)
class SegmentStuff(Stage):
    """Adds the background as regions that are no things.

    Args:
        model: a stuff segmenter.
        threshold: segments of a lower score are dropped.
        annotator: what the record calls the model.
    """

    name: ClassVar[str] = "segment_stuff"
    makes: ClassVar[Tuple[str, ...]] = ("regions", "masks")
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {"model": ("stuff_segmenter",)}

    model: Any
    threshold: float = 0.0
    annotator: str = ""

    def check(self) -> None:
        check_share("threshold", self.threshold)

    def __call__(self, samples: Sequence[Sample]) -> None:
        answers = self.model.segment_stuff([sample.image for sample in samples])
        made = [
            [self._region(sample, segment) for segment in segments]
            for sample, segments in zip(samples, one_each(answers, samples, "images"))
        ]
        for sample, regions in zip(samples, made):
            for region in regions:
                sample.propose(
                    self.title,
                    region,
                    region.has_target and region.score >= self.threshold,
                    region.score,
                    self.threshold,
                    mask_source=self.annotator,
                )

    def _region(self, sample: Sample, segment: Any) -> Region:
        """Returns a segment as a region; without a target where its mask is empty."""
        mask = checked_mask(segment.mask, sample.image)
        return Region(
            checked_text(segment.text),
            box_of_mask(mask),
            encode_mask(mask) if mask.any() else None,
            is_thing=False,
            score=checked_score(segment.score),
        )
