"""Answers of models that are too few, of another size or no numbers; and very many boxes."""

from types import SimpleNamespace

import numpy as np
import pytest

from segplugins.annotation import answers
from segplugins.annotation.answers import segment_in_parts
from segplugins.annotation.filters import FilterArea, SuppressOverlaps
from segplugins.annotation.inputs import Item
from segplugins.annotation.interfaces import Detection, Image, Masks, Phrase, Segment
from segplugins.annotation.shard import Failure, Stages, _started
from segplugins.annotation.stages import (
    CaptionBoxes,
    CaptionImage,
    Detect,
    SegmentBoxes,
    SegmentPhrase,
    SegmentStuff,
    TagImage,
)
from segplugins.annotation.verify import FilterClip, FilterJitter
from segplugins.structures.regions import Region

NAN = float("nan")


def model(**methods):
    return SimpleNamespace(
        **{name: lambda *given, answer=answer: answer for name, answer in methods.items()}
    )


def masks(*shape, scores=None):
    made = np.ones(shape, bool)
    return Masks(made, np.full(shape[0], 0.5) if scores is None else np.array(scores))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (TagImage(model=model(tag=[])), "0 answers for 1 images"),
        (TagImage(model=model(tag=[[Phrase("a", NAN)]])), "the score nan, expected a number"),
        (TagImage(model=model(tag=[[Phrase("\ud800")]])), r"'\\ud800', which is no Unicode"),
        (TagImage(model=model(tag=[[Phrase(None)]])), "a model said None, expected a text"),
        (CaptionImage(model=model(caption=[[], []])), "2 answers for 1 images"),
        (
            Detect(model=model(detect=[[Detection("a", (0, 0, 5, 5), NAN)]]), names=["a"]),
            "the score nan",
        ),
        (SegmentBoxes(model=model(segment_boxes=[])), "0 answers for 1 images"),
        (
            SegmentBoxes(model=model(segment_boxes=[masks(1, 40, 61)])),
            r"masks \(1, 40, 61\) for 1 questions about an image \(40, 60\)",
        ),
        (SegmentBoxes(model=model(segment_boxes=[masks(2, 40, 60)])), r"masks \(2, 40, 60\) for 1"),
        (
            SegmentBoxes(model=model(segment_boxes=[masks(1, 40, 60, scores=[NAN])])),
            r"1 masks the scores \[nan\]",
        ),
        (FilterJitter(model=model(segment_boxes=[masks(3, 40, 60)])), r"\(3, 40, 60\) for 4"),
        (CaptionBoxes(model=model(caption_boxes=[[]])), "0 answers for 1 boxes"),
        (SegmentPhrase(model=model(segment_phrases=[masks(0, 40, 60)])), r"\(0, 40, 60\) for 1"),
        (
            SegmentStuff(model=model(segment_stuff=[[Segment("s", np.ones((4, 6), bool), 1)]])),
            r"a mask \(4, 6\) for an image \(40, 60\)",
        ),
        (FilterClip(model=model(score=[np.array([NAN])])), "a score that is no number"),
        (FilterClip(model=model(score=[np.array([])])), r"scores \(0,\) for 1 texts"),
    ],
)
def test_an_answer_that_is_none_leaves_the_image_out_and_nothing_changed(
    sample, add, make, stage, message
):
    add("dog", mask=make["rectangle"](5, 5, 20, 20))
    sample.captions = [{"text": "a dog"}]
    before = list(sample.regions)
    with pytest.raises(ValueError, match=message):
        stage([sample])
    assert sample.regions == before and not sample.decisions and not sample.tags
    (result,) = Stages([stage])([sample])
    assert isinstance(result, Failure) and result.in_stage and result.error.startswith(stage.title)


class Counter:
    """A box segmenter whose masks are full, and which keeps how many it was asked for."""

    def __init__(self):
        self.asked = []

    def segment_boxes(self, images, boxes):
        self.asked.append([(image.file_name, len(its)) for image, its in zip(images, boxes)])
        return [masks(len(its), *image.size) for image, its in zip(images, boxes)]


def test_masks_are_asked_for_a_bounded_number_of_pixels_at_a_time(monkeypatch):
    monkeypatch.setattr(answers, "_MASK_PIXELS", 1000)
    images = [Image(np.zeros((10, 10, 3), np.uint8), name) for name in "abc"]
    counter = Counter()
    boxes = [np.zeros((4, 4)), np.zeros((0, 4)), np.zeros((13, 4))]
    parts = list(segment_in_parts(counter, images, boxes))
    # 100 pixels a mask: ten at a time; what is left of the third image comes after.
    assert counter.asked == [[("a", 4)], [("c", 10)], [("c", 3)]]
    assert [(p.image, p.start, len(p.masks)) for p in parts] == [(0, 0, 4), (2, 0, 10), (2, 10, 3)]
    counter.asked.clear()
    list(segment_in_parts(counter, images, [boxes[0], boxes[0], boxes[0]], group=4))
    assert counter.asked == [[("a", 4), ("b", 4)], [("c", 4)]]
    counter.asked.clear()
    list(segment_in_parts(counter, images[:1], [np.zeros((24, 4))], group=12))
    assert counter.asked == [[("a", 12)], [("a", 12)]]  # a group stays whole, whatever its size


def test_parts_give_the_regions_and_stabilities_of_one_call(sample, make, monkeypatch):
    other = type(sample)(sample.image, "y-0", "source")
    boxes = [(n, n, 20 + n, 15 + n) for n in range(5)]
    for number, box in enumerate(boxes):
        for each in (sample, other):
            each.add(Region(f"r{number}", box))
    stages = [SegmentBoxes(model=make["box_filler"]())]
    stages.append(FilterJitter(model=make["box_filler"](), threshold=0.5))
    for each, pixels in ((sample, 2**28), (other, 2 * 40 * 60)):
        monkeypatch.setattr(answers, "_MASK_PIXELS", pixels)
        for stage in stages:
            stage([each])
    assert sample.regions == other.regions and sample.decisions == other.decisions
    assert len(sample.decisions) == 10


def test_overlaps_of_many_boxes_are_compared_a_row_at_a_time(sample, monkeypatch):
    shapes = []

    def iou(one, other):
        shapes.append((len(one), len(other)))
        return np.zeros((len(one), len(other)))

    monkeypatch.setattr("segplugins.annotation.filters.box_iou", iou)
    for number in range(6):
        sample.add(Region("a", (number, 0, number + 1, 1)))
    SuppressOverlaps(iou=0.5)([sample])
    assert shapes == [(1, number) for number in range(6)] and len(sample.regions) == 6


def test_boxes_of_a_data_set_are_cut_at_the_image(sample):
    given = [("in", (1, 2, 9, 8)), ("across", (-5, 30, 20, 99)), ("out", (60, 0, 80, 9))]
    item = Item("a/x.jpg", tuple(Region(text, box) for text, box in given))
    _started(sample, item, "boxes")
    boxes = {region.text: region.box for region in sample.regions}
    assert boxes == {"in": (1, 2, 9, 8), "across": (0, 30, 20, 40)}
    (decision,) = sample.decisions
    assert (decision.text, decision.kept, decision.note) == (
        "out",
        False,
        "no area inside the image",
    )


def test_the_area_of_a_box_is_what_lies_inside_the_image(sample, add):
    add("a", (-60, 0, 30, 20))  # 30 x 20 of 2400 pixels are inside
    FilterArea(high=0.3)([sample])
    assert sample.decisions[0].value == 0.25 and sample.decisions[0].kept
