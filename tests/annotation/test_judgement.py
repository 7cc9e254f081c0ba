"""Filters, stages and verifiers on more than one image, at their bounds, with what stays behind."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segplugins.annotation.combine import ComposePanoptic, MergeByText
from segplugins.annotation.filters import (
    Decide,
    FilterArea,
    FilterDuplicates,
    FilterScore,
    GateMasks,
    SuppressOverlaps,
    box_iou,
    mask_iou,
    region_pixels,
)
from segplugins.annotation.interfaces import Detection, Image, Masks, Phrase, Segment
from segplugins.annotation.sample import Sample, whole_box, with_mask
from segplugins.annotation.stages import (
    CaptionBoxes,
    CaptionImage,
    Detect,
    SegmentBoxes,
    SegmentPhrase,
    SegmentStuff,
    TagImage,
)
from segplugins.annotation.verify import (
    FilterCaptions,
    FilterClip,
    FilterJitter,
    VerifyExistence,
    VerifyMask,
    jittered,
    region_view,
    whole_view,
)
from segplugins.structures.regions import Region, encode_mask


@pytest.fixture
def other():
    """A second image, of 20 x 30 pixels."""
    return Sample(Image(np.full((20, 30, 3), 50, np.uint8), "b/y.jpg"), "y-0", "source")


def verdicts(sample):
    return {d.text: (d.kept, d.value) for d in sample.decisions}


# Filters


@pytest.mark.parametrize(
    ("value", "key"),
    [("quality", "quality"), ("detector_score", "detector_score"),
     ("mask_stability", "mask_stability"), ("clip_score", "clip_score"), ("score", None)],
)  # fmt: skip
def test_each_number_is_read_from_its_place(sample, add, texts, value, key):
    others = {"quality", "detector_score", "mask_stability", "clip_score"} - {key}
    high, low = dict.fromkeys(others, 0.9), dict.fromkeys(others, 0.1)
    add(
        "low",
        (0, 0, 9, 9),
        score=0.9 if key else 0.4,
        extra={**high, **({key: 0.4} if key else {})},
    )
    add(
        "high",
        (0, 0, 9, 9),
        score=0.1 if key else 0.5,
        extra={**low, **({key: 0.5} if key else {})},
    )
    FilterScore(threshold=0.45, value=value)([sample])
    assert texts() == ["high"] and verdicts(sample) == {"low": (False, 0.4), "high": (True, 0.5)}


def test_a_filter_that_only_counts_leaves_its_mark_for_decide(sample, add, texts):
    add("small", (0, 0, 10, 10), score=0.3)
    add("large", (0, 0, 50, 40), score=0.9)
    FilterScore(threshold=0.5, drop=False, title="1 filter_score")([sample])
    FilterArea(low=0.5, drop=False, title="2 filter_area")([sample])
    assert texts() == ["small", "large"]
    assert sample.regions[0].extra["failed"] == ["1 filter_score", "2 filter_area"]
    assert "failed" not in sample.regions[1].extra
    Decide(failures=1, title="3 decide")([sample])
    assert texts() == ["large"]
    last = [d for d in sample.decisions if d.stage == "3 decide"]
    assert [(d.kept, d.value, d.threshold) for d in last] == [(False, 2.0, 1), (True, 0.0, 1)]


def test_every_sample_is_filtered_by_its_own_size(sample, add, other):
    add("a", (0, 0, 24, 10))  # 240 of 2400
    other.add(Region("a", (0, 0, 24, 10)))  # 240 of 600
    FilterArea(low=0.05, high=0.25)([sample, other])
    assert len(sample.regions) == 1 and not other.regions
    assert [d.value for d in (*sample.decisions, *other.decisions)] == [0.1, 0.4]


@pytest.mark.parametrize(("pixels", "kept"), [(99, True), (100, True), (101, False)])
def test_the_least_number_of_pixels_is_enough(sample, add, pixels, kept):
    add("a", (5, 5, 15, 15))
    FilterArea(low=0, min_pixels=pixels)([sample])
    assert bool(sample.regions) is kept


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [(0.1, 0.2, True), (0.101, 0.2, False), (0.05, 0.1, True), (0.05, 0.099, False)],
)
def test_both_bounds_of_the_area_are_part_of_it(sample, add, low, high, kept):
    add("a", (10, 0, 34, 10))  # 0.1 of the image
    FilterArea(low=low, high=high)([sample])
    assert bool(sample.regions) is kept


def test_equal_scores_leave_the_first_and_losers_suppress_nobody(sample, add, texts):
    add("first", (0, 0, 10, 10), score=0.5)
    add("second", (4, 0, 14, 10), score=0.5)  # IoU 60 / 140 with "first"
    add("third", (8, 0, 18, 10), score=0.5)  # IoU 60 / 140 with "second", 20 / 180 with "first"
    SuppressOverlaps(iou=0.4)([sample])
    assert texts() == ["first", "third"]
    expected = {"first": 0.0, "second": 60 / 140, "third": 20 / 180}
    assert {text: value for text, (_, value) in verdicts(sample).items()} == pytest.approx(expected)


def test_regions_said_twice_are_one_only_where_text_and_box_agree(sample, add):
    add("a Dog", (0, 0, 10, 10), score=0.5)
    add("a  dog", (0, 0, 10, 9.5), score=0.9)  # IoU 0.95
    add("a dog", (0, 0, 10, 8), score=0.4)  # IoU 80 / 95 with the one that stays
    add("a cat", (0, 0, 10, 10), score=0.1)
    FilterDuplicates(title="2 filter_duplicates")([sample])
    assert [r.extra["region_id"] for r in sample.regions] == [1, 2, 3]
    (dropped,) = [d for d in sample.decisions if not d.kept]
    assert (dropped.region_id, dropped.threshold, dropped.stage) == (0, 0.9, "2 filter_duplicates")
    assert dropped.value == pytest.approx(0.95)


def test_captions_said_before_carry_a_note_and_other_extras_stay(sample, add):
    add("dog", (0, 0, 9, 9), extra={"captions": [{"text": "a"}, {"text": "A"}], "label": "x"})
    FilterDuplicates()([sample])
    assert sample.regions[0].extra == {"region_id": 0, "captions": [{"text": "a"}], "label": "x"}
    assert (sample.decisions[0].note, sample.decisions[0].region_id) == ("said before", 0)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"min_quality": 0.9}, True), ({"min_quality": 0.91}, False),
        ({"min_share": 0.5}, True), ({"min_share": 0.51}, False),
        ({"max_share": 0.5}, True), ({"max_share": 0.49}, False),
        ({"min_fit": 0.8}, True), ({"min_fit": 0.81}, False),
    ],
)  # fmt: skip
def test_a_mask_at_a_bound_of_the_gate_passes(sample, add, make, options, kept):
    # 200 of the 400 pixels of the box; the tight box has 16 of its 20 rows.
    mask = make["rectangle"](10, 10, 30, 26)
    mask[16:22, 10:30] = False
    add("a", (10, 10, 30, 30))
    sample.regions[-1] = with_mask(sample.regions[-1], mask, quality=0.9)
    assert mask.sum() == 200
    GateMasks(**options)([sample])
    assert bool(sample.regions) is kept and len(sample.set_aside) == (not kept)


def test_the_gate_counts_what_lies_in_the_prompt_alone_and_measures_quality_if_there_is_one(
    sample, add, make
):
    add("wide", (10, 10, 20, 20))
    sample.regions[-1] = with_mask(sample.regions[-1], make["rectangle"](15, 10, 25, 20))
    GateMasks(min_fit=0.0)([sample])
    values = {d.note: (d.value, d.threshold) for d in sample.decisions}
    assert values == {
        "quality by the segmenter": (None, 0.7),
        "share of the box that the mask covers": (0.5, 0.05),
        "IoU of the mask's box with the prompt": (pytest.approx(50 / 150), 0.0),
    }


def test_a_prompt_outside_the_image_covers_nothing(sample, add, make):
    mask = make["rectangle"](0, 0, 40, 30)
    add("a", (-30, -20, -10, -5), mask=mask)
    GateMasks(min_fit=0)([sample])
    assert not sample.regions and len(sample.set_aside) == 1
    assert [d.value for d in sample.decisions] == [None, 0.0]


def test_what_is_set_aside_is_the_prompt_without_its_copy(sample, add, make):
    add("a", (10, 10, 30, 30), extra={"label": "b"})
    sample.regions[-1] = with_mask(sample.regions[-1], make["rectangle"](0, 0, 5, 5), quality=0.1)
    GateMasks()([sample])
    (region,) = sample.set_aside
    assert region.extra.pop("dropped_by") == "gate_masks"
    assert region.extra == {"region_id": 0, "label": "b", "quality": 0.1}
    assert list(region.box) == [10, 10, 30, 30] and region.mask is None
    assert len(sample.decisions) == 1  # what is gone is not checked again


boxes_ = st.tuples(*[st.integers(0, 20)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
)


@settings(max_examples=30, deadline=None)
@given(st.lists(boxes_, min_size=1, max_size=4), st.lists(boxes_, min_size=1, max_size=4))
def test_overlaps_of_whole_boxes_are_those_of_their_pixels(one, other):
    def bitmap(box):
        mask = np.zeros((22, 22), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return mask

    expected = [[mask_iou(bitmap(a), bitmap(b)) for b in other] for a in one]
    np.testing.assert_allclose(box_iou(np.array(one), np.array(other)), expected)


def test_boxes_without_area_overlap_nothing():
    boxes = np.array([[5, 5, 5, 9.0], [9, 9, 5, 5], [0, 0, 10, 10]])
    np.testing.assert_array_equal(box_iou(boxes[:2], boxes), np.zeros((2, 3)))


def test_area_of_a_region_is_in_fractions_of_pixels_where_it_is_a_box(sample, add, make):
    add("box", (1.5, 2, 4, 6.5))
    add("mask", (0, 0, 60, 40), mask=make["rectangle"](3, 4, 8, 6))
    assert [region_pixels(sample, index) for index in (0, 1)] == [2.5 * 4.5, 10.0]


# Stages


def one_model(**methods):
    return SimpleNamespace(**methods)


def test_tags_said_before_or_empty_are_dropped_with_a_note(sample):
    sample.tags = [{"name": "Sky"}]
    tags = [Phrase("sky", 0.9), Phrase(" ", 0.9), Phrase("dog", 0.5), Phrase("cat", 0.49)]
    TagImage(model=one_model(tag=lambda images: [tags]), threshold=0.5)([sample])
    assert [tag["name"] for tag in sample.tags] == ["Sky", "dog"]
    assert [(d.kept, d.note) for d in sample.decisions] == [
        (False, "said before"), (False, "empty"), (True, ""), (False, ""),
    ]  # fmt: skip
    assert {d.threshold for d in sample.decisions} == {0.5}


def test_a_tag_that_scores_too_low_does_not_stand_in_the_way_of_itself(sample):
    tags = [Phrase("dog", 0.1), Phrase("dog", 0.8)]
    TagImage(model=one_model(tag=lambda images: [tags]), threshold=0.5)([sample])
    assert [tag["score"] for tag in sample.tags] == [0.8]


def test_captions_that_the_source_has_are_not_said_again(sample):
    sample.captions = [{"text": "A dog"}]
    model = one_model(caption=lambda images: [[Phrase("a dog", 0.9), Phrase("a cat", 0.25)]])
    CaptionImage(model=model, annotator="m")([sample])
    assert [c["text"] for c in sample.captions] == ["A dog", "a cat"]
    assert [(d.kept, d.value, d.region_id) for d in sample.decisions] == [
        (False, 0.9, None), (True, 0.25, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("box", "score", "text", "kept", "note"),
    [
        ((1.004, 2.006, 9, 9), 0.3, "a", (1.0, 2.01, 9.0, 9.0), ""),
        ((50, 30, 99, 99), 0.3, "a", (50, 30, 60, 40), ""),  # width 60, height 40
        ((1, 1, 9, 9), 0.2999, "a", None, ""),
        ((9, 1, 1, 9), 0.9, "a", None, "no area inside the image, or no name"),
        ((1, 9, 9, 9.004), 0.9, "a", None, "no area inside the image, or no name"),
        ((1, 41, 9, 50), 0.9, "a", None, "no area inside the image, or no name"),
        ((1, 1, 9, 9), 0.9, " ", None, "no area inside the image, or no name"),
        ((float("nan"), 1, 9, 9), 0.9, "a", None, "no area inside the image, or no name"),
    ],
)
def test_which_detections_become_regions(sample, box, score, text, kept, note):
    model = one_model(detect=lambda images, names: [[Detection(text, box, score)]])
    Detect(model=model, names=["a"], threshold=0.3)([sample])
    assert [region.box for region in sample.regions] == ([kept] if kept else [])
    assert (sample.decisions[0].kept, sample.decisions[0].note) == (bool(kept), note)


def test_answers_go_to_the_sample_that_was_asked_about(sample, add, other, make):
    nobody = Sample(sample.image, "z-0")
    add("a", (1, 1, 5, 5))
    other.add(Region("b", (2, 2, 6, 8)))
    seen = []

    def segment(images, boxes):
        seen.extend((image.file_name, box.tolist()) for image, box in zip(images, boxes))
        return [
            Masks(make["rectangle"](0, 0, n, n, size=image.size)[None], np.array([n / 10]))
            for n, image in enumerate(images, 3)
        ]

    SegmentBoxes(model=one_model(segment_boxes=segment))([nobody, sample, other])
    assert seen == [("a/x.jpg", [[1, 1, 5, 5]]), ("b/y.jpg", [[2, 2, 6, 8]])]
    found = [(s.bitmap(0).sum(), s.regions[0].extra["quality"]) for s in (sample, other)]
    assert found == [(9, 0.3), (16, 0.4)] and not nobody.decisions
    assert sample.decisions[0].threshold == 1 and sample.decisions[0].note == "pixels of the mask"


def test_captions_are_cut_at_their_count_before_blanks_are_left_out(sample, add):
    add("dog", (0, 0, 9, 9), extra={"label": "animal"})
    listed = [Phrase(" "), Phrase("second"), Phrase("third")]
    model = one_model(caption_boxes=lambda images, boxes, count: [[listed]])
    CaptionBoxes(model=model, count=2)([sample])
    region = sample.regions[0]
    assert [c["text"] for c in region.extra["captions"]] == ["second"]
    assert (region.text, region.extra["label"]) == ("second", "animal")
    assert (sample.decisions[0].note, sample.decisions[0].value) == ("a caption is there", None)


@pytest.mark.parametrize(("score", "kept"), [(0.5, True), (0.4999, False)])
def test_stuff_at_the_threshold_stays(sample, make, score, kept):
    segment = Segment("sky", make["rectangle"](0, 0, 60, 7), score)
    stage = SegmentStuff(model=one_model(segment_stuff=lambda images: [[segment]]), threshold=0.5)
    stage.annotator = "m"
    stage([sample])
    assert [r.bitmap(40, 60).sum() for r in sample.regions] == ([420] if kept else [])
    assert [r.extra for r in sample.regions] == (
        [{"region_id": 0, "mask_source": "m"}] if kept else []
    )
    assert sample.decisions[0].region_id == (0 if kept else None)


def test_a_phrase_keeps_the_quality_and_the_pixels_of_its_mask(sample, make):
    sample.captions = [{"text": "a"}]
    mask = Masks(make["rectangle"](10, 20, 30, 25)[None], np.array([0.7654321]))
    SegmentPhrase(model=one_model(segment_phrases=lambda images, texts: [mask]), annotator="m")(
        [sample]
    )
    assert sample.regions[0].extra == {"region_id": 0, "quality": 0.76543, "mask_source": "m"}
    assert (sample.decisions[0].value, sample.decisions[0].threshold) == (100, 1)


def test_a_union_keeps_sources_and_kind_and_braces_are_no_place_for_a_name(sample, add, make):
    extra = {"label_source": "d", "mask_source": "s", "quality": 0.25, "other": 1}
    add("sky", mask=make["rectangle"](0, 0, 10, 10), is_thing=False, score=0.25, extra=extra)
    add("SKY", mask=make["rectangle"](30, 0, 40, 10), is_thing=False, score=0.75)
    MergeByText(template="{x} {}")([sample])
    (region,) = sample.regions
    assert region.text == "{x} sky" and not region.is_thing and region.score == 0.5
    assert region.box == (0, 0, 40, 10) and region.bitmap(40, 60).sum() == 200
    assert region.extra == {"label_source": "d", "mask_source": "s", "region_id": 2,
                            "label": "sky", "merged": [0, 1], "quality": 0.25}  # fmt: skip


@pytest.mark.parametrize(("stability", "top"), [(0.0, "sure"), (0.5, "sure"), (None, "shaky")])
def test_the_least_stable_thing_lies_below(sample, add, make, stability, top):
    add("sure", mask=make["rectangle"](0, 0, 20, 10), score=0.6)
    add("shaky", mask=make["rectangle"](10, 0, 30, 10), score=0.9,
        extra={"mask_stability": stability})  # fmt: skip
    ComposePanoptic()([sample])
    areas = {r.text: int(r.bitmap(40, 60).sum()) for r in sample.regions}
    assert areas == {name: 200 if name == top else 100 for name in ("sure", "shaky")}


@pytest.mark.parametrize(
    ("options", "kept"),
    [({"min_share": 0.25}, True), ({"min_share": 0.26}, False), ({"min_share": 0}, True),
     ({"min_pixels": 100, "min_share": 0}, True), ({"min_pixels": 101, "min_share": 0}, False)],
)  # fmt: skip
def test_a_segment_keeps_enough_of_itself(sample, add, texts, make, options, kept):
    add("below", mask=make["rectangle"](0, 0, 40, 10), score=0.5)  # 100 of 400 pixels are left
    add("above", mask=make["rectangle"](10, 0, 40, 10), score=0.9)
    add("box", (0, 0, 40, 10))
    ComposePanoptic(**options)([sample])
    assert texts() == [*(["below"] if kept else []), "above", "box"]
    assert verdicts(sample) == {"below": (kept, 0.25), "above": (True, 1.0)}


# Verifiers


@pytest.mark.parametrize(
    ("box", "grow", "expected"),
    [
        ((20, 10, 40, 20), 0.5, (15, 7, 45, 23)),  # 5 a side, and 2.5
        ((0, 0, 20, 10), 1.0, (0, 0, 30, 15)),
        ((50, 30, 60, 40), 1.0, (45, 25, 60, 40)),
        ((10.2, 10.2, 10.4, 10.4), 0.0, (10, 10, 11, 11)),
    ],
)
def test_a_box_grows_on_all_sides_inside_the_image(sample, box, grow, expected):
    assert whole_box(box, sample.image, grow) == expected


def test_a_view_of_a_mask_without_box_is_that_of_its_pixels(sample, make):
    mask = make["rectangle"](4, 6, 14, 8)
    sample.add(Region("a", None, encode_mask(mask)))
    view = region_view(sample, 0, grow=0.0, fade=0.25)
    assert view.box == (4, 6, 14, 8) and view.fade == 0.25
    np.testing.assert_array_equal(view.shown, mask)
    assert whole_view(sample.image).box == (0, 0, 60, 40)


@pytest.mark.parametrize("kind", [FilterClip, VerifyMask])
def test_scores_of_several_images_do_not_mix(sample, add, other, make, kind):
    add("a", mask=make["rectangle"](0, 0, 10, 10))
    other.add(with_mask(Region("a"), make["rectangle"](0, 0, 10, 10, size=(20, 30))))
    other.add(with_mask(Region("b"), make["rectangle"](20, 10, 30, 20, size=(20, 30))))

    def cosine(view, text):
        is_inside = bool(view.shown[view.box[1] + 1, view.box[0] + 1]) or text == "b"
        return (
            {"a/x.jpg": 0.3, "b/y.jpg": 0.6}[view.image.file_name]
            * (1 if is_inside else 0.5)
            * (0.5 if text == "b" else 1)
        )

    kind(model=make["scorer"](cosine), threshold=-1)([sample, other])
    values = [d.value for d in (*sample.decisions, *other.decisions)]
    expected = [0.3, 0.6, 0.3] if kind is FilterClip else [0.15, 0.3, 0.0]
    assert values == pytest.approx(expected)


def test_the_gain_of_a_mask_is_inside_less_outside_and_stays_where_it_only_counts(
    sample, add, texts, make
):
    add("a", mask=make["rectangle"](10, 10, 20, 20))
    cosine = lambda view, text: 0.1 if view.shown[15, 15] else 0.4  # noqa: E731
    VerifyMask(model=make["scorer"](cosine), drop=False, title="v")([sample])
    assert texts() == ["a"] and sample.regions[0].extra["failed"] == ["v"]
    assert sample.regions[0].extra["mask_gain"] == -0.3
    assert sample.decisions[0].threshold == 0.02


def test_a_caption_that_was_dropped_stays_dropped_and_is_not_the_best(sample, make):
    sample.captions = [{"text": "a", "kept": False}, {"text": "b", "kept": True}, {"text": "c"}]
    cosines = {"a": 0.5, "b": 0.1, "c": 0.05}
    FilterCaptions(model=make["scorer"](lambda view, text: cosines[text]))([sample])
    assert [(c["text"], c["kept"], c["clip_score"]) for c in sample.captions] == [
        ("a", False, 0.5), ("b", True, 0.1), ("c", False, 0.05),
    ]  # fmt: skip
    assert [(d.kept, d.value, d.threshold, d.note) for d in sample.decisions] == [
        (False, 0.5, 0.2, "dropped before"), (True, 0.1, 0.2, ""), (False, 0.05, 0.2, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "regions"),
    [
        ({"threshold": 0.5, "negative_below": 0.25}, []),  # at the bound it is no negative
        ({"threshold": 0.5, "negative_below": 0.26}, [("a", False)]),
        ({"threshold": 0.25, "negative_below": 0.25}, [("a", True)]),
        ({"threshold": 0.5, "negative_below": 0.26, "drop": False}, [("a", True)]),
    ],
)
def test_what_becomes_a_hard_negative(sample, add, make, options, regions):
    # One of four texts, and all fit alike: a share of 1/4.
    add("a", (0, 0, 9, 9))
    model = make["scorer"](lambda view, text: 0.2)
    VerifyExistence(model=model, rivals=["b", "c", "d", "A"], **options)([sample])
    assert [(r.text, r.has_target) for r in sample.regions] == regions
    assert [d.value for d in sample.decisions] == [0.25]


def test_shares_do_not_overflow_and_follow_the_temperature(sample, add, make):
    add("a", (0, 0, 9, 9))
    for temperature, expected in {
        1e-6: 0.0,
        0.1: 1 / (1 + np.e),
        1.0: 1 / (1 + np.exp(0.1)),
    }.items():
        model = make["scorer"](lambda view, text: 0.9 if text == "a" else 1.0)
        VerifyExistence(model=model, rivals=["b"], temperature=temperature, drop=False)([sample])
        assert sample.decisions[-1].value == pytest.approx(expected)


def test_boxes_move_by_shares_of_their_own_sides():
    image = Image(np.zeros((100, 200, 3), np.uint8))
    boxes = np.array([[100, 50, 120, 60.0], [0, 0, 200, 100]])
    moved = jittered(boxes, (-0.5, 0.25), image)
    assert moved.tolist() == [
        [[90, 45, 110, 55], [105, 52.5, 125, 62.5]], [[0, 0, 100, 50], [50, 25, 200, 100]],
    ]  # fmt: skip


@pytest.mark.parametrize(("threshold", "kept"), [(0.75, True), (0.76, False)])
def test_stability_of_each_region_is_its_own(sample, add, other, make, threshold, kept):
    mask = make["rectangle"](0, 0, 20, 10)
    add("a", mask=mask)
    add("b", mask=make["rectangle"](40, 10, 60, 20))
    other.add(with_mask(Region("c"), make["rectangle"](0, 0, 8, 8, size=(20, 30))))

    def segment(images, boxes):
        assert [len(each) for each in boxes] == [4, 2]
        half = make["rectangle"](0, 0, 10, 10)  # IoU 0.5 with "a"
        first = np.array([mask, half, make["rectangle"](40, 10, 60, 20)] + [mask])
        second = np.array([make["rectangle"](0, 0, 8, 8, size=(20, 30))] * 2)
        return [Masks(first, np.ones(4)), Masks(second, np.ones(2))]

    stage = FilterJitter(
        model=one_model(segment_boxes=segment), offsets=(-0.1, 0.1), threshold=threshold
    )
    stage([sample, other])
    values = {d.text: d.value for d in (*sample.decisions, *other.decisions)}
    assert values == {"a": 0.75, "b": 0.5, "c": 1.0}
    assert [r.text for r in sample.regions] == (["a"] if kept else [])
