"""Query models: targets, matching, losses and post-processing, by hand."""

import logging
import math

import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances
from torch.nn import functional as F

from segplugins.modeling.boxes import (
    boxes_of_corners,
    corners_of_boxes,
    generalized_iou,
    inverse_sigmoid,
)
from segplugins.modeling.costs import (
    box_giou_cost,
    box_l1_cost,
    focal_class_cost,
    mask_bce_cost,
    mask_dice_cost,
    softmax_class_cost,
)
from segplugins.modeling.criterion import (
    BoxTerm,
    FocalClassTerm,
    MaskTerm,
    SetCriterion,
    SoftmaxClassTerm,
    TargetCounts,
    target_counts,
)
from segplugins.modeling.matcher import HungarianMatcher
from segplugins.modeling.point_losses import focal, mask_bce, mask_dice, sample_masks
from segplugins.structures.predictions import Match, QueryPredictions, QueryTargets, query_targets

COSTS = {
    "class": (2.0, focal_class_cost(alpha=0.25, gamma=2.0)),
    "mask": (5.0, mask_bce_cost),
    "dice": (5.0, mask_dice_cost),
    "box": (5.0, box_l1_cost),
    "giou": (2.0, box_giou_cost),
}
WEIGHTS = {"loss_class": 2.0, "loss_mask": 5.0, "loss_dice": 5.0, "loss_box": 5.0, "loss_giou": 2.0}
CANVAS = (16, 24)


def squares(count, size=CANVAS):
    """(N, H, W) masks: squares of 4 pixels side by side, each row of them 6 long."""
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for index in range(count):
        row, column = 4 * (index // 6), 4 * (index % 6)
        masks[index, row : row + 4, column : column + 4] = True
    return masks


def target(labels, masks=True, first=0):
    """Targets whose boxes fit their masks, which are `squares` from the number `first` on."""
    drawn = squares(first + len(labels))[first:]
    corners = torch.zeros(len(labels), 4)
    for index, mask in enumerate(drawn):
        rows, columns = mask.nonzero().T
        corners[index] = torch.tensor(
            [columns.min() / 24, rows.min() / 16, (columns.max() + 1) / 24, (rows.max() + 1) / 16]
        )
    return QueryTargets(
        labels=torch.tensor(labels, dtype=torch.int64),
        boxes=boxes_of_corners(corners),
        masks=drawn if masks else None,
        canvas=CANVAS,
    )


def perfect(targets, order, texts, queries):
    """Predictions that answer `targets` at the queries `order[image]`, and nothing elsewhere."""
    batch = len(targets)
    class_logits = torch.full((batch, queries, texts), -8.0)
    boxes = torch.full((batch, queries, 4), 0.5)
    mask_logits = torch.full((batch, queries, *CANVAS), -8.0)
    for image, (one, places) in enumerate(zip(targets, order)):
        class_logits[image, places, one.labels] = 8.0
        boxes[image, places] = one.boxes
        if one.masks is not None:
            mask_logits[image, places] = one.masks * 16.0 - 8.0
    return QueryPredictions(class_logits, mask_logits, boxes)


def build_criterion(num_points=400):
    matcher = HungarianMatcher(COSTS, num_points=num_points)
    terms = [
        FocalClassTerm(alpha=0.25, gamma=2.0),
        BoxTerm(),
        MaskTerm(num_points=num_points, oversample=3.0, importance=0.75),
    ]
    return SetCriterion(matcher, terms, WEIGHTS)


# --- boxes and targets


def test_boxes_turn_into_corners_and_back():
    boxes = torch.tensor([[0.5, 0.25, 0.2, 0.1]])
    torch.testing.assert_close(corners_of_boxes(boxes), torch.tensor([[0.4, 0.2, 0.6, 0.3]]))
    torch.testing.assert_close(boxes_of_corners(corners_of_boxes(boxes)), boxes)
    torch.testing.assert_close(inverse_sigmoid(boxes).sigmoid(), boxes)
    assert inverse_sigmoid(torch.tensor([-1.0, 2.0])).isfinite().all()


def test_generalized_iou_by_hand():
    one, other = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 4, 2])
    # Intersection 1 x 2, union 4 + 6 - 2, both inside of 4 x 2.
    assert generalized_iou(one, other).item() == pytest.approx(2 / 8 - 0)
    apart = torch.tensor([3.0, 0, 4, 2])
    assert generalized_iou(one, apart).item() == pytest.approx(0 - (8 - 6) / 8, abs=1e-5)
    assert generalized_iou(one * 0, one * 0).isfinite()


