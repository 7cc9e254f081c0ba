"""SED by hand: the loss of a pixel, drawn classes, attention over classes, the best class."""

import math

import pytest
import torch

from segplugins.projects.sed.blocks import in_blocks
from segplugins.projects.sed.class_attention import (
    ClassTokens,
    class_sums,
    linear_attention,
    phi,
    softmax_attention,
)
from segplugins.projects.sed.cost_map import cost_map
from segplugins.projects.sed.loss import DecoderLoss, class_loss
from segplugins.projects.sed.maps import best_classes, label_map, score_map
from segplugins.projects.sed.records import NO_LABEL, alphabetical, drawn_classes, relabelled
from segplugins.projects.sed.rejection import RunningTopK
from segplugins.structures import Vocabulary


def softplus(x):
    return math.log1p(math.exp(x))


# Two classes, two pixels: the first is class 1, the second has no label.
LOGITS = torch.tensor([[[[1.0, 2.0]], [[-1.0, 0.5]]]])


@pytest.mark.parametrize("ignored", [-1, 2, 255])
def test_the_loss_of_two_pixels(ignored):
    labels = torch.tensor([[[1, ignored]]])
    first = softplus(1.0) + softplus(1.0)  # no to class 0, yes to class 1
    second = softplus(2.0) + softplus(0.5)  # no to both
    assert class_loss(LOGITS, labels, ignored="negative").item() == pytest.approx(
        (first + second) / 4
    )
    assert class_loss(LOGITS, labels, ignored="mask").item() == pytest.approx(first / 2)
    none = torch.full((1, 1, 2), ignored)
    assert class_loss(LOGITS, none, ignored="mask") == 0
    everywhere = softplus(1.0) + softplus(2.0) + softplus(-1.0) + softplus(0.5)
    assert class_loss(LOGITS, none, ignored="negative").item() == pytest.approx(everywhere / 4)


def test_logits_are_brought_to_the_labels_without_aligned_corners():
    logits = torch.tensor([[[[0.0, 4.0]]]])
    labels = torch.zeros(1, 1, 4, dtype=torch.int64)
    expected = sum(softplus(-value) for value in (0.0, 1.0, 3.0, 4.0)) / 4
    assert class_loss(logits, labels, ignored="mask").item() == pytest.approx(expected)


def test_each_of_four_losses_has_its_weight_and_zero_leaves_it_out():
    labels = torch.tensor([[[1, 0]]])
    losses = DecoderLoss([2.0, 0.0, 0.5, 1.0], "mask")([LOGITS * k for k in range(1, 5)], labels)
    assert list(losses) == ["loss_sem_seg_0", "loss_sem_seg_2", "loss_sem_seg_3"]
    for name, weight, factor in zip(losses, (2.0, 0.5, 1.0), (1, 3, 4)):
        expected = weight * class_loss(LOGITS * factor, labels, ignored="mask")
        torch.testing.assert_close(losses[name], expected)
    for weights in ([0.0] * 4, [1.0] * 3, [1.0, 1.0, 1.0, -0.1]):
        with pytest.raises(ValueError, match="LOSS_WEIGHTS needs four weights of at least 0"):
            DecoderLoss(weights, "mask")


# --- classes


def test_classes_are_sorted_by_name_and_keep_their_former_place():
    vocabulary = Vocabulary("test-sed-order", ("sky", "car", "tree"), synonyms=(
        ("sky",), ("car", "auto"), ("tree",),
    ))  # fmt: skip
    ordered, places = alphabetical(vocabulary)
    assert ordered.classes == ("car", "sky", "tree") and places == (1, 0, 2)
    assert ordered.synonyms[0] == ("car", "auto")


def test_shown_classes_are_drawn_and_as_many_others_as_are_missing():
    labels = torch.tensor([[[3, 3, NO_LABEL, 7, 255]]])
    draws = [drawn_classes(labels, 8, 4).tolist() for _ in range(40)]
    assert all(draw == sorted(draw) and len(set(draw)) == 4 for draw in draws)
    assert all({3, 7} <= set(draw) for draw in draws)
    assert set().union(*draws) == set(range(8))
    # More are shown than asked for: all of them, and no other.
    assert drawn_classes(torch.tensor([[[0, 2, 5]]]), 8, 2).tolist() == [0, 2, 5]
    for most in (0, 8, 9):
        assert drawn_classes(labels, 8, most).tolist() == list(range(8))
    assert len(drawn_classes(labels, 8, 7)) == 7


def test_labels_become_places_among_the_drawn_classes():
    labels = torch.tensor([[[0, 2, 5, -1, 6, 255]]])
    found = relabelled(labels, torch.tensor([2, 5]), 6)
    assert found.tolist() == [[[NO_LABEL, 0, 1, NO_LABEL, NO_LABEL, NO_LABEL]]]


# --- the cost map and attention over classes


def test_the_cost_map_is_laid_out_by_class_template_and_place():
    dense = torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])  # (3, 4) and (0, 2)
    text = torch.tensor([[[5.0, 0.0], [0.0, 0.5]], [[-1.0, 0.0], [3.0, 4.0]]])
    expected = torch.tensor([[[[0.6, 0.0]], [[0.8, 1.0]]], [[[-0.6, 0.0]], [[1.0, 0.8]]]])
    for recorded in (False, True):
        cost = cost_map(dense, text.clone().requires_grad_(recorded))
        torch.testing.assert_close(cost[0].detach(), expected)


