"""Greedy matching, one rule at a time."""

import numpy as np
import pytest

from segplugins.evaluation.matching import (
    AREAS,
    IOU_THRESHOLDS,
    NearPairs,
    match,
    of_areas,
    outside,
    unpacked,
)

EVERY = 0b1111


def matched(ious, ignored=None, crowd=None):
    """Returns counted and ignored, (A, T, D) bool, of a table of IoUs (D, G)."""
    ious = np.array(ious, np.float64)
    rows, columns = np.nonzero(ious >= 0.5)
    ignored = np.zeros(ious.shape[1], np.uint8) if ignored is None else np.array(ignored, np.uint8)
    crowd = np.zeros(ious.shape[1], bool) if crowd is None else np.array(crowd)
    matches = match(NearPairs(rows, columns, ious[rows, columns]), ignored, crowd)
    tables = np.zeros((2, len(AREAS), len(IOU_THRESHOLDS), len(ious)), bool)
    for table, bits in zip(tables, (matches.counted, matches.ignored)):
        table[:, :, matches.detections] = unpacked(bits)
    return tables


def test_the_first_detection_takes_the_best_and_the_second_what_is_left():
    counted, ignored = matched([[0.9, 0.7], [0.8, 0.6]])
    # Where 0.9 is reached the first takes truth 0, the second must do with truth 1 at 0.6.
    reached = [np.count_nonzero(iou >= IOU_THRESHOLDS) for iou in (0.9, 0.6)]
    assert counted[0].sum(axis=0).tolist() == reached
    assert not ignored.any()


def test_a_crowd_takes_many_detections_that_are_neither_right_nor_wrong():
    counted, ignored = matched([[0.9], [0.8], [0.7]], [EVERY], [True])
    assert ignored[0, 0].all() and not counted.any()
    _, ignored = matched([[0.9], [0.8], [0.7]], [EVERY])
    assert ignored[0, 0].tolist() == [True, False, False]


def test_an_ignored_truth_is_taken_only_where_no_other_is_left():
    counted, ignored = matched([[0.6, 0.9]], [0, EVERY])
    assert counted[0, 0, 0] and not ignored[0, 0, 0]  # 0.6 reaches 0.5
    assert ignored[0, 5, 0] and not counted[0, 5, 0]  # but not 0.75


def test_of_equal_overlaps_the_last_true_instance_is_taken():
    # The first detection takes truth 1, so that the second, which reaches only truth 0, finds it.
    counted, _ = matched([[0.6, 0.6], [0.6, 0.0]])
    assert counted[0, 0].tolist() == [True, True]
    counted, _ = matched([[0.6, 0.6], [0.0, 0.6]])
    assert counted[0, 0].tolist() == [True, False]


def test_a_threshold_is_reached_where_the_iou_equals_it():
    for index, threshold in enumerate(IOU_THRESHOLDS):
        counted, _ = matched([[threshold]])
        assert counted[0, :, 0].sum() == index + 1
        counted, _ = matched([[np.nextafter(threshold, 0)]])
        assert counted[0, :, 0].sum() == index


def test_ranges_of_area_are_apart_and_hold_both_their_ends():
    # A truth outside of the range "s" is ignored there and counts in the three others.
    counted, ignored = matched([[0.7]], [0b0010])
    assert counted[:, 0, 0].tolist() == [True, False, True, True]
    assert ignored[:, 0, 0].tolist() == [False, True, False, False]
    areas = np.array([-1, 0, 1023, 1024, 1025, 9215, 9216, 9217, 1e10, 2e10])
    expected = [
        sum(1 << a for a, (_, low, high) in enumerate(AREAS) if area < low or area > high)
        for area in areas
    ]
    assert outside(areas).tolist() == expected


def test_bits_say_range_and_threshold():
    bits = of_areas(np.array([0b0100], np.uint8))
    assert unpacked(bits)[:, :, 0].tolist() == [[a == 2] * 10 for a in range(4)]
    assert unpacked(np.array([1 << 13], np.uint64))[1, 3, 0]
    assert unpacked(np.zeros(0, np.uint64)).shape == (4, 10, 0)


def slow_match(ious, ignored, crowd, threshold):
    """One range and one threshold, as pycocotools' loop has it."""
    free, result = [True] * ious.shape[1], []
    for row in ious:
        best = None
        for kind in (False, True):
            for truth in np.flatnonzero(ignored == kind):
                better = best is None or row[truth] >= row[best]
                if free[truth] and row[truth] >= threshold and better:
                    best = truth
            if best is not None:
                break
        if best is not None and not crowd[best]:
            free[best] = False
        result.append(0 if best is None else 1 + int(ignored[best]))
    return result


@pytest.mark.parametrize("seed", range(4))
def test_random_tables_equal_the_loop(seed):
    generator = np.random.default_rng(seed)
    for detections, truths in generator.integers(1, 9, (60, 2)):
        # Few values: equal ones are common.
        ious = generator.integers(0, 21, (detections, truths)) / 20
        ignored = generator.integers(0, 16, truths).astype(np.uint8)
        crowd = generator.random(truths) < 0.2
        ignored[crowd] = EVERY
        counted, on_ignored = matched(ious, ignored, crowd)
        for area in range(len(AREAS)):
            out = (ignored >> area & 1).astype(bool)
            for t, threshold in enumerate(IOU_THRESHOLDS):
                expected = slow_match(ious, out, crowd, threshold)
                assert (counted[area, t] + 2 * on_ignored[area, t]).tolist() == expected
