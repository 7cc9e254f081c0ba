"""cgF1 and its factors, against a plain form of their definition."""

import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from segplugins.evaluation.detections import Detections
from segplugins.evaluation.instance_truth import TrueImage, TrueInstance
from segplugins.evaluation.presence import presence_counts, presence_scores


def instance(category, box, crowd=False):
    return TrueInstance(category, box, box[2] * box[3], crowd, crowd, None)


def found(classes, scores, boxes):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    return Detections(np.array(classes, np.int64), np.array(scores), boxes, None)


def scores_of(images, predictions, classes, federated=False):
    pairs = zip(images, predictions)
    return presence_scores(
        sum(presence_counts(i, p, "bbox", classes, federated=federated) for i, p in pairs)
    )


BOX = (0.0, 0.0, 4.0, 4.0)


def test_the_factors_of_a_small_example():
    # Two images, two classes. Class 0 of the first is found with IoU 3/4, which 6 of the 10
    # thresholds reach; class 1 of the second is missed, and class 0 seen where there is none.
    images = [TrueImage(8, 8, [instance(0, BOX)]), TrueImage(8, 8, [instance(1, BOX)])]
    near = (0.0, 0.0, 4.0, 3.0)
    predictions = [found([0], [0.9], [near]), found([0], [0.6], [near])]
    scores = scores_of(images, predictions, 2)
    # Of the samples that show their class: 2 true instances, 1 prediction.
    assert scores["pmF1"] == pytest.approx(100 * 0.6 * 2 / 3)
    # One of each kind: (1 * 1 - 1 * 1) = 0.
    assert scores["IL_MCC"] == scores["cgF1"] == 0
    # Without the prediction that is wrong: 1 there, 1 missed, 2 rightly nothing.
    scores = scores_of(images, [predictions[0], found([], [], [])], 2)
    assert scores["IL_MCC"] == pytest.approx(100 * 2 / math.sqrt(1 * 2 * 3 * 2))
    assert scores["cgF1"] == pytest.approx(scores["pmF1"] * scores["IL_MCC"] / 100)


def test_a_prediction_counts_from_a_score_of_one_half():
    image = TrueImage(8, 8, [instance(0, BOX)])
    for score, f1 in ((0.5, 100), (0.499, 0)):
        assert scores_of([image], [found([0], [score], [BOX])], 2)["pmF1"] == pytest.approx(f1)


def test_a_sample_with_a_crowd_does_not_count():
    image = TrueImage(8, 8, [instance(0, BOX), instance(0, BOX, crowd=True), instance(1, BOX)])
    counts = presence_counts(image, found([0], [0.9], [BOX]), "bbox", 3, federated=False)
    assert counts[:10].sum() == 0 and counts[10:].tolist() == [0, 1, 0, 0, 1, 1]


def test_of_lvis_only_what_the_file_tells_of_is_a_sample():
    image = TrueImage(
        8,
        8,
        [instance(0, BOX), instance(3, BOX)],
        absent=frozenset({1}),
        not_exhaustive=frozenset({3}),
    )
    prediction = found([0, 1, 2, 3], [0.9] * 4, [BOX] * 4)
    counts = presence_counts(image, prediction, "bbox", 5, federated=True)
    # Class 0 is there, class 1 is not; of 2 and 4 nothing is known, of 3 not everything.
    assert counts[10:].tolist() == [1, 1, 1, 1, 0, 0]


def test_predictions_are_assigned_so_that_the_overlaps_sum_highest():
    # The first prediction overlaps truth 0 with 9.1 / 10.9 and truth 1 with 8.9 / 11.1, the second
    # truth 0 with 9 / 11 and truth 1 with 7 / 13. Best first gives .83 + .54, crosswise .80 + .82.
    true = [instance(0, (10.0, 0.0, 10.0, 1.0)), instance(0, (12.0, 0.0, 10.0, 1.0))]
    prediction = found([0, 0], [0.9, 0.8], [(10.9, 0.0, 10.0, 1.0), (9.0, 0.0, 10.0, 1.0)])
    image = TrueImage(20, 40, true)
    counts = presence_counts(image, prediction, "bbox", 1, federated=False)
    assert counts[:10].tolist() == [2] * 7 + [0] * 3  # both reach 0.5 to 0.8


@pytest.mark.parametrize("classes_shown", [[0, 0], [0, 1]])
def test_what_is_not_defined_is_nan_and_a_model_of_one_answer_gets_0(classes_shown):
    images = [TrueImage(8, 8, [instance(c, BOX)]) for c in classes_shown]
    always = [found([0], [0.9], [BOX])] * 2
    one = scores_of(images, always, 1 + max(classes_shown))
    if classes_shown == [0, 0]:  # every sample shows its class: nothing to tell apart
        assert math.isnan(one["IL_MCC"]) and math.isnan(one["cgF1"])
    nothing = [found([], [], [])] * 2
    scores = scores_of(images, nothing, 2)
    assert scores["IL_MCC"] == 0 and scores["pmF1"] == 0
    empty = scores_of([TrueImage(8, 8)], nothing[:1], 2)
    assert math.isnan(empty["pmF1"]) and math.isnan(empty["IL_MCC"])


def plain_scores(images, predictions, classes):
    """The definition, sample by sample."""
    thresholds = np.linspace(0.5, 0.95, 10)
    tp, fp, fn = np.zeros((3, 10))
    table = np.zeros((2, 2))
    for image, prediction in zip(images, predictions):
        for label in range(classes):
            true = [i.box for i in image.instances if i.category == label]
            rows = (prediction.classes == label) & (prediction.scores >= 0.5)
            boxes = prediction.boxes[rows]
            table[int(len(boxes) > 0), int(len(true) > 0)] += 1
            if not true:
                continue
            hits = np.zeros(10)
            if len(boxes):
                ious = coco_mask.iou(boxes, np.array(true), [0] * len(true))
                rows, columns = linear_sum_assignment(ious, maximize=True)
                hits = np.array([(ious[rows, columns] >= t).sum() for t in thresholds])
            tp, fp, fn = tp + hits, fp + len(boxes) - hits, fn + len(true) - hits
    f1 = (2 * tp / (2 * tp + fp + fn)).mean()
    a, b, c, d = table[1, 1], table[1, 0], table[0, 1], table[0, 0]
    mcc = (a * d - b * c) / math.sqrt((a + b) * (a + c) * (d + b) * (d + c))
    return {"cgF1": 100 * f1 * mcc, "pmF1": 100 * f1, "IL_MCC": 100 * mcc}


def test_random_sets_equal_the_definition():
    generator = np.random.default_rng(0)

    def boxes(count):
        corners = generator.integers(0, 6, (count, 2))
        return np.concatenate([corners, generator.integers(2, 6, (count, 2))], 1).astype(float)

    for _ in range(40):
        images, predictions = [], []
        for _ in range(5):
            shown = generator.integers(0, 4, generator.integers(0, 6))
            true = [instance(int(c), tuple(b)) for c, b in zip(shown, boxes(len(shown)))]
            images.append(TrueImage(20, 20, true))
            count = generator.integers(1, 8)
            classes, confidence = generator.integers(0, 4, count), generator.random(count)
            predictions.append(found(classes, confidence, boxes(count)))
        expected = plain_scores(images, predictions, 4)
        assert scores_of(images, predictions, 4) == pytest.approx(expected, abs=1e-9)