def test_targets_become_shares_of_the_padded_batch():
    image = Instances((8, 12))
    image.gt_classes = torch.tensor([3])
    image.gt_boxes = Boxes(torch.tensor([[2.0, 4.0, 8.0, 8.0]]))
    image.gt_masks = BitMasks(torch.ones(1, 8, 12, dtype=torch.bool))
    boxes_only = Instances((16, 20))
    boxes_only.gt_classes = torch.zeros(0, dtype=torch.int64)
    boxes_only.gt_boxes = Boxes(torch.zeros(0, 4))
    ignored = torch.tensor([True, False])
    first, second = query_targets(
        [image, boxes_only], (16, 24), device=torch.device("cpu"), ignore_negative=[None, ignored]
    )
    torch.testing.assert_close(first.boxes, torch.tensor([[5 / 24, 6 / 16, 6 / 24, 4 / 16]]))
    assert first.masks.shape == (1, 8, 12) and first.ignore_negative is None and len(first) == 1
    assert second.masks is None and torch.equal(second.ignore_negative, ignored)
    with pytest.raises(ValueError, match=r"targets of image 0 have the size \(8, 12\), larger"):
        query_targets([image], (8, 11), device=torch.device("cpu"))


def test_binary_masks_are_sampled_as_grid_sample_does_on_a_padded_canvas():
    masks = torch.rand(3, 13, 17) > 0.5
    padded = F.pad(masks.float(), (0, 24 - 17, 0, 16 - 13))
    points = torch.rand(50, 2)
    points[:4] = torch.tensor([[0, 0], [1, 1], [0, 1], [1.0, 0]])
    shared = points.expand(3, -1, -1)
    expected = F.grid_sample(padded[:, None], 2 * shared[:, None] - 1, align_corners=False)
    torch.testing.assert_close(sample_masks(masks, points, (16, 24)), expected[:, 0, 0])
    torch.testing.assert_close(sample_masks(masks, shared, (16, 24)), expected[:, 0, 0])


# --- losses


def test_focal_at_gamma_0_is_cross_entropy_and_its_gradient_too():
    logits = torch.randn(3, 4, requires_grad=True)
    labels = (torch.rand(3, 4) > 0.5).float()
    plain = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / 5
    ours = focal(logits, labels, 5.0, alpha=-1, gamma=0)
    torch.testing.assert_close(ours, plain)
    [one] = torch.autograd.grad(ours, logits)
    [other] = torch.autograd.grad(plain, logits)
    torch.testing.assert_close(one, other)


def test_focal_by_hand():
    # p = 1/2: 0.25 * (1/2)^2 * ln 2 for a positive, 0.75 * (1/2)^2 * ln 2 for a negative.
    value = focal(torch.zeros(2), torch.tensor([1.0, 0.0]), 2.0, alpha=0.25, gamma=2.0)
    assert value.item() == pytest.approx((0.25 + 0.75) / 4 * math.log(2) / 2)


def test_pairs_of_weight_0_may_hold_anything():
    logits = torch.tensor([0.0, float("inf"), float("nan")], requires_grad=True)
    weight = torch.tensor([1.0, 0.0, 0.0])
    loss = focal(logits, torch.zeros(3), 1.0, alpha=0.25, gamma=2.0, weight=weight)
    loss.backward()
    assert loss.item() == pytest.approx(0.75 / 4 * math.log(2))
    assert logits.grad.isfinite().all() and logits.grad[1:].eq(0).all()


def test_mask_losses_by_hand():
    logits, labels = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert mask_bce(logits, labels, 2.0).item() == pytest.approx(math.log(2) / 2)
    # sum p y = 1/2, sum p = 1, sum y = 1.
    assert mask_dice(logits, labels, 2.0).item() == pytest.approx((1 - 2 / 3) / 2)


# --- matching


