"""Each cost by hand: its sign, its axes, and what it does without masks."""

import math

import pytest
import torch

from segplugins.modeling.costs import (
    Candidates,
    box_giou_cost,
    box_l1_cost,
    focal_class_cost,
    mask_bce_cost,
    mask_dice_cost,
    softmax_class_cost,
)


def candidates(**changes):
    """One image, one query and one target with two points, unless told otherwise."""
    fields = {
        "class_logits": torch.zeros(1, 1, 2),
        "boxes": torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]),
        "point_logits": torch.zeros(1, 1, 2),
        "labels": torch.zeros(1, 1, dtype=torch.int64),
        "target_boxes": torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]),
        "point_labels": torch.zeros(1, 1, 2),
        "has_masks": torch.ones(1, 1, 1),
        **changes,
    }
    return Candidates(**fields)


def focal(p, alpha, gamma):
    """The focal loss as a positive minus that as a negative, of one probability."""
    positive = alpha * (1 - p) ** gamma * -math.log(p)
    return positive - (1 - alpha) * p**gamma * -math.log(1 - p)


@pytest.mark.parametrize("alpha, gamma", [(0.25, 2.0), (0.5, 0.0), (0.9, 1.0)])
def test_the_focal_cost_reads_the_logit_of_the_text_of_each_target(alpha, gamma):
    # Two queries, two texts, three targets: texts 1, 0 and 1.
    probabilities = torch.tensor([[[0.2, 0.7], [0.9, 0.4]]])
    cost = focal_class_cost(alpha, gamma)(
        candidates(
            class_logits=torch.logit(probabilities),
            labels=torch.tensor([[1, 0, 1]]),
        )
    )
    expected = [
        [focal(0.7, alpha, gamma), focal(0.2, alpha, gamma), focal(0.7, alpha, gamma)],
        [focal(0.4, alpha, gamma), focal(0.9, alpha, gamma), focal(0.4, alpha, gamma)],
    ]
    torch.testing.assert_close(cost, torch.tensor([expected]))


def test_a_confident_right_query_is_cheaper_than_a_confident_wrong_one():
    logits = torch.tensor([[[9.0, -9.0], [-9.0, 9.0]]])
    right, wrong = focal_class_cost(0.25, 2.0)(candidates(class_logits=logits))[0, :, 0].tolist()
    assert right < 0 < wrong


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_the_focal_cost_of_extreme_logits_is_finite(logit):
    cost = focal_class_cost(0.25, 2.0)(candidates(class_logits=torch.full((1, 1, 2), logit)))
    assert torch.isfinite(cost).all()
    # One term is left: alpha * -ln 1e-8 of a miss, minus (1 - alpha) of it of a false alarm.
    expected = 0.25 * math.log(1e8) if logit < 0 else -0.75 * math.log(1e8)
    assert cost.item() == pytest.approx(expected, rel=1e-4)


def test_the_softmax_cost_is_minus_the_probability_among_all_classes():
    shares = torch.tensor([[[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]])  # the last class is no object
    cost = softmax_class_cost(candidates(class_logits=shares.log(), labels=torch.tensor([[1, 0]])))
    torch.testing.assert_close(cost, torch.tensor([[[-0.3, -0.2], [-0.3, -0.6]]]))


def test_the_mask_cost_is_the_mean_cross_entropy_of_query_and_target():
    logits = torch.tensor([[[0.0, 2.0, -1.0], [3.0, -3.0, 0.5]]])
    labels = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.25, 1.0]]])
    cost = mask_bce_cost(
        candidates(point_logits=logits, point_labels=labels, has_masks=torch.ones(1, 1, 1))
    )
    for q in range(2):
        for n in range(2):
            p = [1 / (1 + math.exp(-x)) for x in logits[0, q].tolist()]
            terms = [
                -y * math.log(share) - (1 - y) * math.log(1 - share)
                for share, y in zip(p, labels[0, n].tolist())
            ]
            assert cost[0, q, n].item() == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_the_mask_cost_of_extreme_logits_is_the_logit_itself():
    # A sure query that misses pays |x| at each point, a sure one that hits nothing.
    logits = torch.tensor([[[500.0, -500.0], [-500.0, 500.0]]])
    labels = torch.tensor([[[1.0, 0.0]]])
    cost = mask_bce_cost(candidates(point_logits=logits, point_labels=labels))
    assert cost[0, :, 0].tolist() == [0.0, 500.0]


