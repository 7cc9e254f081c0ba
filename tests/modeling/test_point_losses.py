"""Losses on points, classes and boxes by hand; sampling against an independent sum."""

import math

import pytest
import torch

from segplugins.modeling.point_losses import (
    box_giou,
    box_l1,
    focal,
    mask_bce,
    mask_dice,
    sample_logits,
    sample_masks,
    uncertain_points,
)


def bilinear(image, x, y):
    """The value of (H, W) at pixel coordinates, 0 outside; pixel (0, 0) has its middle at 0, 0."""
    height, width = image.shape
    total = 0.0
    for row in range(height):
        for column in range(width):
            weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            total += weight * float(image[row, column])
    return total


def test_logits_are_read_at_shares_of_the_map_with_x_first():
    maps = torch.arange(12.0).view(1, 3, 4)
    points = torch.tensor([[[0.125, 0.5], [0.875, 1 / 6], [0.5, 0.5], [0.0, 0.0]]])
    values = sample_logits(maps, points)
    # Cell middles: column 0 of row 1, column 3 of row 0; between columns 1 and 2 of row 1; the
    # corner, where three quarters lie outside.
    assert values.tolist() == [pytest.approx([4.0, 3.0, 5.5, 0.0])]


def test_logits_are_sampled_in_float32():
    assert sample_logits(torch.ones(1, 2, 2, dtype=torch.bfloat16), torch.rand(1, 3, 2)).dtype == (
        torch.float32
    )


def test_masks_are_sampled_bilinearly_and_nothing_is_outside_of_them():
    torch.manual_seed(0)
    masks = torch.rand(2, 5, 7) > 0.5
    canvas = (8, 9)  # larger than the masks, which stand in its upper left corner
    points = torch.rand(2, 40, 2)
    points[:, :4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    values = sample_masks(masks, points, canvas)
    for n in range(2):
        for k, (x, y) in enumerate(points[n].tolist()):
            expected = bilinear(masks[n], x * 9 - 0.5, y * 8 - 0.5)
            assert values[n, k].item() == pytest.approx(expected, abs=1e-5)


def test_points_that_all_masks_share_are_read_as_points_of_their_own():
    torch.manual_seed(0)
    masks, points = torch.rand(3, 4, 6) > 0.5, torch.rand(10, 2)
    shared = sample_masks(masks, points, (4, 6))
    assert torch.equal(shared, sample_masks(masks, points.expand(3, -1, -1), (4, 6)))


def test_no_mask_has_no_points():
    assert sample_masks(torch.zeros(0, 4, 6, dtype=torch.bool), torch.rand(5, 2), (4, 6)).shape == (
        0,
        5,
    )


def test_all_points_of_full_importance_lie_where_the_logits_are_near_zero():
    torch.manual_seed(0)
    logits = torch.full((1, 8, 8), 9.0)
    logits[:, :, 4] = 0.0  # one column is undecided: centres at x of 4.5 / 8
    points = uncertain_points(logits, num_points=20, oversample=20.0, importance=1.0)
    assert points.shape == (1, 20, 2)
    assert ((points[..., 0] - 4.5 / 8).abs() < 1 / 8).all()
    free = uncertain_points(logits, num_points=200, oversample=3.0, importance=0.0)
    assert ((free[..., 0] - 4.5 / 8).abs() > 1 / 8).float().mean() > 0.5


def test_the_mask_loss_is_the_mean_over_points_and_the_sum_over_masks():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Rows: ln 2 and (ln 4 + ln 2) / 2.
    expected = (math.log(2) + 1.5 * math.log(2)) / 4
    assert mask_bce(logits, labels, 4.0).item() == pytest.approx(expected)


def test_the_dice_loss_of_each_mask_is_added_up():
    logits = torch.tensor([[0.0, 0.0, 0.0], [50.0, 50.0, -50.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    # 1 - (2 * 0.5 + 1) / (1.5 + 1 + 1) and 0.
    assert mask_dice(logits, labels, 2.0).item() == pytest.approx((1 - 2 / 3.5) / 2)


def focal_term(p, alpha, gamma, positive):
    share, factor = (p, alpha) if positive else (1 - p, 1 - alpha)
    return factor * (1 - share) ** gamma * -math.log(share)


@pytest.mark.parametrize("alpha, gamma", [(0.25, 2.0), (0.0, 2.0), (1.0, 1.0), (0.6, 0.0)])
def test_the_focal_loss_weighs_positives_by_alpha_and_negatives_by_the_rest(alpha, gamma):
    p = torch.tensor([0.2, 0.8, 0.6])
    labels = torch.tensor([1.0, 0.0, 1.0])
    expected = sum(
        focal_term(share, alpha, gamma, bool(label))
        for share, label in zip(p.tolist(), labels.tolist())
    )
    loss = focal(torch.logit(p), labels, 5.0, alpha=alpha, gamma=gamma)
    assert loss.item() == pytest.approx(expected / 5, rel=1e-5)


def test_a_negative_alpha_weighs_nothing():
    loss = focal(torch.zeros(2), torch.tensor([1.0, 0.0]), 1.0, alpha=-1.0, gamma=2.0)
    assert loss.item() == pytest.approx(2 * 0.25 * math.log(2))


def test_weights_are_factors_of_the_entries():
    logits, labels = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 1.0])
    options = {"alpha": 0.25, "gamma": 2.0}
    alone = [focal(logits[i : i + 1], labels[i : i + 1], 1.0, **options).item() for i in range(2)]
    loss = focal(logits, labels, 1.0, weight=torch.tensor([3.0, 0.5]), **options)
    assert loss.item() == pytest.approx(3 * alone[0] + 0.5 * alone[1])


def test_the_box_losses_by_hand():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.2, 0.2]])
    targets = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.4, 0.5, 0.2, 0.3]])
    assert box_l1(boxes, targets, 2.0).item() == pytest.approx((0.5 + 0.2) / 2)
    # The first pair: I = 1/16, U = 7/16, E = 9/16. The second, in hundredths: I = 2, U = 8, and the
    # hull of 0.3 x 0.3 is 9.
    expected = (1 - (1 / 7 - 2 / 9)) + (1 - (2 / 8 - 1 / 9))
    assert box_giou(boxes, targets, 4.0).item() == pytest.approx(expected / 4, abs=1e-4)


def test_no_box_has_no_loss_but_a_gradient():
    boxes = torch.zeros(0, 4, requires_grad=True)
    loss = box_l1(boxes, torch.zeros(0, 4), 1.0) + box_giou(boxes, torch.zeros(0, 4), 1.0)
    loss.backward()
    assert loss.item() == 0.0 and boxes.grad.shape == (0, 4)