def test_it_finds_the_permutation_hidden_in_the_predictions():
    targets = [target([0, 2, 2]), target([1]), target([])]
    order = [[4, 0, 3], [5], []]
    predictions = perfect(targets, order, texts=3, queries=6)
    match = HungarianMatcher(COSTS, num_points=200)(predictions, targets)[""]
    assert match.counts == (3, 1, 0) and match.image.tolist() == [0, 0, 0, 1]
    assert match.query.tolist() == [0, 3, 4, 5] and match.target.tolist() == [1, 2, 0, 0]


def test_each_cost_alone_finds_it_too():
    targets = [target([0, 2, 1])]
    predictions = perfect(targets, [[4, 0, 3]], texts=3, queries=6)
    for name, cost in COSTS.items():
        match = HungarianMatcher({name: cost}, num_points=400)(predictions, targets)[""]
        assert match.query.tolist() == [0, 3, 4] and match.target.tolist() == [1, 2, 0], name
    softmax = {"class": (1.0, softmax_class_cost)}
    match = HungarianMatcher(softmax, num_points=0)(predictions, targets)[""]
    assert match.query.tolist() == [0, 3, 4]


def test_heads_of_several_query_numbers_are_matched_at_once():
    targets = [target([0, 1]), target([2], masks=False)]
    last = perfect(targets, [[1, 0], [3]], texts=3, queries=4)
    last.earlier = {
        "0": perfect(targets, [[3, 2], [0]], texts=3, queries=4),
        "proposals": perfect(targets, [[6, 5], [2]], texts=3, queries=7),
    }
    matches = HungarianMatcher(COSTS, num_points=200)(last, targets)
    queries = {name: match.query.tolist() for name, match in matches.items()}
    assert queries == {"": [0, 1, 3], "0": [2, 3, 0], "proposals": [5, 6, 2]}


def test_masks_do_not_count_for_images_with_boxes_alone():
    targets = [target([0, 0]), target([0, 0], masks=False)]
    predictions = perfect(targets, [[0, 1], [0, 1]], texts=1, queries=2)
    # The second image's boxes say 0, 1; its masks, which no target has, are those of 1, 0.
    predictions.mask_logits[1] = predictions.mask_logits[0].flip(0)
    match = HungarianMatcher(COSTS, num_points=100)(predictions, targets)[""]
    assert match.target.tolist() == [0, 1, 0, 1]


def test_costs_that_are_no_numbers_are_counted_and_lose(caplog):
    targets = [target([0, 1])]
    predictions = perfect(targets, [[0, 1]], texts=2, queries=3)
    predictions.class_logits[0, 1] = float("nan")
    matcher = HungarianMatcher({"class": (1.0, focal_class_cost(0.25, 2.0))}, num_points=0)
    with caplog.at_level(logging.WARNING):
        match = matcher(predictions, targets)[""]
    assert match.query.tolist() == [0, 2] and matcher.nonfinite == 2
    assert "2 of 6 matching costs are not finite" in caplog.text


def test_more_targets_than_queries_are_told(caplog):
    targets = [target([0] * 5)]
    matcher = HungarianMatcher(COSTS, num_points=50)
    predictions = perfect(targets, [[0, 1, 2, 3, 4]], texts=1, queries=5)
    predictions = QueryPredictions(
        predictions.class_logits[:, :3], predictions.mask_logits[:, :3], predictions.boxes[:, :3]
    )
    with caplog.at_level(logging.WARNING):
        match = matcher(predictions, targets)[""]
    assert match.target.tolist() == [0, 1, 2] and matcher.unmatched == 2
    assert "5 targets for 3 queries" in caplog.text


# --- criterion


def test_perfect_predictions_have_hardly_a_loss_and_shuffled_ones_the_same():
    targets = [target([0, 2]), target([1], masks=False)]
    order = [[2, 1], [0]]
    predictions = perfect(targets, order, texts=3, queries=4)
    torch.manual_seed(0)
    losses = build_criterion()(predictions, targets)
    assert sorted(losses) == sorted(WEIGHTS)
    assert losses["loss_class"] < 1e-3 and losses["loss_box"] < 1e-5
    assert losses["loss_giou"] < 1e-4
    # Points between pixels of both kinds lie between their labels.
    assert losses["loss_mask"] < 5 * 1.0 and losses["loss_dice"] < 5 * 0.2
    permutation = torch.tensor([3, 1, 0, 2])
    shuffled = QueryPredictions(
        predictions.class_logits[:, permutation],
        predictions.mask_logits[:, permutation],
        predictions.boxes[:, permutation],
    )
    torch.manual_seed(0)
    for name, loss in build_criterion()(shuffled, targets).items():
        torch.testing.assert_close(loss, losses[name])