def test_attention_over_two_classes_by_hand():
    keys, values = torch.tensor([[0.0], [math.log(0.5)]]), torch.tensor([[3.0], [9.0]])
    queries = torch.tensor([[1.0], [-1.0]])
    # phi is x + 1 above 0 and e^x below: keys weigh 1 and 0.5, whatever asks.
    assert phi(torch.tensor([2.0, 0.0, -1.0])).tolist() == pytest.approx([3.0, 1.0, math.exp(-1)])
    shape = (1, 1, 1, 2, 1)
    sums = class_sums(keys.view(shape), values.view(shape))
    assert sums.products.item() == pytest.approx(1 * 3 + 0.5 * 9) and sums.keys.item() == 1.5
    linear = linear_attention(queries.view(shape), sums)
    assert linear.flatten().tolist() == pytest.approx([5.0, 5.0], rel=1e-5)
    softmax = softmax_attention(
        queries.view(shape), ClassTokens(keys.view(shape), values.view(shape))
    )
    # Weights 1 and 1/2 for the query 1; 1 and 2 for -1.
    assert softmax.flatten().tolist() == pytest.approx([(3 + 4.5) / 1.5, (3 + 18) / 3])


# --- the best class of every pixel


class Given:
    """Probabilities that are simply there."""

    def __init__(self, classes, maps, chunk):
        self.classes, self.maps, self.chunk = torch.tensor(classes), torch.tensor(maps), chunk

    def probabilities(self, part):
        return self.maps[part][:, None]


# Classes 0, 2 and 3 of the decoder over three pixels; the result calls them 1, 3 and 0.
ORDER = torch.tensor([1, 2, 3, 0])
MAPS = [[0.2, 0.6, 0.1], [0.5, 0.6, 0.3], [0.7, 0.1, 0.3]]


@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize(
    "left_out, labels, best",
    [
        (None, [0, 1, 3], [0.7, 0.6, 0.3]),
        (0, [3, 1, 3], [0.5, 0.6, 0.3]),
        (1, [0, 3, 3], [0.7, 0.6, 0.3]),
        (2, [0, 1, 3], [0.7, 0.6, 0.3]),  # rejected anyway
    ],
)
def test_a_class_may_be_left_out_of_the_running(chunk, left_out, labels, best):
    found, scores = best_classes(Given([0, 2, 3], MAPS, chunk), ORDER, (1, 3), left_out=left_out)
    assert found.tolist() == [labels] and scores[0].tolist() == pytest.approx(best)


def test_where_only_the_left_out_class_was_kept_it_is_the_answer():
    labels, scores = best_classes(Given([2], MAPS[1:2], 1), ORDER, (1, 3), left_out=3)
    assert labels.tolist() == [[3, 3, 3]] and not scores.any()
    assert label_map(Given([2], MAPS[1:2], 1), ORDER, (1, 3)).tolist() == [[3, 3, 3]]
    # A class whose probability is 0 everywhere still wins where it is alone.
    assert label_map(Given([2], [[0.0] * 3], 1), ORDER, (1, 3)).tolist() == [[3, 3, 3]]
    assert score_map(Given([2], MAPS[1:2], 1), ORDER, (1, 3))[:, 0].sum(dim=1).tolist() == (
        pytest.approx([0, 0, 0, 1.4])
    )


def test_the_best_classes_of_every_pixel_come_once_and_rising():
    best = RunningTopK(1)
    best.add(torch.tensor([[[1.0, 5.0]], [[2.0, 0.0]]]), torch.tensor([9, 4]))
    assert best.union().tolist() == [4, 9]
    best.add(torch.tensor([[[3.0, 1.0]]]), torch.tensor([0]))
    assert best.union().tolist() == [0, 9]  # 4 was best at the first pixel until 0 came
    two = RunningTopK(2)
    two.add(torch.tensor([[[1.0]]]), torch.tensor([6]))
    two.add(torch.tensor([[[3.0]], [[2.0]]]), torch.tensor([1, 8]))
    assert two.union().tolist() == [1, 8]


@pytest.mark.parametrize(
    "count, elements, recorded, parts",
    [
        (10, 2**19 // 4, False, [(0, 4), (4, 8), (8, 10)]),
        (10, 2**19, False, [(0, 4), (4, 8), (8, 10)]),  # four at least
        (12, 2**19 // 6, False, [(0, 6), (6, 12)]),
        (6, 2**19 // 6, False, [(0, 6)]),
        (10, 2**19, True, [(0, 10)]),  # all at once where gradients are recorded
    ],
)
@pytest.mark.parametrize("dim", [0, 1])
def test_work_is_done_in_blocks_that_fit_into_the_cache(count, elements, recorded, parts, dim):
    table, seen = torch.arange(2.0 * count).view((count, 2) if dim == 0 else (2, count)), []

    def work(part):
        seen.append((part.start, part.stop))
        return 2 * (table[part] if dim == 0 else table[:, part])

    with torch.set_grad_enabled(recorded):
        result = in_blocks(work, count, dim=dim, elements=elements, device=table.device)
    assert seen == parts and torch.equal(result, 2 * table)
