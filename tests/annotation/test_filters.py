import numpy as np
import pytest

from segplugins.annotation.filters import (
    Decide,
    FilterArea,
    FilterDuplicates,
    FilterScore,
    GateMasks,
    SuppressOverlaps,
    box_iou,
    mask_iou,
)
from segplugins.annotation.sample import with_mask


def decisions(sample):
    return [(d.text, d.kept, d.value) for d in sample.decisions]


def test_confidence_keeps_what_lies_at_the_threshold(sample, add, texts):
    add("low", (0, 0, 9, 9), score=0.49)
    add("at", (0, 0, 9, 9), score=0.5)
    add("nothing here")  # has no target
    FilterScore(threshold=0.5)([sample])
    assert texts() == ["at", "nothing here"]
    assert decisions(sample) == [("low", False, 0.49), ("at", True, 0.5)]
    assert sample.decisions[0].threshold == 0.5 and sample.decisions[0].stage == "filter_score"


def test_confidence_reads_other_numbers_and_leaves_regions_without_them(sample, add, texts):
    add("bad mask", (0, 0, 9, 9), extra={"quality": 0.3})
    add("good mask", (0, 0, 9, 9), extra={"quality": 0.8})
    add("no mask", (0, 0, 9, 9))
    FilterScore(threshold=0.5, value="quality")([sample])
    assert texts() == ["good mask", "no mask"]
    with pytest.raises(ValueError, match="value is 'area', expected one of 'score'"):
        FilterScore(threshold=0.5, value="area")
    with pytest.raises(ValueError, match=r"threshold is 1.5, expected -1 to 1"):
        FilterScore(threshold=1.5)


def test_overlaps_lose_to_the_higher_score(sample, add, texts):
    add("second", (0, 0, 10, 10), score=0.5)
    add("first", (0, 0, 10, 8), score=0.9)  # IoU 0.8 with "second"
    add("apart", (0, 0, 10, 3), score=0.8)  # IoU 0.375 with "first", 0.3 with "second"
    SuppressOverlaps(iou=0.5)([sample])
    assert texts() == ["first", "apart"]
    kept = {text: (passes, round(value, 4)) for text, passes, value in decisions(sample)}
    assert kept == {"second": (False, 0.8), "first": (True, 0.0), "apart": (True, 0.375)}
    assert sample.not_exhaustive == []  # the winner stands for the object


def test_overlaps_at_the_bound_stay_and_texts_may_compete_apart(sample, add, texts):
    add("a", (0, 0, 10, 10), score=0.9)
    add("A", (0, 0, 10, 8), score=0.8)
    add("b", (0, 0, 10, 10), score=0.7)
    SuppressOverlaps(iou=0.8, per_text=True)([sample])
    assert texts() == ["a", "A", "b"]
    SuppressOverlaps(iou=0.79, per_text=True)([sample])
    assert texts() == ["a", "b"]


def test_area_is_that_of_the_mask_or_of_the_box(sample, add, texts, make):
    add("small", mask=make["rectangle"](0, 0, 4, 5))  # 20 of 2400 pixels
    add("right", mask=make["rectangle"](0, 0, 24, 10))  # 0.1
    add("large", (0, 0, 60, 39))  # 0.975
    FilterArea(low=0.1, high=0.95)([sample])
    assert texts() == ["right"]
    assert decisions(sample) == [("small", False, 20 / 2400), ("right", True, 0.1),
                                 ("large", False, 0.975)]  # fmt: skip
    FilterArea(low=0.0, min_pixels=241)([sample])
    assert texts() == []
    with pytest.raises(ValueError, match="high is 0.1, expected 0.2 to 1"):
        FilterArea(low=0.2, high=0.1)


def test_the_same_caption_stays_once_per_image_and_per_region(sample, add):
    sample.captions = [{"text": "A dog"}, {"text": "a  DOG"}, {"text": "a cat"}]
    add("dog", (0, 0, 9, 9), extra={"captions": [{"text": "a dog"}, {"text": "A dog "}]})
    FilterDuplicates()([sample])
    assert [c["text"] for c in sample.captions] == ["A dog", "a cat"]
    assert [c["text"] for c in sample.regions[0].extra["captions"]] == ["a dog"]
    dropped = [(d.text, d.region_id) for d in sample.decisions if not d.kept]
    assert dropped == [("a  DOG", None), ("A dog ", 0)]


def test_masks_that_do_not_fit_their_boxes_are_set_aside_with_them(sample, add, texts, make):
    prompt = (10, 10, 30, 30)  # 400 pixels
    cases = {
        "good": (make["rectangle"](10, 10, 30, 28), 0.9),
        "unsure": (make["rectangle"](10, 10, 30, 28), 0.69),
        "thin": (np.eye(40, 60, dtype=bool) & make["rectangle"](10, 10, 28, 28), 0.9),
        "corner": (make["rectangle"](10, 10, 20, 29), 0.9),  # IoU 0.475 with the prompt
    }
    for name, (mask, quality) in cases.items():
        add(name, prompt)
        sample.regions[-1] = with_mask(sample.regions[-1], mask, quality=quality)
    add("box only", prompt)
    GateMasks(min_quality=0.7, min_share=0.05, min_fit=0.5)([sample])
    assert texts() == ["good", "box only"]
    assert [(r.text, r.box, r.mask) for r in sample.set_aside] == [
        (name, [10.0, 10.0, 30.0, 30.0], None) for name in ("unsure", "thin", "corner")
    ]
    dropped = {d.text: (round(d.value, 4), d.threshold) for d in sample.decisions if not d.kept}
    assert dropped == {"unsure": (0.69, 0.7), "thin": (18 / 400, 0.05), "corner": (0.475, 0.5)}


def test_decide_counts_failures(sample, add, texts):
    add("clean", (0, 0, 9, 9))
    add("once", (0, 0, 9, 9), extra={"failed": ["a"]})
    add("twice", (0, 0, 9, 9), extra={"failed": ["a", "b"]})
    Decide(failures=1)([sample])
    assert texts() == ["clean", "once"]
    Decide()([sample])
    assert texts() == ["clean"]


def test_overlap_of_boxes_and_masks(make):
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30.0]])
    np.testing.assert_allclose(box_iou(boxes[:1], boxes), [[1, 50 / 150, 0]])
    assert box_iou(np.zeros((0, 4)), boxes).shape == (0, 3)
    one, other = make["rectangle"](0, 0, 10, 10), make["rectangle"](5, 0, 15, 10)
    assert mask_iou(one, other) == 50 / 150 and mask_iou(one & False, other & False) == 0
