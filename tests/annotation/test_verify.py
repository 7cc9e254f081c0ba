import numpy as np
import pytest

from segplugins.annotation.interfaces import Masks
from segplugins.annotation.verify import (
    FilterCaptions,
    FilterClip,
    FilterJitter,
    VerifyExistence,
    VerifyMask,
    jittered,
    region_view,
    stability,
)


def test_a_faded_crop_is_the_grown_box_of_the_mask(sample, add, make):
    add("dog", mask=make["rectangle"](20, 10, 40, 20))
    view = region_view(sample, 0, grow=0.1, fade=0.5)
    assert view.box == (19, 9, 41, 21) and view.fade == 0.5
    assert view.shown.sum() == 200
    add("cat", (20, 10, 40, 20))
    view = region_view(sample, 1, grow=0.0, fade=0.5)
    assert view.box == (20, 10, 40, 20) and view.shown is None and view.fade == 0


def test_clip_scores_drop_regions_and_stay_in_the_record(sample, add, texts, make):
    cosines = {"dog": 0.2, "cat": 0.1999, "box": 0.3}
    scorer = make["scorer"](lambda view, text: cosines[text])
    add("dog", mask=make["rectangle"](0, 0, 9, 9))
    add("cat", mask=make["rectangle"](0, 0, 9, 9))
    add("box", (0, 0, 9, 9))
    add("absent")
    FilterClip(model=scorer)([sample])
    assert texts() == ["dog", "box", "absent"]
    assert [r.extra.get("clip_score") for r in sample.regions] == [0.2, 0.3, None]
    assert [(d.text, d.value) for d in sample.decisions if not d.kept] == [("cat", 0.1999)]


def test_nothing_to_ask_asks_nobody(sample):
    for kind in (FilterClip, FilterCaptions, VerifyMask):
        kind(model=None)([sample])
    VerifyExistence(model=None, rivals=[])([sample])
    assert not sample.decisions


def test_the_best_caption_stays_however_low_it_scores(sample, make):
    sample.captions = [{"text": "a", "kept": True}, {"text": "b", "kept": True}]
    views = []
    scorer = make["scorer"](lambda view, text: views.append(view) or {"a": 0.05, "b": 0.1}[text])
    FilterCaptions(model=scorer, threshold=0.2)([sample])
    assert [(c["kept"], c["clip_score"]) for c in sample.captions] == [(False, 0.05), (True, 0.1)]
    assert views[0].box == (0, 0, 60, 40)


def test_a_good_mask_takes_the_evidence_with_it(sample, add, texts, make):
    truth = make["rectangle"](20, 10, 40, 20)

    def cosine(view, text):  # the share of the visible that is the truth
        x0, y0, x1, y1 = view.box
        shown = view.shown[y0:y1, x0:x1]
        assert view.fade == 1
        return (truth[y0:y1, x0:x1] & shown).sum() / shown.sum()

    add("good", mask=truth)
    add("half", mask=make["rectangle"](20, 10, 30, 20))
    VerifyMask(model=make["scorer"](cosine), threshold=0.9, grow=0.6)([sample])
    assert texts() == ["good"] and sample.regions[0].extra["mask_gain"] == 1.0
    # The crop of "half" is x 17 to 33, y 7 to 23: 256 pixels, 100 in the mask, 30 of the truth not.
    assert sample.decisions[1].value == pytest.approx(1 - 30 / 156)


def test_existence_is_a_share_among_rivals_and_the_lost_become_negatives(sample, add, texts, make):
    cosines = {"dog": 0.30, "cat": 0.20, "cow": 0.27}
    scorer = make["scorer"](lambda view, text: cosines[text.lower()])
    add("dog", (0, 0, 9, 9))
    add("cat", (0, 0, 9, 9))
    VerifyExistence(
        model=scorer, rivals=["cow", "Dog"], threshold=0.5, negative_below=0.01, temperature=0.01
    )([sample])
    # dog against cow and cat: 1 / (1 + e^-3 + e^-10); cat against cow and dog: e^-10 of it
    share = 1 / (1 + np.exp(-3) + np.exp(-10))
    assert [d.value for d in sample.decisions] == pytest.approx([share, share * np.exp(-10)])
    assert texts() == ["dog", "cat"]
    kept, negative = sample.regions
    assert kept.has_target and kept.extra["existence"] == round(share, 5)
    assert not negative.has_target and negative.extra["negative"] == "existence"
    assert negative.extra["replaces"] == 1 and negative.extra["region_id"] == 2
    assert sample.not_exhaustive == []  # the image surely shows no cat


