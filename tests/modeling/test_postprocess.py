"""Post-processing of perfect logits gives the truth back; chunks and sizes change nothing."""

import pytest
import torch

from segplugins.modeling.postprocess import (
    MaskResizer,
    class_weights,
    merge_synonyms,
    panoptic_segments,
    phrase_masks,
    semantic_scores,
    tight_boxes,
    top_instances,
)

SIZE = (12, 16)
SAME = MaskResizer(SIZE, SIZE, SIZE, chunk=2)


@pytest.fixture
def truth():
    """Three masks: two left, of texts 0 and 0, one right, of text 1; text 1 is stuff."""
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    masks[0, :6, :8], masks[1, 6:, :8], masks[2, :, 8:] = True, True, True
    class_logits = torch.tensor([[6.0, -6], [4.0, -6], [-6.0, 5]])
    return class_logits, masks * 20.0 - 10, masks


def test_semantic_scores_are_weighted_sums_whatever_the_chunk(truth):
    class_logits, mask_logits, _ = truth
    weights = class_weights(class_logits, None)
    expected = torch.einsum("qk,qhw->khw", class_logits.sigmoid(), mask_logits.sigmoid())
    for chunk in (1, 2, 16):
        resize = MaskResizer(SIZE, SIZE, SIZE, chunk=chunk)
        torch.testing.assert_close(semantic_scores(weights, mask_logits, resize), expected)


def test_the_temperature_sharpens_and_one_text_is_left_alone():
    logits = torch.tensor([[0.0, 1.0]])
    sharp = class_weights(logits, 0.06)
    p = torch.sigmoid(torch.tensor([0.0, 1.0])) / 0.06
    torch.testing.assert_close(sharp[0], p.exp() / p.exp().sum())
    torch.testing.assert_close(class_weights(logits[:, :1], 0.06), torch.tensor([[0.5]]))


def test_instances_have_masks_boxes_and_scores(truth):
    class_logits, mask_logits, masks = truth
    found = top_instances(class_logits, mask_logits, None, SAME, topk=3)
    assert found.pred_classes.tolist() == [0, 1, 0]
    assert torch.equal(found.pred_masks, masks[[0, 2, 1]])
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 8, 6], [8, 0, 16, 12], [0, 6, 8, 12]]
    quality = torch.sigmoid(torch.tensor(10.0))
    expected = torch.tensor([6.0, 5.0, 4.0]).sigmoid() * quality
    torch.testing.assert_close(found.scores, expected, atol=1e-4, rtol=0)


def test_things_alone_and_boxes_alone(truth):
    class_logits, mask_logits, _ = truth
    things = torch.tensor([True, False])
    found = top_instances(class_logits, mask_logits, None, SAME, topk=3, is_thing=things)
    assert found.pred_classes.tolist() == [0, 0]
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.25, 0.75, 0.5, 0.5], [0.75, 0.5, 0.6, 1.0]])
    resize = MaskResizer((12, 16), (12, 16), (24, 48))
    found = top_instances(class_logits, None, boxes, resize, topk=2)
    assert not found.has("pred_masks")
    # x in units of 48, y of 24; the second box is cut at the right border.
    torch.testing.assert_close(
        found.pred_boxes.tensor, torch.tensor([[0.0, 0, 24, 12], [0.45 * 48, 0, 48, 24]])
    )
    torch.testing.assert_close(found.scores, torch.tensor([6.0, 5.0]).sigmoid())


def test_boxes_are_shares_of_the_padded_image():
    # An image of 8 x 12 in a canvas of 16 x 24, wanted at 80 x 120: ten pixels for one.
    resize = MaskResizer((16, 24), (8, 12), (80, 120))
    found = top_instances(
        torch.tensor([[3.0]]), None, torch.tensor([[0.25, 0.25, 0.25, 0.25]]), resize, topk=5
    )
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor([[30.0, 20, 90, 60]]))


def test_an_image_in_the_middle_of_its_padding_is_found():
    # 8 x 12 pixels below 4 rows and right of 6 columns.
    resize = MaskResizer((16, 24), (8, 12), (80, 120), origin=(4, 6))
    masks = torch.full((1, 16, 24), -10.0)
    masks[0, 4:8, 6:12] = 10.0
    boxes = torch.tensor([[9 / 24, 6 / 16, 6 / 24, 4 / 16]])
    found = top_instances(torch.tensor([[3.0]]), masks, boxes, resize, topk=1)
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor([[0.0, 0, 60, 40]]))
    assert found.pred_masks[0, :38, :58].all() and not found.pred_masks[0, 42:].any()


def test_padding_is_cut_before_the_mask_is_brought_to_size():
    logits = torch.zeros(1, 4, 4)
    logits[0, :2, :2] = 1.0
    resized = MaskResizer((4, 4), (2, 2), (6, 6))(logits)
    torch.testing.assert_close(resized, torch.ones(1, 6, 6))


