"""Extents of masks against their pixels; boxes against extents, at the bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segplugins.files.coco_boxes import DifferingBoxes
from segplugins.files.masks import box_difference, check_masks, differing_boxes
from segplugins.structures.regions import box_of_mask, encode_mask

SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)


@settings(max_examples=30, deadline=None)
@given(arrays(bool, SIDES, elements=st.booleans()))
def test_the_extent_of_an_rle_is_the_box_of_its_pixels(mask):
    checks = check_masks([encode_mask(mask)], np.array([mask.shape]))
    if mask.any():
        assert not checks.faults and tuple(checks.extents[0]) == box_of_mask(mask)
    else:
        assert checks.faults == {0: ("empty-mask", "the mask covers no pixel of the image")}


def test_the_extent_of_polygons_ends_at_the_picture():
    polygons = [[[-2, 1, 3, 1, 3, 9]], [[1, 1, 2, 1, 2, 2], [4, 0, 5, 0, 5, 3]]]
    checks = check_masks(polygons, np.array([[6, 8], [6, 8]]))  # 6 high, 8 wide
    assert checks.extents.tolist() == [[0, 1, 3, 6], [1, 0, 5, 3]] and not checks.faults


@pytest.mark.parametrize(
    ("polygon", "is_outside"),
    [
        ([-3, 1, 0, 1, 0, 3], True),
        ([-3, 1, 0.5, 1, 0.5, 3], False),
        ([1, -3, 3, -3, 3, 0], True),
        ([8, 1, 9, 1, 9, 3], True),
        ([7.5, 1, 9, 1, 9, 3], False),
        ([1, 6, 3, 6, 3, 9], True),
        ([1, 5.5, 3, 6, 3, 9], False),
    ],
)
def test_a_polygon_beside_its_picture_covers_nothing(polygon, is_outside):
    faults = check_masks([[polygon]], np.array([[6, 8]])).faults
    assert [kind for kind, _ in faults.values()] == ["empty-mask"] * is_outside


@pytest.mark.parametrize(("reach", "is_fault"), [(64, False), (64.5, True), (-64.5, True)])
def test_points_lie_at_most_eight_of_the_longer_side_away(reach, is_fault):
    faults = check_masks([[[1, 1, 2, 1, 2, reach]]], np.array([[6, 8]])).faults
    assert [kind for kind, _ in faults.values()] == ["polygon"] * is_fault


def test_faults_are_those_of_their_masks():
    masks = [[[1, 1, 2, 1, 2, 2]], {"size": [3, 4], "counts": [12]}, {"counts": [3, 4]}]
    faults = check_masks([*masks, {"size": [4, 3], "counts": [0, 12]}], np.array([[3, 4]] * 4))
    assert {index: kind for index, (kind, _) in faults.faults.items()} == {
        1: "empty-mask",
        2: "rle",
        3: "rle",
    }


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize(("off", "differs"), [(2, False), (2.01, True), (-2, False), (-2.01, True)])
def test_a_box_may_be_two_pixels_off_at_each_side(side, off, differs):
    corners = np.array([10.0, 10, 20, 20])
    corners[side] += off
    box = np.concatenate([corners[:2], corners[2:] - corners[:2]])
    got = differing_boxes(box[None], np.array([[10.0, 10, 20, 20]]), np.array([[40, 50]]))
    assert got.tolist() == [differs]


def test_boxes_are_cut_at_the_picture_before_they_are_compared():
    box = np.array([[-30.0, -30, 100, 100]])
    extent = np.array([[0.0, 0, 50, 40]])
    assert not differing_boxes(box, extent, np.array([[40, 50]])).any()
    assert differing_boxes(box, extent, np.array([[50, 40]])).any()


def test_the_message_has_both_boxes_as_corner_and_size():
    message = box_difference([1, 2, 3.5, 4], [10, 20, 30, 50])
    assert message.startswith("bbox is [1, 2, 3.5, 4] (x, y, w, h), the mask has [10, 20, 20, 30];")


class Annotation:
    def __init__(self, bbox):
        self.bbox = bbox


def reported(boxes, count):
    differing, told = DifferingBoxes(), []
    for box in boxes:
        differing.add(Annotation(box), np.array([10.0, 20, 40, 60]))
    differing.report(count, lambda annotation, kind, message, **more: told.append((kind, more)))
    return told


FAULT = ("box", {"mend": ("bbox", None)})
REMARK = ("box", {"remark": True})


@pytest.mark.parametrize(("count", "told"), [(2000, REMARK), (1999, FAULT)])
def test_one_box_of_a_thousand_may_stray(count, told):
    assert reported([[0, 0, 5, 5]] * 2, count) == [told] * 2


@pytest.mark.parametrize(("off", "told"), [(2, FAULT), (2.5, REMARK)])
def test_a_box_that_has_corners_instead_of_sizes_is_a_fault_in_any_file(off, told):
    assert reported([[10, 20, 40, 60 + off]], 10**6) == [told]
