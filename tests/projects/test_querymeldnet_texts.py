"""QueryMeldNet's texts and results: prompts, padding, what each task is answered with."""

import math
from types import SimpleNamespace

import pytest
import torch

from segplugins.modeling.postprocess import MaskResizer
from segplugins.projects.querymeldnet.querymeldnet import map_names
from segplugins.projects.querymeldnet.results import Inference, _things
from segplugins.projects.querymeldnet.texts import (
    is_named,
    names_of,
    test_texts,
    training_texts,
)
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.predictions import QueryPredictions
from segplugins.structures.regions import Task

register_vocabulary(
    Vocabulary(
        "test-meld-texts",
        ("sky", "dog"),
        synonyms=(("sky",), ("dog", "hound", "puppy")),
        is_thing=(False, True),
    )
)
register_vocabulary(Vocabulary("test-meld-plain", ("sky", "dog")))


class Classifier:
    """Gives each text a row of its own number, and notes what it is asked."""

    templates = ("a {}", "the {}")

    def __init__(self):
        self.asked = []
        self.text_encoder = SimpleNamespace(pooled=self.pooled)

    def pooled(self, texts):
        self.asked.append(list(texts))
        return torch.arange(1.0, len(texts) + 1)[:, None]

    def embed(self, texts):
        texts = texts if isinstance(texts, list) else [n for s in texts.synonyms for n in s]
        return self.pooled(texts)


@pytest.mark.parametrize("task", list(Task))
def test_only_sentences_and_salient_objects_are_no_names(task):
    assert is_named({"task": task}) == (task not in (Task.REFERRING, Task.SALIENT))
    assert is_named({})


def test_a_class_is_called_by_one_of_its_synonyms_in_training():
    torch.manual_seed(0)
    drawn = [names_of({"vocabulary": "test-meld-texts"}) for _ in range(60)]
    assert {names[0] for names in drawn} == {"sky"}
    assert {names[1] for names in drawn} == {"dog", "hound", "puppy"}
    assert names_of({"texts": ("Sky", "b")}) == ["Sky", "b"]
    for empty in ({}, {"texts": []}, {"vocabulary": None, "texts": None, "file_name": "?"}):
        with pytest.raises(ValueError, match=r"image \? has neither a vocabulary nor texts"):
            names_of(empty)


def test_names_stand_in_templates_and_sentences_in_lower_case():
    torch.manual_seed(0)
    classifier = Classifier()
    records = [
        {"task": Task.INSTANCE, "texts": ["Sky"]},
        {"task": Task.REFERRING, "texts": ["The Dog", "A car"]},
    ]
    drawn = set()
    for _ in range(20):
        training_texts(records, classifier)
        first, *sentences = classifier.asked[-1]
        drawn.add(first)
        assert sentences == ["the dog", "a car"]
    assert drawn == {"a Sky", "the Sky"}


def test_each_distinct_text_is_encoded_once_and_padding_is_masked():
    classifier = Classifier()
    records = [
        {"task": Task.REFERRING, "texts": ["x", "y", "X"]},
        {"task": Task.REFERRING, "texts": ["y"]},
        {"task": Task.REFERRING, "texts": ["z", "x"]},
    ]
    batch = training_texts(records, classifier)
    assert classifier.asked == [["x", "y", "z"]]
    # x, y, z are 1, 2, 3; short rows are filled with their own first text; "X" repeats "x".
    assert batch.embedding[..., 0].tolist() == [[1, 2, 1], [2, 2, 2], [3, 1, 3]]
    assert batch.mask.tolist() == [[True, True, False], [True, False, False], [True, True, False]]
    assert batch.first == ((0, 1, 0), None, None)
    assert batch.counts == ((1, 1, 1), (1,), (1, 1))


