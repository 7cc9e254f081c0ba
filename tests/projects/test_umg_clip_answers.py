"""Answers of dense adaptation by hand: pooled masks, the ensemble, logits of classes, results."""

import math

import pytest
import torch

from segplugins.modeling.postprocess import MaskResizer
from segplugins.projects.umg_clip.ensemble import (
    ensemble_log_probabilities,
    mask_pool,
    pooling_masks,
    seen_classes,
)
from segplugins.projects.umg_clip.mask_decoder import ClassTexts, blocked_cells, class_logits
from segplugins.projects.umg_clip.results import Inference, things
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Task

register_vocabulary(
    Vocabulary("test-umg-answers", ("sky", "car", "sea"), is_thing=(False, True, False))
)
register_vocabulary(Vocabulary("test-umg-names", ("sky", "car", "sea")))
RESIZE = MaskResizer((2, 4), (2, 4), (2, 4))


def columns(*probabilities):
    """(2, 4) logits of a mask with the same probability down each column."""
    row = torch.tensor(probabilities).logit()
    return row.expand(2, 4)


# Three queries: the left half, the right half, and one that is "no object".
MASKS = torch.stack(
    [columns(0.9, 0.8, 0.2, 0.1), columns(0.1, 0.2, 0.7, 0.9), columns(0.9, 0.9, 0.9, 0.9)]
)
PROBABILITY = torch.tensor([[0.1, 0.1, 0.1, 0.7], [0.6, 0.2, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]])
ORDER = torch.tensor([2, 0, 1])  # the query of "no object" stands first


def answer(
    task, *, label_maps=False, probability=PROBABILITY, masks=MASKS[ORDER],
    vocabulary="test-umg-answers", **options,
):  # fmt: skip
    settings = {"topk": 3, "score_threshold": 0.0, "overlap_threshold": 0.8, "mask_chunk": 2}
    inference = Inference(**{**settings, **options}, label_maps=label_maps)
    record = {"task": task, "vocabulary": vocabulary}
    return inference.answer(probability.log(), masks, record, RESIZE)


def test_semantic_scores_are_sums_of_class_and_mask_probabilities():
    scores = answer(Task.SEMANTIC)["sem_seg"]
    # Class 0 in the first column: 0.1 x 0.9 of "no object", 0.6 x 0.9 and 0.1 x 0.1 of the others.
    assert scores[0, 0, 0].item() == pytest.approx(0.1 * 0.9 + 0.6 * 0.9 + 0.1 * 0.1)
    assert scores[1, 1, 2].item() == pytest.approx(0.1 * 0.9 + 0.2 * 0.2 + 0.7 * 0.7)
    assert answer(Task.SEMANTIC).keys() == {"sem_seg"}
    labels = answer(Task.SEMANTIC, label_maps=True)["sem_seg"]
    assert labels.tolist() == [[0, 0, 1, 1]] * 2


def test_panoptic_segments_leave_no_object_out_and_keep_the_numbers_of_their_queries():
    segments, infos = answer(Task.PANOPTIC)["panoptic_seg"]
    assert segments.tolist() == [[1, 1, 2, 2]] * 2
    assert [(i["category_id"], i["isthing"], i["queries"]) for i in infos] == [
        (0, False, [1]),
        (1, True, [2]),
    ]


@pytest.mark.parametrize(
    "void, kept",
    [
        (0.3, False),  # as probable as the best class: not above it
        (0.29, True),
        (0.4, False),
    ],
)
def test_a_query_stays_where_its_best_class_is_above_no_object(void, kept):
    rest = 1 - 0.3 - void
    probability = torch.tensor([[0.3, rest / 2, rest / 2, void]])
    segments, infos = answer(Task.PANOPTIC, probability=probability, masks=MASKS[:1])[
        "panoptic_seg"
    ]
    # Without a competitor the query keeps its whole mask, the left half.
    assert segments.tolist() == [[1, 1, 0, 0] if kept else [0] * 4] * 2
    assert len(infos) == kept


def test_thresholds_of_segments_reach_the_shared_function():
    names = [
        i["category_id"] for i in answer(Task.PANOPTIC, score_threshold=0.65)["panoptic_seg"][1]
    ]
    assert names == [1]  # 0.7 is above, 0.6 is not
    covered = torch.stack([columns(0.9, 0.9, 0.9, 0.1), columns(0.1, 0.9, 0.9, 0.9)])
    probability = PROBABILITY[1:]
    # The second query wins three of its three columns, the first one of three.
    strict = answer(Task.PANOPTIC, probability=probability, masks=covered)["panoptic_seg"]
    assert strict[0].tolist() == [[0, 1, 1, 1]] * 2
    lenient = answer(Task.PANOPTIC, probability=probability, masks=covered, overlap_threshold=0.3)[
        "panoptic_seg"
    ]
    assert lenient[0].tolist() == [[1, 2, 2, 2]] * 2


def test_instances_are_scored_by_class_and_mask_and_of_things_alone_beside_stuff():
    alone = answer(Task.INSTANCE, vocabulary="test-umg-names")
    assert alone.keys() == {"instances"}
    instances = alone["instances"]
    # 0.7 times the mean probability inside the mask, 0.7 and 0.9; then 0.6 of 0.9 and 0.8.
    assert instances.scores.tolist()[:2] == pytest.approx([0.7 * 0.8, 0.6 * 0.85])
    assert instances.pred_classes.tolist()[:2] == [1, 0] and len(instances) == 3
    assert instances.pred_masks[0].tolist() == [[False, False, True, True]] * 2
    for task in (Task.PANOPTIC, Task.INSTANCE):
        assert set(answer(task)["instances"].pred_classes.tolist()) == {1}
    assert len(answer(Task.INSTANCE, vocabulary="test-umg-names", topk=1)["instances"]) == 1