def test_padded_texts_and_padded_queries_change_nothing():
    targets = [target([0, 1])]
    predictions = perfect(targets, [[0, 1]], texts=2, queries=3)
    padded = QueryPredictions(
        F.pad(predictions.class_logits, (0, 2), value=float("-inf")),
        predictions.mask_logits,
        predictions.boxes,
        text_mask=torch.tensor([[True, True, False, False]]),
    )
    padded.class_logits[..., 3] = 50.0
    term = FocalClassTerm(alpha=0.25, gamma=2.0)
    match = Match(torch.zeros(2).long(), torch.arange(2), torch.arange(2), (2,))
    counts = TargetCounts(2.0, 2.0)
    plain = term(predictions, targets, match, counts)["loss_class"]
    torch.testing.assert_close(term(padded, targets, match, counts)["loss_class"], plain)
    # The third query is no target's: without it its negatives are missing.
    predictions.query_mask = torch.tensor([[True, True, False]])
    without = term(predictions, targets, match, counts)["loss_class"]
    third = focal(predictions.class_logits[0, 2], torch.zeros(2), 2.0, alpha=0.25, gamma=2.0)
    torch.testing.assert_close(without, plain - third)


def test_texts_that_are_not_annotated_exhaustively_push_only_matched_queries_down():
    targets = [target([0])]
    targets[0].ignore_negative = torch.tensor([False, True])
    head = QueryPredictions(torch.zeros(1, 2, 2), None, torch.zeros(1, 2, 4))
    match = Match(torch.tensor([0]), torch.tensor([1]), torch.tensor([0]), (1,))
    term = FocalClassTerm(alpha=0.25, gamma=2.0)
    loss = term(head, targets, match, TargetCounts(1.0, 1.0))["loss_class"]
    # One positive, the matched query's negative of text 1, the other query's negative of text 0.
    assert loss.item() == pytest.approx((0.25 + 0.75 + 0.75) / 4 * math.log(2), rel=1e-5)


def test_the_softmax_term_weighs_no_object_and_leaves_padded_texts_out():
    targets = [target([1])]
    logits = torch.zeros(1, 2, 4)
    logits[..., 2] = 100.0  # padding; the last class is no object
    head = QueryPredictions(logits, text_mask=torch.tensor([[True, True, False]]))
    match = Match(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]), (1,))
    term = SoftmaxClassTerm(no_object_weight=0.1)
    loss = term(head, targets, match, TargetCounts(1.0, 1.0))["loss_class"]
    assert loss.item() == pytest.approx(math.log(3))  # three classes at even odds, for both queries


def test_an_unmatched_query_is_not_compared_with_classes_of_which_nothing_is_known():
    targets = [target([0])]
    targets[0].ignore_negative = torch.tensor([True, True, False])
    logits = torch.zeros(1, 2, 4)
    logits[0, 1, 1] = 100.0  # of the second query, whose class 1 may well be there
    match = Match(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]), (1,))
    term = SoftmaxClassTerm(no_object_weight=1.0)
    head = QueryPredictions(logits)
    loss = term(head, targets, match, TargetCounts(1.0, 1.0))["loss_class"]
    # ln 4 of the matched query among all; ln 2 of the other, between class 2 and "no object".
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_an_empty_batch_has_finite_losses_that_reach_every_output():
    targets = [target([]), target([], masks=False)]
    predictions = QueryPredictions(
        torch.randn(2, 3, 2, requires_grad=True),
        torch.randn(2, 3, 8, 12, requires_grad=True),
        torch.rand(2, 3, 4, requires_grad=True),
    )
    losses = build_criterion()(predictions, targets)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    for tensor in (predictions.class_logits, predictions.mask_logits, predictions.boxes):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


def test_losses_are_float32_under_autocast():
    targets = [target([0, 2])]
    predictions = perfect(targets, [[2, 1]], texts=3, queries=4)
    halves = QueryPredictions(
        predictions.class_logits.bfloat16(), predictions.mask_logits.bfloat16(), predictions.boxes
    )
    with torch.autocast("cpu", torch.bfloat16):
        losses = build_criterion()(halves, targets)
    assert all(loss.dtype == torch.float32 for loss in losses.values())


