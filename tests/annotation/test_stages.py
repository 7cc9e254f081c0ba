from types import SimpleNamespace

import numpy as np
import pytest

from segplugins.annotation.combine import ComposePanoptic, MergeByText
from segplugins.annotation.interfaces import Detection, Masks, Phrase, Segment
from segplugins.annotation.stages import (
    CaptionBoxes,
    CaptionImage,
    Detect,
    SegmentBoxes,
    SegmentPhrase,
    SegmentStuff,
    TagImage,
)


def model(**answers):
    """A model whose methods return fixed answers and keep what they were asked."""
    asked = []
    methods = {
        name: lambda *given, answer=answer: asked.append(given) or answer
        for name, answer in answers.items()
    }
    return SimpleNamespace(asked=asked, **methods)


def test_tags_are_unique_and_reach_the_threshold(sample):
    tags = [Phrase("dog", 0.8), Phrase("Dog", 0.9), Phrase("cat", 0.4), Phrase("sky")]
    TagImage(model=model(tag=[tags]), threshold=0.5, annotator="ram")([sample])
    assert sample.tags == [
        {"name": "dog", "score": 0.8, "annotator": "ram"},
        {"name": "sky", "score": None, "annotator": "ram"},
    ]
    assert [(d.text, d.kept) for d in sample.decisions] == [
        ("dog", True), ("Dog", False), ("cat", False), ("sky", True),
    ]  # fmt: skip


def test_captions_are_unique_and_not_empty(sample):
    captions = [Phrase("a dog", 0.5, 3), Phrase(" "), Phrase("A dog")]
    CaptionImage(model=model(caption=[captions]), annotator="blip2")([sample])
    assert sample.captions == [
        {"text": "a dog", "score": 0.5, "annotator": "blip2", "prompt_id": 3, "kept": True}
    ]
    assert [d.note for d in sample.decisions] == ["", "empty", "said before"]


def test_detections_are_cut_at_the_image_and_keep_their_scores(sample):
    found = [
        Detection("dog", (-5, 10, 30, 20), 0.9),
        Detection("cat", (0, 0, 9, 9), 0.2),
        Detection("owl", (70, 0, 80, 9), 0.9),  # outside
    ]
    sample.tags = [{"name": "dog"}, {"name": "cat"}]
    detector = model(detect=[found])
    Detect(model=detector, threshold=0.3, annotator="dino")([sample])
    assert detector.asked[0][1] == [["dog", "cat"]]
    (region,) = sample.regions
    assert region.box == (0, 10, 30, 20) and region.score == 0.9
    assert region.extra == {"region_id": 0, "label_source": "dino", "detector_score": 0.9}
    assert [(d.text, d.kept, d.region_id) for d in sample.decisions] == [
        ("dog", True, 0), ("cat", False, None), ("owl", False, None),
    ]  # fmt: skip


def test_an_image_without_tags_is_not_asked_about_and_a_vocabulary_replaces_tags(sample):
    detector = model(detect=[])
    Detect(model=detector)([sample])
    assert detector.asked == [([], [])]
    detector = model(detect=[[]])
    Detect(model=detector, names=("a", "b"))([sample])
    assert detector.asked[0][1] == [["a", "b"]]
    with pytest.raises(ValueError, match="names is 'classes', expected one of 'tags', 'vocab"):
        Detect(model=detector, names="classes")


def test_boxes_become_masks_with_tight_boxes_and_empty_ones_go(sample, add, texts, make):
    masks = np.array([make["rectangle"](2, 2, 8, 9), make["rectangle"](0, 0, 0, 0)])
    add("dog", (1, 1, 9, 9))
    add("negative")
    add("nothing", (20, 20, 30, 30))
    segmenter = model(segment_boxes=[Masks(masks, np.array([0.75, 0.5]))])
    SegmentBoxes(model=segmenter, annotator="sam")([sample])
    np.testing.assert_array_equal(segmenter.asked[0][1][0], [[1, 1, 9, 9], [20, 20, 30, 30]])
    assert texts() == ["dog", "negative"]
    region = sample.regions[0]
    assert region.box == (2, 2, 8, 9) and sample.bitmap(0).sum() == 42
    assert region.extra == {"prompt_box": [1, 1, 9, 9], "region_id": 0, "quality": 0.75,
                            "mask_source": "sam"}  # fmt: skip
    assert [d.value for d in sample.decisions] == [42, 0]


def test_masks_that_are_there_may_stay(sample, add, make):
    add("has one", mask=make["rectangle"](0, 0, 5, 5))
    add("has none", (10, 10, 20, 20))
    filler = make["box_filler"]()
    SegmentBoxes(model=filler, replace=False)([sample])
    assert filler.calls == [[1]] and sample.bitmap(1).sum() == 100


