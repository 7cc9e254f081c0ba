"""Zero-shot classification and retrieval: by hand, against a plain re-statement, as evaluators."""

import math

import numpy as np
import pytest
import torch

from segplugins.evaluation import zero_shot_scores
from segplugins.evaluation.zero_shot import ClassificationEvaluator, RetrievalEvaluator
from segplugins.evaluation.zero_shot_scores import (
    classification_scores,
    label_average_precision,
    rank_of,
    retrieval_ranks,
    retrieval_scores,
)
from segplugins.structures import Vocabulary, register_vocabulary

CLASSES = ("cat", "dog", "cow", "hen", "pig", "fox", "owl")


def ranking(scores):
    """Indices by falling score, the lower first among equals."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


def test_200_random_classifications_equal_the_definitions():
    generator = np.random.default_rng(0)
    for _ in range(200):
        count = int(generator.integers(1, 8))
        scores = generator.integers(0, 5, (count, 7)).astype(np.float64)  # ties occur
        labels = generator.integers(0, 7, count)
        order = [ranking(row.tolist()) for row in scores]
        top1 = [row[0] == label for row, label in zip(order, labels)]
        top5 = [label in row[:5] for row, label in zip(order, labels)]
        per_class = [np.mean([t for t, of in zip(top1, labels) if of == c]) for c in set(labels)]
        ranks = rank_of(torch.from_numpy(scores), torch.from_numpy(labels))
        assert classification_scores(ranks.numpy(), labels) == pytest.approx(
            {
                "top1": 100 * np.mean(top1),
                "top5": 100 * np.mean(top5),
                "mean_per_class": 100 * np.mean(per_class),
            }
        )


def test_200_random_retrievals_equal_the_definitions(monkeypatch):
    generator = np.random.default_rng(1)
    for _ in range(200):
        images = generator.normal(size=(int(generator.integers(1, 7)), 4))
        image_of_text = np.sort(generator.integers(0, len(images), int(generator.integers(1, 30))))
        texts = generator.normal(size=(len(image_of_text), 4))
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts)]
        similarity = unit[1] @ unit[0].T  # (M, N)
        orders = [ranking(row.tolist()) for row in similarity]
        to_image = [order.index(of) for order, of in zip(orders, image_of_text)]
        to_text = []
        for n in range(len(images)):
            order = ranking(similarity[:, n].tolist())
            own = [order.index(m) for m in np.flatnonzero(image_of_text == n)]
            to_text.append(min(own, default=len(texts)))
        monkeypatch.setattr(zero_shot_scores, "_CHUNK", int(generator.integers(1, 60)))
        ranks = retrieval_ranks(*map(torch.from_numpy, (images, texts, image_of_text)))
        assert ranks[0].tolist() == to_image and ranks[1].tolist() == to_text
        scores = retrieval_scores(*ranks)
        for at in (1, 5, 10):
            assert scores[f"T2I_R@{at}"] == pytest.approx(100 * np.mean(np.array(to_image) < at))
            assert scores[f"I2T_R@{at}"] == pytest.approx(100 * np.mean(np.array(to_text) < at))


def test_equal_scores_are_no_free_hits():
    alike = torch.zeros(4, 4)
    assert rank_of(alike, torch.arange(4)).tolist() == [0, 1, 2, 3]


def test_200_random_label_precisions_equal_the_definition():
    generator = np.random.default_rng(2)
    for _ in range(200):
        scores = torch.from_numpy(generator.permuted(np.arange(24.0)).reshape(8, 3))
        targets = torch.from_numpy(generator.random((8, 3)) < 0.4)
        for label, precision in enumerate(label_average_precision(scores, targets)):
            found, hits = [], 0
            for rank, image in enumerate(ranking(scores[:, label].tolist()), 1):
                if targets[image, label]:
                    hits += 1
                    found.append(hits / rank)
            expected = np.mean(found) if found else float("nan")
            assert float(precision) == pytest.approx(expected, nan_ok=True)


@pytest.fixture
def classes():
    register_vocabulary(Vocabulary("zero_shot_test", CLASSES))
    return "zero_shot_test"


def run(evaluator, records, outputs):
    evaluator.process(records, outputs)
    (scores,) = evaluator.evaluate().values()
    return scores


def test_the_mean_per_class_weighs_rare_classes_alike(catalog, classes):
    labels = [0, 0, 0, 4]
    records = [{"image_id": i, "class_index": label} for i, label in enumerate(labels)]
    outputs = [{"class_scores": torch.eye(7)[0]} for _ in records]  # always "cat"
    scores = run(ClassificationEvaluator(catalog(records, vocabulary=classes)), records, outputs)
    assert (scores["top1"], scores["mean_per_class"]) == (75, 50)
    assert (scores["top1-cat"], scores["top1-pig"]) == (100, 0)
    assert scores["top5"] == 100  # "pig" is the fifth of equals


def test_classification_knows_no_order_and_forgets_on_reset(catalog, classes):
    generator = np.random.default_rng(3)
    records = [{"image_id": i, "class_index": int(generator.integers(7))} for i in range(6)]
    outputs = [{"class_scores": torch.from_numpy(generator.normal(size=7))} for _ in records]
    evaluator = ClassificationEvaluator(catalog(records, vocabulary=classes))
    expected = run(evaluator, records, outputs)
    evaluator.reset()
    for batch in ([5, 0], [3], [1, 2, 4]):
        evaluator.process([records[i] for i in batch], [outputs[i] for i in batch])
    assert evaluator.evaluate()["classification"] == expected
    assert np.mean(evaluator.sample_scores) == pytest.approx(expected["top1"])
    evaluator.reset()
    with pytest.raises(ValueError, match="6 of 6 records"):
        evaluator.evaluate()


def test_perfect_and_opposite_answers(catalog, classes):
    records = [{"image_id": i, "class_index": i} for i in range(7)]
    name = catalog(records, vocabulary=classes)
    right = [{"class_scores": row} for row in torch.eye(7)]
    wrong = [{"class_scores": -row} for row in torch.eye(7)]
    assert set(run(ClassificationEvaluator(name), records, right).values()) == {100.0}
    assert set(run(ClassificationEvaluator(name), records, wrong).values()) == {0.0}


@pytest.mark.parametrize(
    "label, scores, message",
    [
        (0, torch.zeros(6), r"class_scores has shape \(6,\), the truth \(7,\)"),
        (0, torch.full((7,), float("nan")), "class_scores holds NaN"),
        (7, torch.zeros(7), "class_index 7, expected 0..6"),
    ],
)
def test_a_classification_that_cannot_be_scored_names_the_image(
    catalog, classes, label, scores, message
):
    records = [{"file_name": "a.jpg", "class_index": label}]
    with pytest.raises(ValueError, match=f"a.jpg: {message}"):
        evaluator = ClassificationEvaluator(catalog(records, vocabulary=classes))
        evaluator.process(records, [{"class_scores": scores}])


def retrieval_world(generator, count=5):
    records, outputs = [], []
    for i in range(count):
        captions = [f"caption {k}" for k in range(generator.integers(0, 4))]
        records.append({"file_name": f"{i}.jpg", "image_id": i, "captions": captions})
        outputs.append(
            {
                "image_embedding": torch.from_numpy(generator.normal(size=4)),
                "text_embeddings": torch.from_numpy(generator.normal(size=(len(captions), 4))),
            }
        )
    return records, outputs


def test_retrieval_knows_no_order_and_forgets_on_reset(catalog):
    records, outputs = retrieval_world(np.random.default_rng(4))
    evaluator = RetrievalEvaluator(catalog(records))
    expected = run(evaluator, records, outputs)
    evaluator.reset()
    for batch in ([2, 4], [0], [3, 1]):
        evaluator.process([records[i] for i in batch], [outputs[i] for i in batch])
    assert evaluator.evaluate()["retrieval"] == expected
    assert np.mean(evaluator.sample_scores) == pytest.approx(expected["I2T_R@1"])
    evaluator.reset()
    with pytest.raises(ValueError, match="5 of 5 records"):
        evaluator.evaluate()


def test_captions_that_equal_their_image_are_all_found(catalog):
    records = [{"image_id": i, "captions": ["a", "b"]} for i in range(5)]
    # Of any length: cosine, not the dot product, is compared.
    outputs = [
        {"image_embedding": row * 3, "text_embeddings": torch.stack([row, row * 0.1])}
        for row in torch.eye(5)
    ]
    scores = run(RetrievalEvaluator(catalog(records)), records, outputs)
    assert set(scores.values()) == {100.0}


def test_empty_sets_give_no_number_and_no_error(catalog, classes):
    name = catalog([], vocabulary=classes)
    for evaluator in (ClassificationEvaluator(name), RetrievalEvaluator(name)):
        assert all(math.isnan(value) for value in run(evaluator, [], []).values())


@pytest.mark.parametrize(
    "image, texts, message",
    [
        (
            torch.zeros(4),
            torch.zeros(1, 4),
            r"text_embeddings has shape \(1, 4\), the truth \(2, 4\)",
        ),
        (torch.zeros(3), torch.zeros(2, 4), r"image_embedding has shape \(3,\), the truth \(4,\)"),
        (torch.full((4,), float("inf")), torch.zeros(2, 4), "image_embedding holds NaN"),
    ],
)
def test_an_embedding_that_cannot_be_compared_names_the_image(catalog, image, texts, message):
    records = [{"file_name": "a.jpg", "captions": ["x", "y"]}]
    evaluator = RetrievalEvaluator(catalog(records))
    output = {"image_embedding": image, "text_embeddings": texts}
    with pytest.raises(ValueError, match=f"a.jpg.*{message}"):
        evaluator.process(records, [output])
