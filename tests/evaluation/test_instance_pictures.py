"""How well one image was answered, by hand, and what of it is painted."""

import math

import numpy as np
import pytest

from segplugins.evaluation.detections import Detections
from segplugins.evaluation.instance_pictures import image_quality, thinned_instances
from segplugins.evaluation.instance_truth import TrueImage, TrueInstance
from segplugins.structures.regions import encode_mask

HEIGHT, WIDTH = 10, 20


def true(category, box, *, mask=False, crowd=False):
    return TrueInstance(category, box, box[2] * box[3], crowd, crowd, rle(box) if mask else None)


def rle(box):
    x, y, width, height = box
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + height, x : x + width] = True
    return encode_mask(mask)


def found(*entries, masks=False):
    """Detections of (category, score, box)."""
    return Detections(
        np.array([category for category, _, _ in entries], np.int64),
        np.array([score for _, score, _ in entries], np.float64),
        np.array([box for _, _, box in entries], np.float64).reshape(-1, 4),
        [rle(box) for _, _, box in entries] if masks else None,
    )


def image(*instances, **more):
    return TrueImage(HEIGHT, WIDTH, list(instances), **more)


def test_without_an_instance_on_either_side_there_is_no_quality():
    assert math.isnan(image_quality(image(), found()))
    # Scores under one half are not shown, and so do not count.
    assert math.isnan(image_quality(image(), found((0, 0.49, (0, 0, 4, 4)))))


@pytest.mark.parametrize("masks", [False, True])
def test_quality_is_the_matched_iou_over_all_instances(masks):
    truth = image(true(0, (0, 0, 4, 4), mask=masks), true(1, (10, 0, 4, 4), mask=masks))
    perfect = found((0, 0.9, (0, 0, 4, 4)), (1, 0.5, (10, 0, 4, 4)), masks=masks)
    assert image_quality(truth, perfect) == pytest.approx(100)
    assert image_quality(truth, found(masks=masks)) == 0
    # One match of IoU 12 / 16; one truth is missed, and its place is called another class.
    partly = found((0, 0.9, (0, 0, 4, 3)), (0, 0.9, (10, 0, 4, 4)), masks=masks)
    assert image_quality(truth, partly) == pytest.approx(100 * 0.75 / (1 + 1 / 2 + 1 / 2))


def test_a_truth_is_taken_once_by_the_highest_score():
    truth = image(true(0, (0, 0, 4, 4)))
    twice = found((0, 0.6, (0, 0, 4, 4)), (0, 0.9, (0, 0, 4, 3)))
    assert image_quality(truth, twice) == pytest.approx(100 * 0.75 / (1 + 1 / 2))


def test_half_an_overlap_is_no_match():
    assert image_quality(image(true(0, (0, 0, 4, 4))), found((0, 0.9, (0, 0, 4, 2)))) == 0


def test_detections_in_a_crowd_are_neither_right_nor_wrong():
    truth = image(true(0, (0, 0, 4, 4)), true(0, (10, 0, 10, 10), crowd=True))
    inside = found((0, 0.9, (0, 0, 4, 4)), (0, 0.8, (12, 2, 2, 2)))
    assert image_quality(truth, inside) == pytest.approx(100)
    other = found((0, 0.9, (0, 0, 4, 4)), (1, 0.8, (12, 2, 2, 2)))
    assert image_quality(truth, other) == pytest.approx(100 / (1 + 1 / 2))


def test_lvis_says_nothing_of_classes_that_nobody_looked_for():
    truth = image(true(0, (0, 0, 4, 4)), absent=frozenset({1}))
    answer = found((0, 0.9, (0, 0, 4, 4)), (1, 0.9, (0, 0, 2, 2)), (2, 0.9, (0, 0, 2, 2)))
    assert image_quality(truth, answer, federated=True) == pytest.approx(100 / (1 + 1 / 2))
    assert image_quality(truth, answer) == pytest.approx(100 / (1 + 2 / 2))


def test_masks_are_painted_with_the_small_ones_on_top():
    truth = image(true(1, (0, 0, 2, 2), mask=True), true(0, (0, 0, 20, 10), mask=True))
    answer = found((1, 0.9, (0, 0, 20, 10)), (0, 0.4, (0, 0, 2, 2)), masks=True)
    prediction, target = thinned_instances(truth, answer, 3)(1)
    assert (prediction == 1).all()  # a score of 0.4 is not shown
    # The second instance has number 1: its category 0 is label 0 + (3 + 1) * 1.
    assert (target == 1).sum() == 4 and (target == 4).sum() == 196
    assert [labels.shape for labels in thinned_instances(truth, answer, 3)(2)] == [(5, 10)] * 2


def test_boxes_are_painted_as_outlines_that_survive_thinning():
    truth = image(true(0, (0, 0, 20, 10)))
    _, target = thinned_instances(truth, found(), 1)(1)
    assert (target == 0).sum() == 200 - 16 * 6  # two pixels on each side
    _, target = thinned_instances(truth, found(), 1)(2)
    assert (target == 0).sum() == 50 - 6 * 1  # four pixels, of which each second is kept


def test_instances_of_one_category_are_told_apart():
    truth = image(true(2, (0, 0, 4, 10), mask=True), true(2, (4, 0, 4, 10), mask=True))
    _, target = thinned_instances(truth, found(), 3)(1)
    assert [target[0, x] for x in (0, 4, 8)] == [2, 2 + 4, 3]
    assert [target[0, x] % 4 for x in (0, 4, 8)] == [2, 2, 3]


def test_more_instances_than_numbers_share_them_and_keep_their_categories():
    many = 70
    truth = image(*[true(2, (x % 20, x // 20, 1, 1), mask=True) for x in range(many)])
    _, target = thinned_instances(truth, found(), 1203)(1)
    assert target.max() <= 65535
    assert (target % 1204 == 2).sum() == many and (target == 1203).sum() == target.size - many