def test_the_best_caption_becomes_the_text_and_the_label_stays(sample, add):
    add("dog", (0, 0, 9, 9))
    add("cat", (20, 0, 29, 9))
    answers = [[Phrase("a brown dog", 0.9, 1), Phrase("an animal", 0.5)], [Phrase(" ")]]
    captioner = model(caption_boxes=[answers])
    CaptionBoxes(model=captioner, count=2, annotator="blip")([sample])
    assert captioner.asked[0][2] == 2
    (region,) = sample.regions
    assert region.text == "a brown dog" and region.extra["label"] == "dog"
    assert region.extra["captions"] == [
        {"text": "a brown dog", "score": 0.9, "annotator": "blip", "prompt_id": 1},
        {"text": "an animal", "score": 0.5, "annotator": "blip"},
    ]
    assert [(d.text, d.kept) for d in sample.decisions] == [("a brown dog", True), ("cat", False)]


def test_captions_beside_the_text_drop_nothing(sample, add, texts):
    add("dog", (0, 0, 9, 9), extra={"captions": [{"text": "before"}]})
    captioner = model(caption_boxes=[[[Phrase("one"), Phrase("two")]]])
    CaptionBoxes(model=captioner, count=1, as_text=False)([sample])
    assert texts() == ["dog"] and not sample.decisions
    assert [c["text"] for c in sample.regions[0].extra["captions"]] == ["before", "one"]
    with pytest.raises(ValueError, match="count is 0, expected 1 or more"):
        CaptionBoxes(model=captioner, count=0)


def test_captions_become_regions_where_they_have_a_target(sample, make):
    sample.captions = [{"text": "a"}, {"text": "b", "kept": False}, {"text": "c"}]
    masks = np.array([make["rectangle"](1, 2, 3, 4), make["rectangle"](0, 0, 0, 0)])
    segmenter = model(segment_phrases=[Masks(masks, np.array([0.5, 0.5]))])
    SegmentPhrase(model=segmenter, annotator="unilseg")([sample])
    assert segmenter.asked[0][1] == [["a", "c"]]
    (region,) = sample.regions
    assert (region.text, region.box) == ("a", (1, 2, 3, 4))
    assert [(d.text, d.kept, d.region_id) for d in sample.decisions] == [
        ("a", True, 0), ("c", False, None),
    ]  # fmt: skip


def test_stuff_is_no_thing(sample, make):
    segments = [
        Segment("sky", make["rectangle"](0, 0, 60, 10), 0.9),
        Segment("sea", make["rectangle"](0, 10, 60, 20), 0.1),
        Segment("sand", make["rectangle"](0, 0, 0, 0), 0.9),
    ]
    SegmentStuff(model=model(segment_stuff=[segments]), threshold=0.5)([sample])
    assert [(r.text, r.is_thing, r.box) for r in sample.regions] == [("sky", False, (0, 0, 60, 10))]


def test_regions_of_one_text_become_their_union(sample, add, make):
    add("Dog", mask=make["rectangle"](0, 0, 10, 10), score=0.6, extra={"quality": 0.5})
    add("dog", mask=make["rectangle"](5, 0, 15, 10), score=0.8, extra={"quality": 0.7})
    add("cat", mask=make["rectangle"](20, 0, 30, 10))
    add("box", (0, 0, 9, 9))
    sample.not_exhaustive = ["dog", "box"]  # a third dog was dropped before
    MergeByText()([sample])
    assert [r.text for r in sample.regions] == ["box", "all Dog", "all cat"]
    assert sample.not_exhaustive == ["dog", "box", "all Dog"]
    dogs = sample.regions[1]
    assert dogs.bitmap(40, 60).sum() == 150 and dogs.box == (0, 0, 15, 10)
    assert dogs.score == pytest.approx(0.7)
    assert dogs.extra == {"region_id": 4, "label": "Dog", "merged": [0, 1], "quality": 0.6}
    with pytest.raises(ValueError, match="template is 'all', expected '{}' once in it"):
        MergeByText(template="all")


def test_segments_are_painted_stuff_first_and_the_surest_last(sample, add, texts, make):
    add("sure", mask=make["rectangle"](0, 0, 10, 10), score=0.9)
    add("shaky", mask=make["rectangle"](0, 0, 20, 10), score=0.95, extra={"mask_stability": 0.5})
    add("sky", mask=make["rectangle"](0, 0, 60, 20), is_thing=False, score=1.0)
    add("hidden", mask=make["rectangle"](0, 0, 10, 11), score=0.1)  # 10 of 110 pixels are left
    ComposePanoptic(min_share=0.2, min_pixels=64)([sample])
    assert texts() == ["sure", "shaky", "sky"]
    areas = [sample.bitmap(index).sum() for index in range(3)]
    assert areas == [100, 100, 1200 - 200 - 10]
    assert sum(sample.bitmap(index).astype(int) for index in range(3)).max() == 1
    assert sample.regions[1].box == (10, 0, 20, 10)
    shares = {d.text: d.value for d in sample.decisions}
    assert shares["shaky"] == 0.5 and shares["hidden"] == 10 / 110