def test_which_classes_are_things():
    assert things({"vocabulary": "test-umg-answers"}, 3).tolist() == [False, True, False]
    assert things({"vocabulary": None, "texts": ["a", "b"]}, 2).tolist() == [True, True]


# --- pooled masks and the ensemble


def test_pooled_features_are_means_over_cells_with_a_logit_above_zero():
    features = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]], [[0.0, 3.0], [0.0, 6.0]]]])
    masks = torch.tensor([[[[5.0, 0.0], [0.1, -3.0]], [[0.0, 0.0], [-1.0, 0.0]]]])
    # Of the first mask cells (0, 0) and (1, 0); a logit of 0 itself is outside.
    pooled = mask_pool(features, masks)
    torch.testing.assert_close(pooled, torch.tensor([[[2.5, 0.0], [0.0, 0.0]]]))
    assert mask_pool(features.bfloat16(), masks).dtype == torch.bfloat16


def test_masks_are_brought_to_the_grid_of_the_features_as_logits():
    # The mean of logits is below 0, that of probabilities above 1/2.
    masks = torch.tensor([[[[-9.0, 3.0], [3.0, 2.9]]]])
    assert pooling_masks(masks, (1, 1)).tolist() == [[[[False]]]]
    assert pooling_masks(-masks, (1, 1)).tolist() == [[[[True]]]]
    # Cells are means of the two around their middle, not the outermost values.
    masks = torch.tensor([[[[-1.0, 3.0, 5.0, -7.0]]]])
    assert pooling_masks(masks, (1, 2)).tolist() == [[[[True, False]]]]
    assert pooling_masks(masks.half(), (1, 4)).tolist() == [[[[False, True, True, False]]]]


def test_a_class_is_seen_where_one_synonym_was_trained():
    trained = [("cat", "kitten"), ("car",)]
    assert seen_classes([("dog", "cat"), ("bus",), ("kitten",)], trained) == (True, False, True)
    assert seen_classes([("dog",)], []) == (False,)


INSIDE = torch.tensor([[math.log(6), math.log(2), math.log(2)]])  # 0.6, 0.2 and 0.2 "no object"
OUTSIDE = torch.tensor([[0.0, math.log(3), 50.0]])  # 1/4, 3/4; what stands last is not read


@pytest.mark.parametrize(
    "seen, alpha, beta, weights",
    [
        ([True, False], 0.25, 0.5, (0.25, 0.5)),
        ([False, True], 0.25, 0.5, (0.5, 0.25)),
        ([True, True], 0.0, 1.0, (0.0, 0.0)),
        ([False, False], 0.0, 1.0, (1.0, 1.0)),
    ],
)
def test_both_heads_are_combined_geometrically_with_a_weight_per_class(seen, alpha, beta, weights):
    result = ensemble_log_probabilities(
        INSIDE, OUTSIDE, torch.tensor(seen), alpha=alpha, beta=beta
    ).exp()[0]
    # Among the classes the trained head says 3/4 and 1/4, CLIP 1/4 and 3/4.
    first, second = (
        own ** (1 - w) * other**w for w, own, other in zip(weights, (0.75, 0.25), (0.25, 0.75))
    )
    share = first / (first + second)
    assert result.tolist() == pytest.approx([0.8 * share, 0.8 * (1 - share), 0.2], abs=1e-6)


def test_a_query_with_an_empty_mask_leaves_clip_out_where_that_is_asked_for():
    valid = torch.tensor([True, False])
    result = ensemble_log_probabilities(
        INSIDE.expand(2, 3), OUTSIDE.expand(2, 3), torch.tensor([True, True]),
        alpha=1.0, beta=1.0, valid=valid,
    ).exp()  # fmt: skip
    batch = ensemble_log_probabilities(
        INSIDE.expand(3, 2, 3), OUTSIDE.expand(3, 2, 3), torch.tensor([True, True]),
        alpha=1.0, beta=1.0, valid=valid.expand(3, 2),
    ).exp()  # fmt: skip
    torch.testing.assert_close(batch, result.expand(3, 2, 3))
    assert result[0].tolist() == pytest.approx([0.8 / 4, 0.8 * 3 / 4, 0.2], abs=1e-6)
    assert result[1].tolist() == pytest.approx([0.6, 0.2, 0.2], abs=1e-6)


# --- the mask decoder


def test_class_logits_are_the_scale_times_the_cosine_of_the_best_synonym():
    texts = ClassTexts(
        [torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]]), torch.tensor([[0.0, 1.0]])],
        [[2, 1], [1]],
    )
    embedding = torch.tensor([[[0.0, 5.0]], [[3.0, 4.0]]])
    logits = class_logits(embedding, texts, torch.tensor([[0.0, 0.5]]), torch.tensor(10.0))
    # Cosines 0, 0.8 -> 0.8 and -1, void 1; of the second image 0.8, none, void 0.8.
    torch.testing.assert_close(logits, torch.tensor([[[8.0, -10.0, 10.0]], [[8.0, -1e4, 8.0]]]))
    assert texts.mask.tolist() == [[True, True], [True, False]]


def test_cells_are_blocked_where_the_resized_mask_is_below_one_half():
    masks = torch.tensor([[[[-3.0, 1.0, -1.0, 1.0]], [[-1.0, -1.0, -1.0, -1.0]]]])
    # Means -1 and 0: a probability of 1/2 itself is seen. The second query has no cell: all.
    assert blocked_cells(masks, (1, 2)).tolist() == [[[True, False], [False, False]]]
    assert not blocked_cells(masks.requires_grad_(), (1, 2)).requires_grad
