"""Masks, boxes and records just inside and just outside what is allowed."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from segplugins.structures.regions import (
    Region,
    Task,
    box_of_mask,
    box_outline,
    check_box,
    check_polygons,
    decode_mask,
    draw_polygons,
    encode_mask,
    rle_counts,
    validate_record,
)


def test_runs_go_down_the_columns_and_begin_with_background():
    # 2 high, 3 wide; pixels in the order of the columns: (0,0) (1,0) (0,1) (1,1) (0,2) (1,2).
    mask = decode_mask({"size": [2, 3], "counts": [1, 2, 2, 1]}, 2, 3)
    assert mask.astype(int).tolist() == [[0, 1, 0], [1, 0, 1]]
    assert rle_counts(encode_mask(mask)).tolist() == [1, 2, 2, 1]


def test_a_mask_that_begins_in_the_corner_has_a_first_run_of_nothing():
    mask = decode_mask({"size": [2, 2], "counts": [0, 3, 1]}, 2, 2)
    assert mask.astype(int).tolist() == [[1, 1], [1, 0]]


def test_a_run_of_the_whole_image_is_allowed():
    assert not decode_mask({"size": [2, 3], "counts": [6]}, 2, 3).any()
    assert decode_mask({"size": [2, 3], "counts": (0, 6)}, 2, 3).all()
    assert decode_mask({"size": (2, 3), "counts": np.array([0, 6], np.uint32)}, 2, 3).all()


def test_text_counts_are_five_bits_a_character_with_differences_from_the_fourth_on():
    # "1" is 1, "2" is 2, "3" is 3; the fourth is the difference to the second: "2" -> 2 + 2 = 4,
    # the fifth to the third: "N" is 30, which is -2 in five bits -> 3 - 2 = 1.
    assert rle_counts({"counts": "1232N"}).tolist() == [1, 2, 3, 4, 1]
    # 100 = 4 + 3 * 32: "T" (4 with the bit of more) and "3".
    assert rle_counts({"counts": b"T3"}).tolist() == [100]
    assert rle_counts({"counts": ""}).tolist() == []


def test_counts_that_are_true_and_false_are_no_numbers():
    with pytest.raises(ValueError, match="one list of whole numbers, got bool"):
        rle_counts({"counts": [True, False]})


@pytest.mark.parametrize("far, allowed", [(48, True), (48.001, False), (-48, True), (-49, False)])
def test_a_vertex_may_lie_eight_sides_of_the_longer_side_away(far, allowed):
    polygon = [[0, 0, far, 1, 2, 2]]  # an image of 4 x 6: 8 * 6 = 48
    if allowed:
        check_polygons(polygon, 4, 6)
    else:
        with pytest.raises(ValueError, match="too far or is not finite.*at most 48"):
            check_polygons(polygon, 4, 6)


def test_one_bad_polygon_of_several_is_enough():
    good, bad = [0, 0, 1, 0, 1, 1], [0, 0, 1, 0]
    check_polygons([good, np.array(good)], 4, 6)
    with pytest.raises(ValueError, match="got 4 values"):
        check_polygons([good, bad], 4, 6)


def test_an_outline_is_measured_closed_and_by_the_longer_axis():
    # A strip of 1,000,000 by 2 pixels, again and again: 2 * 1,000,000 + 2 * 2 a turn.
    strip = [0, 0, 1_000_000, 0, 1_000_000, 2, 0, 2]
    assert draw_polygons([strip] * 2, 4, 4)[:2].all()
    with pytest.raises(ValueError, match="run through 6000012 pixels, expected at most 5000000"):
        draw_polygons([strip] * 3, 4, 4)
    # 3 points * 1,200,000 * 2 are more than 5,000,000: what decides is the measured length.
    half = [0, 0, 1_200_000, 0, 0, 2]
    assert draw_polygons([half, half], 4, 4)[0].all()


def test_polygons_of_one_mask_are_joined():
    left, right = [0, 0, 2, 0, 2, 3, 0, 3], [4, 0, 5, 0, 5, 3, 4, 3]
    drawn = decode_mask([left, right], 3, 6).astype(int)
    assert drawn.tolist() == [[1, 1, 0, 0, 1, 0]] * 3


@pytest.mark.parametrize(
    "pixel, box", [((0, 0), (0, 0, 1, 1)), ((4, 6), (6, 4, 7, 5)), ((4, 0), (0, 4, 1, 5))]
)
def test_the_box_of_one_pixel_is_one_pixel(pixel, box):
    mask = np.zeros((5, 7), bool)
    mask[pixel] = True
    assert box_of_mask(mask) == box and all(type(value) is float for value in box_of_mask(mask))


@pytest.mark.parametrize("limit", [2**24, -(2**24)])
def test_a_box_may_reach_the_farthest_pixel_and_no_further(limit):
    low, high = min(limit, 0), max(limit, 0)
    check_box((low, low, high, high))
    check_box([np.float32(low), low, np.int64(high), high])
    step = 1 if limit > 0 else -1
    with pytest.raises(ValueError, match="up to 16777216"):
        check_box((min(limit + step, 0), 0, max(limit + step, 1), 1))


def test_a_box_of_no_width_or_no_height_is_refused_one_of_a_millionth_is_not():
    check_box((1, 1, 1.000001, 2))
    for box in ((1, 1, 1, 2), (1, 1, 2, 1)):
        with pytest.raises(ValueError, match="x1 > x0 and y1 > y0"):
            check_box(box)


def test_an_outline_is_as_wide_as_asked_for_and_cut_at_the_image():
    # One pixel wide around (0, 1)-(3, 4) in 5 x 4: all of the square but its middle.
    drawn = box_outline((0, 1, 3, 4), 5, 4, line=1).astype(int)
    assert drawn.tolist() == [
        [0, 0, 0, 0],
        [1, 1, 1, 0],
        [1, 0, 1, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 0],
    ]
    # Centres decide: a box that begins in the middle of a pixel does not hold that centre.
    assert not box_outline((0.5, 0, 1, 1), 1, 1).any()
    assert box_outline((0.49, 0, 1, 1), 1, 1).all()


def test_a_region_has_a_target_by_its_mask_alone():
    assert Region("mask", mask=[[0, 0, 1, 0, 1, 1]]).has_target


def record(**changes):
    instances = Instances((2, 3))
    instances.gt_classes = torch.tensor([0, 1])
    instances.gt_boxes = Boxes(torch.zeros(2, 4))
    return {
        "image": torch.zeros(3, 2, 3, dtype=torch.uint8),
        "height": 1,
        "width": 1,
        "task": Task.REFERRING,
        "vocabulary": None,
        "texts": ["a", "b"],
        "instances": instances,
        **changes,
    }


def without(key, **changes):
    given = record(**changes)
    del given[key]
    return given


def test_what_a_model_can_read_passes_at_its_bounds():
    validate_record(record(), training=True)
    validate_record(without("instances"), training=False)
    validate_record(without("texts", vocabulary="pets"), training=True)
    empty = Instances((2, 3), gt_classes=torch.zeros(0).long(), gt_boxes=Boxes(torch.zeros(0, 4)))
    validate_record(record(instances=empty, texts=[]), training=True)
    validate_record(record(ignore_negative=torch.tensor([True, False])), training=True)


NEGATIVE = Instances((2, 3), gt_classes=torch.tensor([0, -1]), gt_boxes=Boxes(torch.zeros(2, 4)))


@pytest.mark.parametrize(
    "given, message",
    [
        (record(height=0), "height is 0, expected a positive int"),
        (record(width=-3), "width is -3"),
        (record(image=torch.zeros(2, 3, dtype=torch.uint8)), r"image must be a \(3, H, W\) uint8"),
        (record(image=[[0]]), r"image must be a \(3, H, W\) uint8"),
        (record(instances=NEGATIVE), "gt_classes holds a negative index"),
        (record(texts=["a"]), "gt_classes reaches 1, but there are 1 texts"),
        (record(sem_seg=torch.zeros(3, 2).long()), r"sem_seg is \(3, 2\).*expected \(2, 3\)"),
        (without("instances"), "neither instances nor sem_seg to learn from"),
        (without("task"), r"keys \['task'\] are missing"),
    ],
)
def test_what_no_model_can_read_is_named(given, message):
    with pytest.raises(ValueError, match=f"record of an image without file_name: {message}"):
        validate_record(given, training=True)