def test_at_test_every_synonym_is_a_text_and_counts_say_whose():
    classifier = Classifier()
    records = [
        {"task": Task.SEMANTIC, "vocabulary": "test-meld-texts"},
        {"task": Task.REFERRING, "texts": ["The Dog"]},
        {"task": Task.INSTANCE, "texts": ["The Dog"]},
    ]
    batch = test_texts(records, classifier)
    assert classifier.asked == [["sky", "dog", "hound", "puppy"], ["the dog"], ["The Dog"]]
    assert batch.counts == ((1, 3), (1,), (1,))
    assert batch.embedding[..., 0].tolist() == [[1, 2, 3, 4], [1] * 4, [1] * 4]
    assert batch.mask.sum(dim=1).tolist() == [4, 1, 1]


def test_maps_are_named_by_their_stride():
    shapes = {"a": SimpleNamespace(stride=4), "b": SimpleNamespace(stride=32)}
    backbone = SimpleNamespace(output_shape=lambda: shapes)
    assert map_names(backbone, {"a": "fine", "b": "coarse", "c": "unused"}) == {
        "res2": "fine",
        "res5": "coarse",
    }


# --- results


def inference(**changes):
    options = {
        "topk": 2,
        "score_threshold": 0.25,
        "overlap_threshold": 0.8,
        "temperature": 0.0,
        "mask_chunk": 1,
        "label_maps": False,
        **changes,
    }
    return Inference(**options)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"topk": 0}, "got 0 and 1"),
        ({"mask_chunk": 0}, "got 2 and 0"),
        ({"score_threshold": 1.1}, "got 1.1 and 0.8"),
        ({"overlap_threshold": -0.1}, "got 0.25 and -0.1"),
        ({"temperature": -1.0}, "at least 0, got -1.0"),
    ],
)
def test_options_outside_of_their_range_are_named(changes, message):
    inference(topk=1, mask_chunk=1, score_threshold=0, overlap_threshold=1, temperature=0)
    inference(score_threshold=1, overlap_threshold=0)
    with pytest.raises(ValueError, match=message):
        inference(**changes)


SURE = 30.0


def two_halves(texts, **logits):
    """Two queries on 4 x 8 pixels, the left and the right half; logits of (Q, K)."""
    masks = torch.full((1, 2, 4, 8), -SURE)
    masks[0, 0, :, :4] = SURE
    masks[0, 1, :, 4:] = SURE
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]]])
    return QueryPredictions(torch.tensor([texts]), masks, boxes)


def answered(predictions, record, counts, **changes):
    record = {"height": 4, "width": 8, **record}
    (result,) = inference(**changes).answer(predictions, [record], [counts], [(4, 8)], (4, 8))
    return result


def halves(left, right):
    row = torch.tensor([left] * 4 + [right] * 4)
    return row.expand(4, 8)


def test_a_vocabulary_is_answered_with_scores_or_with_labels():
    predictions = two_halves([[SURE, -SURE], [-SURE, 0.0]])
    record = {"task": Task.SEMANTIC, "vocabulary": "test-meld-plain"}
    scores = answered(predictions, record, (1, 1))["sem_seg"]
    torch.testing.assert_close(scores[0], halves(1.0, 0.0))
    torch.testing.assert_close(scores[1], halves(0.0, 0.5))
    labels = answered(predictions, record, (1, 1), label_maps=True)["sem_seg"]
    assert torch.equal(labels, halves(0, 1))


def test_synonyms_give_their_best_logit_to_their_class_and_padding_is_cut_off():
    # sky; dog, hound, puppy; and two texts of padding, which are the surest of all.
    texts = [[-SURE, -SURE, SURE, -SURE, SURE, SURE], [SURE, -SURE, -SURE, -SURE, SURE, SURE]]
    record = {"task": Task.SEMANTIC, "vocabulary": "test-meld-texts"}
    labels = answered(two_halves(texts), record, (1, 3), label_maps=True)["sem_seg"]
    assert torch.equal(labels, halves(1, 0))


def test_a_temperature_sharpens_the_choice_between_texts():
    predictions = two_halves([[1.0, 0.0], [0.0, 1.0]])
    record = {"task": Task.SEMANTIC, "vocabulary": "test-meld-plain"}
    scores = answered(predictions, record, (1, 1), temperature=0.1)["sem_seg"]
    p = [1 / (1 + math.exp(-1)), 0.5]
    odds = math.exp((p[0] - p[1]) / 0.1)
    torch.testing.assert_close(scores[0], halves(odds / (1 + odds), 1 / (1 + odds)))


