"""Boxes: centres and corners, logits at their bounds, generalised IoU by hand."""

import math

import pytest
import torch

from segplugins.modeling.boxes import (
    boxes_of_corners,
    corners_of_boxes,
    generalized_iou,
    inverse_sigmoid,
)


def test_corners_lie_half_a_side_from_the_centre():
    corners = corners_of_boxes(torch.tensor([[0.5, 0.25, 0.5, 0.125]]))
    assert corners.tolist() == [[0.25, 0.1875, 0.75, 0.3125]]


def test_a_box_of_corners_has_their_middle_and_their_distance():
    boxes = boxes_of_corners(torch.tensor([[[0.25, 0.1875, 0.75, 0.3125]]]))
    assert boxes.tolist() == [[[0.5, 0.25, 0.5, 0.125]]]


def test_corners_in_the_wrong_order_give_a_negative_side():
    assert boxes_of_corners(torch.tensor([0.75, 0.5, 0.25, 0.5])).tolist() == [0.5, 0.5, -0.5, 0.0]


@pytest.mark.parametrize(
    "share, logit",
    [
        (0.5, 0.0),
        (0.25, -math.log(3)),
        (0.75, math.log(3)),
        (0.0, math.log(1e-5)),
        (1.0, -math.log(1e-5)),
        (-3.0, math.log(1e-5)),
        (4.0, -math.log(1e-5)),
    ],
)
def test_a_logit_undoes_the_sigmoid_and_stays_finite_at_the_ends(share, logit):
    assert inverse_sigmoid(torch.tensor(share)).item() == pytest.approx(logit, abs=1e-5)


def test_the_lowest_odds_are_what_the_caller_asks_for():
    ends = inverse_sigmoid(torch.tensor([0.0, 1.0]), eps=0.1)
    assert ends.tolist() == pytest.approx([math.log(0.1), -math.log(0.1)])


@pytest.mark.parametrize(
    "first, second, expected",
    [
        # Far from the origin, so that a sum in place of a difference shows.
        ((2, 2, 4, 4), (3, 2, 5, 4), 2 / 6 - 0 / 6),
        ((2, 2, 4, 4), (3, 3, 5, 5), 1 / 7 - 2 / 9),
        ((2, 2, 4, 4), (2, 2, 4, 4), 1.0),
        ((0, 0, 1, 1), (3, 0, 4, 1), 0 - 2 / 4),  # a gap of two units in a hull of four
        ((0, 0, 4, 4), (1, 1, 2, 3), 2 / 16),  # one in the other: the hull is the larger one
        ((0, 0, 1, 2), (0, 2, 1, 4), 0.0),  # they touch
    ],
)
def test_generalised_iou_of_two_boxes(first, second, expected):
    first, second = torch.tensor(first).float(), torch.tensor(second).float()
    assert generalized_iou(first, second).item() == pytest.approx(expected, abs=1e-5)
    assert generalized_iou(second, first).item() == pytest.approx(expected, abs=1e-5)


def test_empty_boxes_have_a_finite_iou():
    point, other = torch.tensor([1.0, 1, 1, 1]), torch.tensor([3.0, 2, 3, 2])
    assert generalized_iou(point, point).item() == 0.0
    # Two points: no overlap, and the hull of 2 x 1 is empty but for them.
    assert generalized_iou(point, other).item() == pytest.approx(-1.0, abs=1e-5)


def test_boxes_turned_inside_out_have_no_area():
    turned, box = torch.tensor([4.0, 4, 2, 2]), torch.tensor([2.0, 2, 4, 4])
    # Nothing in common, and the hull, which takes the least first and the greatest last corners, is
    # the box: 0 / 4 - 0.
    assert generalized_iou(turned, box).item() == pytest.approx(0.0, abs=1e-5)


def test_leading_dimensions_are_broadcast():
    rows = torch.tensor([[0.0, 0, 1, 1], [0, 0, 2, 1], [0, 0, 1, 2]])
    table = generalized_iou(rows[:, None], rows[None, :2])
    assert table.shape == (3, 2)
    expected = [[1.0, 0.5], [0.5, 1.0], [0.5, 1 / 3 - 1 / 4]]
    torch.testing.assert_close(table, torch.tensor(expected), atol=1e-5, rtol=0)
