from unittest import mock

import numpy as np
import pytest
import torch

from segplugins.pictures.legend import draw_legend
from segplugins.prediction import NOTHING, Result
from segplugins.prediction import result as result_module
from segplugins.structures.regions import Task

#  sky sky sky
#  sea boat boat
LABELS = np.array([[0, 0, 0], [1, 2, 2]])
NAMES = ("sky", "sea", "boat", "moon")


def test_the_classes_that_occur_are_the_regions_of_a_label_map():
    scores = np.array([[0.9, 0.6, 0.6], [0.5, 0.2, 0.4]])
    result = Result.from_label_map(LABELS, NAMES, scores=scores, name="a")
    assert len(result) == 3 and result.classes.tolist() == [0, 1, 2]
    np.testing.assert_allclose(result.scores, [0.7, 0.5, 0.3], rtol=1e-6)
    assert result.masks.shape == (3, 2, 3)
    np.testing.assert_array_equal(result.masks[2], LABELS == 2)
    # x1 and y1 are behind the last pixel.
    assert result.boxes.tolist() == [[0, 0, 3, 1], [0, 1, 1, 2], [1, 1, 3, 2]]
    assert result.areas.tolist() == [3, 1, 2]
    assert result.shares() == {"sky": 0.5, "boat": pytest.approx(1 / 3), "sea": 1 / 6}
    assert repr(result) == "a 3x2, semantic: sky 50 %, boat 33 %, sea 17 %"
    assert not result.mask("moon").any()
    with pytest.raises(KeyError, match="'sun' was not asked for; names are"):
        result.mask("sun")


@pytest.mark.parametrize("kind", [np.int64, np.uint8, "tensor"])
def test_labels_outside_the_names_are_nothing(kind):
    labels = np.array([[0, 3], [4, 255]])
    labels = torch.tensor(labels) if kind == "tensor" else labels.astype(kind)
    result = Result.from_label_map(labels, NAMES)
    assert result.label_map.tolist() == [[0, 3], [NOTHING, NOTHING]]
    assert result.label_map.dtype == np.int16 and result.classes.tolist() == [0, 3]


def test_many_names_need_more_bits():
    result = Result.from_label_map(np.full((1, 1), 40_000), [f"{i}" for i in range(50_000)])
    assert result.label_map.dtype == np.int32 and result.label_map.tolist() == [[40_000]]


def test_scores_do_not_count_where_there_is_no_class():
    labels, scores = np.array([[0, NOTHING]]), np.array([[0.8, 0.1]])
    assert Result.from_label_map(labels, ("a",), scores=scores).scores.tolist() == [
        pytest.approx(0.8)
    ]


def test_segments_have_ids_of_their_own():
    segments = np.array([[7, 7, 0], [9, 9, 8]])
    result = Result.from_segments(segments, [9, 7], [2, 0], NAMES, scores=[0.4, 0.6])
    assert result.task is Task.PANOPTIC and len(result) == 2
    assert result.masks[0].tolist() == [[False] * 3, [True, True, False]]
    # 8 is no region, 0 is no segment.
    assert result.label_map.tolist() == [[0, 0, NOTHING], [2, 2, NOTHING]]


def test_of_overlapping_masks_the_best_is_on_top():
    masks = np.array([[[1, 1, 0]], [[0, 1, 1]]], bool)
    below = Result.from_masks(masks, [0, 1], NAMES, scores=[0.3, 0.6])
    assert below.label_map.tolist() == [[0, 1, 1]]
    above = Result.from_masks(masks, [0, 1], NAMES, scores=[0.6, 0.3])
    assert above.label_map.tolist() == [[0, 0, 1]]
    assert Result.from_masks(masks, [0, 1], NAMES).label_map.tolist() == [[0, 0, 1]]
    assert above.shares() == {"sky": 2 / 3, "sea": 2 / 3}
    assert above.overlaps and not Result.from_label_map(LABELS, NAMES).overlaps