def test_of_salient_objects_the_best_query_counts_at_each_pixel():
    predictions = two_halves([[1.0, -SURE], [-1.0, 0.0]])
    record = {"task": Task.SALIENT, "texts": ["a", "b"]}
    masks = answered(predictions, record, (1, 1))["phrase_masks"]
    p = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(masks[0], halves(p, 1 - p))
    torch.testing.assert_close(masks[1], halves(0.0, 0.5))
    together = answered(predictions, record, (1, 1), mask_chunk=2)["phrase_masks"]
    assert torch.equal(masks, together)


def test_a_phrase_gets_the_mask_of_its_best_query_and_its_probability():
    predictions = two_halves([[1.0, -2.0], [-1.0, 0.0]])
    result = answered(predictions, {"task": Task.REFERRING, "texts": ["a", "b"]}, (1, 1))
    assert torch.equal(result["phrase_masks"][0], halves(True, False))
    assert torch.equal(result["phrase_masks"][1], halves(False, True))
    assert result["phrase_scores"].tolist() == pytest.approx([1 / (1 + math.exp(-1)), 0.5])


@pytest.mark.parametrize("task", [Task.INSTANCE, Task.DETECTION])
def test_the_best_instances_come_with_masks_and_boxes(task):
    predictions = two_halves([[2.0, -SURE], [1.0, 3.0]])
    record = {"task": task, "vocabulary": "test-meld-plain", "height": 8, "width": 8}
    instances = answered(predictions, record, (1, 1))["instances"]
    assert instances.pred_classes.tolist() == [1, 0] and len(instances) == 2  # topk
    expected = [1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-2))]
    assert instances.scores.tolist() == pytest.approx(expected, rel=1e-3)
    assert instances.pred_boxes.tensor.tolist() == [[4, 0, 8, 8], [0, 0, 4, 8]]
    assert instances.pred_masks[0].sum() == 32


def test_panoptic_answers_hold_segments_things_and_scores():
    predictions = two_halves([[SURE, -SURE], [-SURE, SURE]])
    record = {"task": Task.PANOPTIC, "vocabulary": "test-meld-texts"}
    predictions.class_logits = torch.tensor([[[SURE] + [-SURE] * 3, [-SURE, SURE, -SURE, -SURE]]])
    result = answered(predictions, record, (1, 3))
    ids, infos = result["panoptic_seg"]
    kinds = {info["id"]: (info["category_id"], info["isthing"]) for info in infos}
    assert kinds[int(ids[0, 0])] == (0, False) and kinds[int(ids[0, 7])] == (1, True)
    assert set(result["instances"].pred_classes.tolist()) == {1}
    assert result["sem_seg"].shape == (2, 4, 8)


def test_things_are_what_the_vocabulary_says_and_all_classes_without_one():
    logits = torch.zeros(1, 2)
    assert _things({"texts": ["a", "b"]}, logits).tolist() == [True, True]
    assert _things({"vocabulary": "test-meld-plain"}, logits).tolist() == [False, False]
    assert _things({"vocabulary": "test-meld-texts"}, logits).tolist() == [False, True]


def test_an_image_box_is_left_top_right_bottom():
    predictions = two_halves([[SURE, -SURE], [-SURE, SURE]])
    record = {"task": Task.SEMANTIC, "vocabulary": "test-meld-plain", "image_box": (3, 1, 8, 3)}
    scores = answered(predictions, {**record, "height": 2, "width": 5}, (1, 1))["sem_seg"]
    assert scores.shape == (2, 2, 5)
    assert scores.argmax(dim=0).tolist() == [[0, 1, 1, 1, 1]] * 2


def test_soft_masks_have_the_size_of_the_result():
    resize = MaskResizer((4, 8), (4, 8), (6, 10), chunk=1)
    masks = inference()._soft_masks(torch.zeros(2, 3), torch.zeros(2, 4, 8), resize)
    torch.testing.assert_close(masks, torch.full((3, 6, 10), 0.25))