def test_a_loss_without_weight_or_a_weight_without_loss_is_an_error():
    matcher = HungarianMatcher(COSTS, num_points=10)
    with pytest.raises(ValueError, match="give each loss one weight"):
        SetCriterion(matcher, [BoxTerm()], {"loss_box": 1.0})
    with pytest.raises(ValueError, match="give each loss one weight"):
        SetCriterion(matcher, [BoxTerm()], {"loss_box": 1.0, "loss_giou": 1.0, "loss_mask": 1.0})


def test_losses_are_divided_by_the_numbers_of_targets_and_of_masks():
    targets = [target([0, 1]), target([2], masks=False), target([])]
    cpu = torch.device("cpu")
    assert target_counts(targets, cpu) == TargetCounts(3.0, 2.0)
    assert target_counts(targets, cpu, 4) == TargetCounts(12.0, 8.0)  # each is matched four times
    assert target_counts([target([2], masks=False)], cpu) == TargetCounts(1.0, 1.0)
    assert target_counts([], cpu) == TargetCounts(1.0, 1.0)  # never a division by 0
    # Without denoising groups nothing is matched; its losses are 0, not 0 / 0.
    assert target_counts(targets, cpu, 0, per_image=7.0) == TargetCounts(21.0, 21.0)


def test_points_are_drawn_only_where_a_cost_and_a_mask_need_them():
    seen = []

    def cost(candidates):
        seen.append((candidates.point_labels is None, candidates.point_logits is None))
        return torch.zeros(len(candidates.labels), 5, candidates.labels.shape[1])

    masked, boxes = target([0, 1]), target([2], masks=False)
    cases = [
        (0, [masked], (True, True)),
        (7, [boxes], (True, True)),
        (7, [boxes, masked], (False, False)),
    ]
    for points, targets, expected in cases:
        matcher = HungarianMatcher({"cost": (1.0, cost)}, num_points=points)
        places = [list(range(len(one))) for one in targets]
        state = torch.get_rng_state()
        matcher(perfect(targets, places, texts=3, queries=5), targets)
        assert seen.pop() == expected
        assert torch.equal(torch.get_rng_state(), state) == expected[0]


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_fixed_number_of_targets_takes_the_place_of_their_count(repeats):
    targets = [target([0, 1, 1]), target([0])]
    predictions = perfect(targets, [[0, 1, 2], [4]], texts=2, queries=6)
    predictions.boxes[:, :3] += 0.05
    counted = build_criterion()
    fixed = SetCriterion(counted.matcher, counted.terms, WEIGHTS, targets_per_image=7.0)
    match = counted.matcher(predictions, targets)
    expected = counted.matched_losses(predictions, targets, match, repeats=repeats)
    losses = fixed.matched_losses(predictions, targets, match, repeats=repeats)
    # 4 targets in 2 images; with the number of 7 an image they count as 14.
    for name in ("loss_class", "loss_box", "loss_giou"):
        assert losses[name].item() == pytest.approx(expected[name].item() * 4 / 14), name


def test_objects_weigh_the_same_alone_and_in_a_crowd_where_the_number_is_fixed():
    counted = build_criterion()
    for number, same in ((None, False), (7.0, True)):
        criterion = SetCriterion(counted.matcher, counted.terms, WEIGHTS, targets_per_image=number)
        gradients = []
        for labels in ([0], [0, 0, 0, 0]):
            targets = [target(labels)]
            predictions = perfect(targets, [list(range(len(labels)))], texts=2, queries=6)
            predictions.boxes = (predictions.boxes + 0.05).requires_grad_()
            matches = counted.matcher(predictions, targets)
            criterion.matched_losses(predictions, targets, matches)["loss_box"].backward()
            gradients.append(predictions.boxes.grad[0, 0])
        assert torch.allclose(*gradients) is same


def test_a_number_of_targets_is_above_0():
    matcher = HungarianMatcher(COSTS, num_points=10)
    weights = {"loss_box": 1.0, "loss_giou": 1.0}
    with pytest.raises(ValueError, match="targets_per_image must be above 0, got 0"):
        SetCriterion(matcher, [BoxTerm()], weights, targets_per_image=0)