def test_two_instances_of_a_class_are_two_regions_of_one_name():
    masks = np.array([[[1, 0, 0]], [[0, 0, 1]]], bool)
    result = Result.from_masks(masks, [2, 2], NAMES, is_thing=[False, False, True, True])
    assert result.mask("boat").tolist() == [[True, False, True]]
    regions = list(result)
    assert [region.text for region in regions] == ["boat", "boat"]
    assert [region.box for region in regions] == [(0, 0, 1, 1), (2, 0, 3, 1)]
    assert regions[0].is_thing and regions[0].class_index == 2 and regions[0].score == 1.0
    np.testing.assert_array_equal(regions[1].bitmap(1, 3), masks[1])


def test_a_phrase_without_a_target_has_neither_box_nor_mask():
    masks = np.zeros((1, 2, 2), bool)
    result = Result.from_masks(masks, [0], ["the moon"], task=Task.REFERRING)
    (region,) = result
    assert not region.has_target and region.class_index == -1
    assert result.boxes.tolist() == [[0, 0, 0, 0]] and result.shares() == {}
    assert "none of the names" in repr(result)


def test_an_empty_result_has_every_form():
    result = Result.from_masks(np.zeros((0, 2, 3), bool), [], NAMES)
    assert len(result) == 0 and result.masks.shape == (0, 2, 3) and result.boxes.shape == (0, 4)
    assert (result.label_map == NOTHING).all() and result.shares() == {}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Result.from_label_map(LABELS * 0.5, NAMES), r"whole numbers, got float64 \(2, 3"),
        (lambda: Result.from_label_map(LABELS, NAMES, scores=LABELS[:1]), r"scores are \(1, 3\)"),
        (lambda: Result.from_masks(LABELS, [0], NAMES), r"masks are \(2, 3\), expected \(N, H, W"),
        (lambda: Result.from_masks([{}], [0], NAMES), "need the picture's size"),
        (lambda: Result.from_masks(np.ones((1, 2, 2)), [4], NAMES), "there are 4 names"),
        (lambda: Result.from_masks(np.ones((1, 2, 2)), [-1], NAMES), "classes run from -1"),
        (lambda: Result.from_masks(np.ones((3, 2, 2)), [0, 1], NAMES), "2 classes for 3 regions"),
        (lambda: Result.from_masks(np.ones((1, 2, 2)), [0, 1], NAMES), "2 classes for 1 regions"),
        (lambda: Result.from_segments(LABELS, [1, 2], [0], NAMES), "1 classes for 2 regions; give"),
        (lambda: Result.from_masks(np.ones((1, 2, 2)), [0], NAMES, scores=[]), "0 scores for 1"),
        (
            lambda: Result.from_label_map(LABELS, NAMES, image=np.zeros((3, 3, 3), np.uint8)),
            r"image is \(3, 3\) pixels, its result \(2, 3\)",
        ),
        (lambda: Result.from_label_map(LABELS, NAMES).draw(), "holds no image"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_kind_of_result_is_drawn_at_a_bounded_size():
    image = np.full((20, 6000, 3), 90, np.uint8)
    labels = np.zeros((20, 6000), int)
    masks = np.zeros((1, 20, 6000), bool)
    masks[0, :, 3000:] = True
    for result in (
        Result.from_label_map(labels, ("sky",), image=image, scores=labels * 0.0 + 0.5),
        Result.from_masks(masks, [0], ["a red car"], image=image, task=Task.REFERRING),
        Result.from_masks(masks, [0], ["car"], image=image, scores=[0.5]),
        Result.from_segments(masks[0] + 6, [7], [0], ["car"], image=image, scores=[0.5]),
    ):
        drawn = np.asarray(result.draw(legend=False))
        assert drawn.shape[1] <= 4096
        left, right = drawn[:, : drawn.shape[1] // 3], drawn[:, -drawn.shape[1] // 3 :]
        # What is painted is painted on the right, and what is not is left as it was.
        assert (np.abs(right.astype(int) - 90).max(axis=2) > 20).mean() > 0.3
        if result.mask(0).all():
            continue
        assert (left == 90).mean() > 0.9


def test_uncertain_instances_are_counted_in_the_legend_instead_of_painted():
    image = np.full((64, 96, 3), 90, np.uint8)
    masks = np.zeros((3, 64, 96), bool)
    for number in range(3):
        masks[number, :, 32 * number : 32 * number + 32] = True
    scores = [0.25, 0.2499, 0.1]
    result = Result.from_masks(masks, [0, 1, 1], NAMES, image=image, scores=scores)

    def painted(**style):  # which thirds of the picture are
        drawn = np.asarray(result.draw(legend=False, plates=False, **style)).astype(int)
        changed = (np.abs(drawn - 90).max(axis=2) > 20).mean(axis=0)
        return [part.mean() > 0.9 for part in np.array_split(changed, 3)]

    assert painted() == [True, False, False]
    assert painted(min_score=0.2) == [True, True, False]
    assert painted(min_score=0.0) == [True, True, True]
    names = {}
    with mock.patch("segplugins.pictures.draw.draw_legend", side_effect=draw_legend) as legend:
        for score in (0.25, 0.0):
            result.draw(min_score=score)
            names[score] = [row.name for row in legend.call_args[0][0]]
    assert names[0.25][1:] == ["(2 with a score below 0.25)"] and len(names[0.0]) == 2


@pytest.mark.parametrize("strip", [1, 7, 2**22])
def test_pixels_are_counted_in_strips_of_rows(monkeypatch, strip):
    monkeypatch.setattr(result_module, "_STRIP_PIXELS", strip)
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(-1, 3, (11, 5)), rng.random((11, 5))
    result = Result.from_label_map(labels, NAMES, scores=scores)
    assert result.classes.tolist() == [0, 1, 2]
    means = [scores[labels == index].mean() for index in range(3)]
    np.testing.assert_allclose(result.scores, means, rtol=1e-6)


def test_a_score_of_each_class_is_taken_by_the_classes_that_occur():
    result = Result.from_label_map(LABELS[1:], NAMES, scores=np.array([0.1, 0.2, 0.3, 0.4]))
    assert result.classes.tolist() == [1, 2]
    np.testing.assert_allclose(result.scores, [0.2, 0.3], rtol=1e-6)
    with pytest.raises(ValueError, match=r"scores are \(1, 2\), the label map \(2, 3\)"):
        Result.from_label_map(LABELS, NAMES, scores=np.zeros((1, 2)))


@pytest.mark.parametrize("count, kind", [(2**15 - 1, np.int16), (2**15, np.int32)])
@pytest.mark.parametrize("source", [np.int64, np.int16, "tensor"])
def test_the_smallest_type_holds_the_last_class_and_nothing(count, kind, source):
    labels = np.array([[0, -1], [2**15 - 2, -7]])
    labels = torch.tensor(labels) if source == "tensor" else labels.astype(source)
    narrowed = result_module.narrow(labels, count)
    assert narrowed.dtype == kind
    assert narrowed.tolist() == [[0, NOTHING], [2**15 - 2, NOTHING]]


def test_a_summary_names_five_shares_and_counts_the_others():
    names = [f"n{i}" for i in range(7)]
    labels = np.repeat(np.arange(7), [10, 20, 30, 10, 10, 10, 10])[None]
    result = Result.from_label_map(labels, names)
    assert result.summary() == (
        "picture 100x1, semantic: n2 30 %, n1 20 %, n0 10 %, n3 10 %, n4 10 % and 2 more"
    )
    five = Result.from_label_map(labels[labels < 5][None], names)
    assert "more" not in five.summary() and five.summary().count("%") == 5


def test_a_region_without_a_class_of_its_own_is_that_of_a_phrase():
    mask = np.ones((1, 1, 1), bool)
    for task, index in ((Task.REFERRING, -1), (Task.SALIENT, -1), (Task.INSTANCE, 0)):
        (region,) = Result.from_masks(mask, [0], ["a"], task=task, scores=[0.25])
        assert (region.class_index, region.score) == (index, 0.25)