def test_the_dice_cost_by_hand():
    # p = 1/2 at four points, two of which are in the target: 1 - (2 * 1 + 1) / (2 + 2 + 1).
    logits = torch.zeros(1, 1, 4)
    labels = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0] * 4, [1.0] * 4]])
    cost = mask_dice_cost(candidates(point_logits=logits, point_labels=labels))
    # Of the empty target 1 - 1 / 3, of the full one 1 - 5 / 7.
    torch.testing.assert_close(cost, torch.tensor([[[0.4, 2 / 3, 2 / 7]]]))


def test_the_dice_cost_has_a_row_per_query_and_a_column_per_target():
    logits = torch.tensor([[[60.0, 60.0, -60.0], [-60.0, -60.0, 60.0]]])
    labels = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]])
    cost = mask_dice_cost(candidates(point_logits=logits, point_labels=labels))
    # Overlaps 2, 0, 2 of the first query (2 points), 0, 1, 1 of the second (1 point).
    expected = [[0.0, 1 - 1 / 4, 1 - 5 / 6], [1 - 1 / 4, 0.0, 1 - 3 / 5]]
    torch.testing.assert_close(cost, torch.tensor([expected]))


@pytest.mark.parametrize("cost", [mask_bce_cost, mask_dice_cost])
def test_mask_costs_are_zero_for_the_images_without_masks(cost):
    torch.manual_seed(1)
    fields = {"point_logits": torch.randn(2, 3, 5), "point_labels": torch.ones(2, 2, 5)}
    both = cost(candidates(**fields, has_masks=torch.ones(2, 1, 1)))
    first = cost(candidates(**fields, has_masks=torch.tensor([1.0, 0.0]).view(2, 1, 1)))
    assert both.all()
    assert torch.equal(first[0], both[0]) and not first[1].any()


@pytest.mark.parametrize("cost", [mask_bce_cost, mask_dice_cost])
def test_mask_costs_are_a_scalar_zero_if_no_image_has_masks(cost):
    nothing = cost(candidates(point_logits=None, point_labels=None))
    assert nothing.shape == () and nothing.item() == 0.0


def test_the_box_cost_adds_up_the_four_differences():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.9, 0.2, 0.2]]])
    targets = torch.tensor([[[0.4, 0.7, 0.2, 0.1], [0.5, 0.5, 0.2, 0.4], [0.1, 0.8, 0.3, 0.4]]])
    cost = box_l1_cost(candidates(boxes=boxes, target_boxes=targets))
    expected = [[0.1 + 0.2 + 0.0 + 0.3, 0.0, 0.4 + 0.3 + 0.1 + 0.0], [0.6, 1.0, 0.4]]
    torch.testing.assert_close(cost, torch.tensor([expected]))


def test_the_giou_cost_is_minus_the_generalised_iou():
    # Query [0.25, 0.75]^2 and target [0, 0.5]^2: I = 1/16, U = 7/16, E = 9/16.
    targets = torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]])
    cost = box_giou_cost(candidates(target_boxes=targets))
    expected = -(1 / 7 - 2 / 9)
    assert cost.shape == (1, 1, 2)
    assert cost[0, 0].tolist() == pytest.approx([expected, -1.0], abs=1e-4)


def test_the_giou_cost_has_a_row_per_query_and_a_column_per_target():
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]]])  # left and right half
    targets = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0], [0.75, 0.5, 0.5, 1.0]]])
    cost = box_giou_cost(candidates(boxes=boxes, target_boxes=targets))
    # Halves that touch have no overlap and leave no gap: 0. A half in the whole: 1/2.
    expected = torch.tensor([[[-1.0, -0.5, 0.0], [0.0, -0.5, -1.0]]])
    torch.testing.assert_close(cost, expected, atol=1e-4, rtol=0)
