"""Calibration of detections."""

import math

import numpy as np
import pytest

from segplugins.evaluation.detection_calibration import detection_calibration_error
from segplugins.evaluation.detections import Detections, Rules, match_image
from segplugins.evaluation.instance_truth import TrueImage, TrueInstance

BOX = (0.0, 0.0, 4.0, 4.0)
AWAY = (6.0, 6.0, 2.0, 2.0)


def matches(scores, boxes, image=None, federated=False):
    image = image or TrueImage(8, 8, [TrueInstance(0, BOX, 16, False, False, None)])
    classes = np.zeros(len(scores), int)
    detections = Detections(classes, np.array(scores), np.array(boxes, float).reshape(-1, 4), None)
    return match_image(image, detections, "bbox", Rules(federated, 100))


def test_it_is_the_distance_of_score_and_share_of_right_ones_in_each_bin():
    # Bin 0.8-0.9: 2 detections, one right (the other finds the truth taken), mean score 0.85.
    # Bin 0.2-0.3: one, wrong, 0.25.
    image = matches([0.86, 0.84, 0.25], [BOX, BOX, AWAY])
    expected = (2 * abs(1 / 2 - 0.85) + 1 * 0.25) / 3
    assert detection_calibration_error([image]) == pytest.approx(100 * expected)
    # Bins hold detections of all images.
    other = matches([0.89], [BOX])
    expected = (3 * abs(2 / 3 - (0.86 + 0.84 + 0.89) / 3) + 0.25) / 4
    assert detection_calibration_error([image, other]) == pytest.approx(100 * expected)


def test_the_upper_end_belongs_to_a_bin():
    # 0.5 lies in the bin 0.4-0.5 with 0.45: one right, one wrong, mean 0.475.
    image = matches([0.5, 0.45], [BOX, AWAY])
    assert detection_calibration_error([image]) == pytest.approx(100 * abs(0.5 - 0.475))
    # The ends of all bins: 1 in the last, 0 in the first.
    assert detection_calibration_error([matches([1.0, 0.0], [BOX, AWAY])]) == 0


def test_detections_that_are_neither_right_nor_wrong_are_left_out():
    crowd = TrueImage(8, 8, [TrueInstance(0, BOX, 16, True, True, None)])
    assert math.isnan(detection_calibration_error([matches([0.9], [BOX], crowd)]))
    lenient = TrueImage(8, 8, [], frozenset({0}), frozenset({0}))  # LVIS: not all are annotated
    image = matches([0.9], [AWAY], lenient, federated=True)
    assert math.isnan(detection_calibration_error([image]))
    assert math.isnan(detection_calibration_error([]))