def panoptic(truth, **changes):
    class_logits, mask_logits, _ = truth
    options = {"temperature": 0.06, "score_threshold": 0.25, "overlap_threshold": 0.8, **changes}
    things = torch.tensor([True, False])
    return panoptic_segments(class_logits, mask_logits, SAME, is_thing=things, **options)


def test_panoptic_segments_of_perfect_logits_are_the_truth(truth):
    segments, infos = panoptic(truth)
    masks = truth[2]
    assert [(info["category_id"], info["isthing"]) for info in infos] == [
        (0, True), (0, True), (1, False),
    ]  # fmt: skip
    assert [info["queries"] for info in infos] == [[0], [1], [2]]
    for info, mask in zip(infos, masks):
        assert torch.equal(segments == info["id"], mask)


def test_stuff_of_one_class_is_one_segment_and_hidden_queries_are_dropped(truth):
    class_logits, mask_logits, masks = truth
    # A second query of the stuff, one row below; and a weak copy of the first thing.
    class_logits = torch.cat([class_logits, torch.tensor([[-6.0, 5], [1.0, -6]])])
    mask_logits = torch.cat([mask_logits, mask_logits[2:], mask_logits[:1]])
    mask_logits[2, 6:], mask_logits[3, :6] = -10, -10
    segments, infos = panoptic((class_logits, mask_logits, masks))
    assert [info["category_id"] for info in infos] == [0, 0, 1]
    assert infos[2]["queries"] == [2, 3]
    assert torch.equal(segments == 3, masks[2])


def test_the_overlap_threshold_bounds_the_share_that_is_won():
    logits = torch.full((2, 1, 10), -10.0)
    logits[0, 0, :5], logits[1, 0, 1:] = 10.0, 10.0  # the second wins five of its nine pixels
    class_logits = torch.tensor([[5.0, -6], [4.0, -6]])
    size = MaskResizer((1, 10), (1, 10), (1, 10))
    for threshold, count in ((5 / 9 - 1e-4, 2), (5 / 9 + 1e-4, 1)):
        _, infos = panoptic_segments(
            class_logits, logits, size, is_thing=torch.tensor([True, True]), temperature=None,
            score_threshold=0.25, overlap_threshold=threshold,
        )  # fmt: skip
        assert len(infos) == count


def test_nothing_above_the_threshold_gives_no_segment(truth):
    segments, infos = panoptic(truth, score_threshold=1.0)
    assert infos == [] and not segments.any()


def test_the_best_query_answers_for_a_phrase(truth):
    class_logits, mask_logits, masks = truth
    answered, probability = phrase_masks(class_logits, mask_logits, SAME)
    assert torch.equal(answered, masks[[0, 2]])
    torch.testing.assert_close(probability, torch.tensor([6.0, 5.0]).sigmoid())


def test_synonyms_take_the_highest_logit():
    logits = torch.tensor([[1.0, 3.0, 2.0, -1.0]])
    assert merge_synonyms(logits, [1, 2, 1]).tolist() == [[1.0, 3.0, -1.0]]
    assert merge_synonyms(logits, [1] * 4) is logits


def test_tight_boxes_of_empty_masks_are_zero():
    masks = torch.zeros(2, 5, 7, dtype=torch.bool)
    masks[1, 2:4, 3:6] = True
    assert tight_boxes(masks).tolist() == [[0, 0, 0, 0], [3, 2, 6, 4]]


def test_a_query_that_keeps_just_the_threshold_of_its_mask_stays():
    logits = torch.full((2, 1, 10), -10.0)
    logits[0, 0, :6], logits[1, 0, 2:10] = 10.0, 10.0  # the second keeps 4 of its 8 pixels
    size = MaskResizer((1, 10), (1, 10), (1, 10))
    segments, infos = panoptic_segments(
        torch.tensor([[5.0, -6], [4.0, -6]]), logits, size, is_thing=torch.tensor([True, True]),
        temperature=None, score_threshold=0.25, overlap_threshold=0.5,
    )  # fmt: skip
    assert [info["id"] for info in infos] == [1, 2]
    assert segments.tolist() == [[1] * 6 + [2] * 4]


def test_pixels_outside_of_its_mask_are_won_but_give_a_query_no_segment():
    # The first takes all four pixels of the second's mask; the second wins the six others, where
    # its probability is below 1/2.
    logits = torch.full((2, 1, 10), -10.0)
    logits[0, 0, :4], logits[1, 0, :4], logits[1, 0, 4:] = 10.0, 10.0, -1.0
    size = MaskResizer((1, 10), (1, 10), (1, 10))
    segments, infos = panoptic_segments(
        torch.tensor([[5.0, -6], [4.0, -6]]), logits, size, is_thing=torch.tensor([True, True]),
        temperature=None, score_threshold=0.25, overlap_threshold=0.8,
    )  # fmt: skip
    assert len(infos) == 1 and segments.tolist() == [[1] * 4 + [0] * 6]