def test_a_text_of_which_one_region_passes_is_no_negative(sample, add, make):
    scores = iter([0.3, 0.1, 0.1, 0.3])
    scorer = make["scorer"](lambda view, text: next(scores))
    add("dog", (0, 0, 9, 9))
    add("dog", (20, 0, 29, 9))
    VerifyExistence(model=scorer, rivals=["cow"], threshold=0.5, negative_below=0.4)([sample])
    assert [r.extra["region_id"] for r in sample.regions] == [0]


def test_a_text_that_is_neither_shown_nor_surely_absent_is_not_exhaustive(sample, add, make):
    scorer = make["scorer"](lambda view, text: {"dog": 0.1, "cow": 0.11}[text])
    add("dog", (0, 0, 9, 9))  # share 1 / (1 + e) = 0.269
    VerifyExistence(model=scorer, rivals=["cow"], threshold=0.3, negative_below=0.26)([sample])
    assert sample.regions == [] and sample.not_exhaustive == ["dog"]


def test_a_merged_text_has_its_own_label_for_no_rival(sample, add, make):
    asked = []
    scorer = make["scorer"](lambda view, text: asked.append(text) or 0.2)
    add("all dogs", (0, 0, 9, 9), extra={"label": "dog"})
    VerifyExistence(model=scorer, rivals=["dog", "cat"], threshold=0.2)([sample])
    assert asked == ["all dogs", "cat"]


def test_ranges_of_existence():
    with pytest.raises(ValueError, match="temperature is 0, expected more than 0"):
        VerifyExistence(model=None, rivals=[], temperature=0)
    with pytest.raises(ValueError, match="negative_below is 0.3, expected 0 to 0.2"):
        VerifyExistence(model=None, rivals=[], negative_below=0.3)


def test_boxes_move_along_their_diagonal_and_stay_in_the_image(sample):
    boxes = np.array([[10, 20, 50, 30.0]])  # 40 x 10
    np.testing.assert_allclose(
        jittered(boxes, [0.1, -0.5], sample.image)[0], [[14, 21, 54, 31], [0, 15, 30, 25]]
    )
    # The example of the paper's sheet, in an image that is large enough.
    from segplugins.annotation.interfaces import Image

    large = Image(np.zeros((100, 100, 3), np.uint8))
    moved = jittered(np.array([[10, 20, 50, 80.0]]), [0.1], large)
    np.testing.assert_allclose(moved[0, 0], [14, 26, 54, 86])


def test_stability_is_the_mean_overlap_with_the_masks_of_moved_boxes(make):
    mask = make["rectangle"](0, 0, 10, 10)
    moved = np.array([mask, make["rectangle"](5, 0, 15, 10)])
    assert stability(mask, moved) == pytest.approx((1 + 1 / 3) / 2)
    # Backgrounds: 2400 - 150 of 2400 - 50 pixels in common.
    background = (2400 - 150) / (2400 - 50)
    expected = (1 + (1 / 3 + background) / 2) / 2
    assert stability(mask, moved, "fg_bg_mean") == pytest.approx(expected)
    assert stability(mask & False, moved) == 0 and stability(mask, moved & False) == 0


def test_jitter_asks_for_all_moved_boxes_of_all_images_at_once(sample, add, texts, make):
    class Sticky(make["box_filler"]):
        """Gives one mask for every box that begins left of x = 30, else the box."""

        def segment_boxes(self, images, boxes):
            (answer,), (its,) = super().segment_boxes(images, boxes), boxes
            masks = answer.masks.copy()
            masks[its[:, 0] < 30] = make["rectangle"](10, 10, 20, 20)
            return [Masks(masks, answer.scores)]

    model = Sticky()
    add("stable", mask=make["rectangle"](10, 10, 20, 20))
    add("loose", mask=make["rectangle"](40, 10, 50, 20))
    add("no mask", (0, 0, 9, 9))
    FilterJitter(model=model, offsets=(-0.1, 0.1), threshold=0.8)([sample])
    assert model.calls == [[4]]
    assert texts() == ["stable", "no mask"] and sample.regions[0].extra["mask_stability"] == 1.0
    # A square of 10 moved by 1 along both axes: 81 of 119 pixels.
    assert sample.decisions[1].value == pytest.approx(81 / 119)
    with pytest.raises(ValueError, match=r"offsets are \(0,\), expected numbers"):
        FilterJitter(model=model, offsets=(0,))
