"""CoCu beside its encoders: curation, local consistency, texts of a step, answers."""

import math

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from segplugins.config import add_shared_config
from segplugins.projects.cocu import add_config
from segplugins.projects.cocu.cocu import Inference
from segplugins.projects.cocu.curation.clusters import (
    cluster_concepts,
    draw_concepts,
    draw_probabilities,
)
from segplugins.projects.cocu.curation.concepts import ConceptExtractor
from segplugins.projects.cocu.curation.scores import build_archive, ranked, score_concepts
from segplugins.projects.cocu.decode import class_logits, segment_scores
from segplugins.projects.cocu.pamr import refine_masks

# --- curation


def test_probabilities_are_a_softmax_within_each_cluster():
    scores, labels = np.array([0.0, 5.0, math.log(3)]), np.array([0, 1, 0])
    assert draw_probabilities(scores, labels).tolist() == pytest.approx([0.25, 1.0, 0.75])


def test_a_cluster_far_below_the_others_keeps_its_probabilities():
    scores, labels = np.array([3000.0, 0.0, math.log(3), -2000.0]), np.array([0, 1, 1, 2])
    assert draw_probabilities(scores, labels).tolist() == pytest.approx([1.0, 0.25, 0.75, 1.0])
    drawn = draw_concepts(["a", "b", "c", "d"], scores, labels, np.random.default_rng(0))
    assert drawn[0] == "a" and drawn[1] in "bc" and drawn[2] == "d"


def test_nothing_to_draw_from_gives_nothing():
    nothing = np.zeros(0)
    assert draw_probabilities(nothing, nothing.astype(int)).shape == (0,)
    assert draw_concepts([], nothing, nothing.astype(int), np.random.default_rng(0)) == []


def test_concepts_are_drawn_in_the_order_of_the_clusters_with_their_probabilities():
    names, labels = ["a", "b", "c"], np.array([1, 0, 1])
    scores = np.array([math.log(9), 0.0, 0.0])  # a is drawn nine times out of ten
    generator = np.random.default_rng(0)
    draws = [draw_concepts(names, scores, labels, generator) for _ in range(400)]
    assert {first for first, _ in draws} == {"b"}
    assert sum(second == "a" for _, second in draws) / 400 == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("clusters, own", [(2, False), (3, True), (9, True)])
def test_concepts_no_more_than_clusters_are_each_their_own(clusters, own):
    labels = cluster_concepts(np.eye(3, 4), clusters, seed=0)
    assert (labels.tolist() == [0, 1, 2]) == own


def test_clusters_have_the_lowest_inertia_and_depend_on_the_seed_alone():
    generator = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = np.repeat(centres, 8, axis=0) + generator.normal(scale=0.1, size=(24, 2))
    for seed in range(5):
        labels = cluster_concepts(rows, 3, seed)
        assert np.array_equal(labels, cluster_concepts(rows, 3, seed))
        groups = labels.reshape(3, 8)
        assert (groups == groups[:, :1]).all() and len(set(groups[:, 0])) == 3


def test_concepts_come_by_length_then_by_position_and_once():
    extractor = ConceptExtractor(["dog", "hot dog", "cat", "dog hot dog"])
    words = ["cat", "hot", "dog", "hot", "dog"]
    assert extractor(words) == ["cat", "dog", "hot dog", "dog hot dog"]
    assert extractor(["dog"]) == ["dog"] and extractor([]) == []
    assert ConceptExtractor([])(words) == []


def test_an_archive_names_the_images_of_each_concept():
    archive = build_archive([["sky", "dog"], [], ["dog"]])
    assert archive.names == ["dog", "sky"]
    assert archive.references == [[0, 2], [0]]


def scores_of(**options):
    image, retrieved = np.array([1.0, 0.0]), np.array([[0.6, 0.8], [0.0, 1.0]])
    concepts = np.array([[0.8, 0.6], [0.6, 0.8]])
    # Similarities 0.8, 0.6; to the retrieved images 0.96, 0.6 and 1.0, 0.8.
    return score_concepts(image, retrieved, concepts, [[0], [0, 1]], **options)


def test_a_concept_is_compared_with_its_mean_over_the_image_and_its_references():
    scores = scores_of(norm="none")
    expected = [0.8 / ((0.8 + 0.96) / 2), 0.6 / ((0.6 + 1.0 + 0.8) / 3)]
    assert scores.similarity.tolist() == pytest.approx([0.8, 0.6])
    assert scores.relative.tolist() == pytest.approx(expected)
    assert scores.combined.tolist() == pytest.approx([0.8 + expected[0], 0.6 + expected[1]])


def test_the_norm_divides_by_the_highest_cosine_of_the_image():
    scores = scores_of()
    expected = [0.8 / 1.0 + scores.relative[0], 0.6 / 1.0 + scores.relative[1]]
    assert scores.combined.tolist() == pytest.approx(expected)  # 1.0: concept 1 and image 0
    near = score_concepts(np.array([1.0, 0.0]), np.zeros((0, 2)), np.array([[0.5, 0.0]]), [[]])
    assert near.combined.tolist() == pytest.approx([0.5 / 0.5 + 1.0])


def test_the_naive_ranking_is_the_similarity():
    scores = scores_of(ranking="naive")
    assert np.array_equal(scores.combined, scores.similarity)


def test_a_mean_of_zero_is_no_division_by_zero():
    scores = score_concepts(
        np.array([1.0, 0.0]), np.array([[-1.0, 0.0]]), np.array([[0.5, 0.0]]), [[0]], norm="none"
    )
    assert scores.relative.tolist() == pytest.approx([0.5 / 1e-6])


@pytest.mark.parametrize("options", [{"norm": "max"}, {"ranking": "best"}])
def test_an_unknown_norm_or_ranking_is_named(options):
    with pytest.raises(ValueError, match=f"'{next(iter(options.values()))}'"):
        scores_of(**options)


def test_names_are_ranked_by_falling_score_and_equal_ones_by_name():
    assert ranked(["c", "b", "a", "d"], np.array([1.0, 2.0, 1.0, 3.0])) == ["d", "b", "a", "c"]


# --- decoding and local consistency


def test_scores_are_the_product_of_two_softmaxes():
    texts = torch.eye(2)
    segments, pooled = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[1.0, 0.0]])
    scores, kept = segment_scores(5 * segments, 7 * pooled, texts, torch.tensor(2.0))
    share = math.exp(2) / (math.exp(2) + 1)  # lengths do not count, the scale does
    assert scores[0, 0].tolist() == pytest.approx([share**2, (1 - share) ** 2])
    assert kept.tolist() == [[True, True]]


def test_the_classes_kept_are_those_most_like_the_whole_image():
    texts = torch.nn.functional.normalize(
        torch.stack([torch.tensor([1.0, 0.1 * k]) for k in range(7)]), dim=-1
    )
    scores, kept = segment_scores(
        torch.randn(1, 3, 2), torch.tensor([[1.0, 0.0]]), texts, torch.tensor(3.0)
    )
    assert kept.tolist() == [[True] * 5 + [False] * 2]
    assert (scores[..., 5:] == 0).all() and (scores[..., :5] > 0).all()


def test_each_pixel_takes_the_scores_of_its_segment():
    scores = torch.tensor([[[0.1, 0.9], [0.6, 0.4]]])  # two segments, two classes
    pixels = torch.tensor([[[0, 1, 0]]])
    logits = class_logits(scores, pixels)
    expected = torch.tensor([[[[0.1, 0.6, 0.1]], [[0.9, 0.4, 0.9]]]])
    assert torch.equal(logits, expected)
    # At the threshold itself a pixel is no background.
    assert class_logits(scores, pixels, 0.6)[0, 0].tolist() == [[0.0, 0.0, 0.0]]
    assert class_logits(scores, pixels, 0.7)[0, 0].tolist() == [[0.0, 1.0, 0.0]]


def delta(y, x, size=(5, 6)):
    mask = torch.zeros(1, 1, *size)
    mask[..., y, x] = 1.0
    return mask


@pytest.mark.parametrize("distance", [1, 2])
def test_in_an_even_picture_a_mask_is_spread_over_eight_neighbours(distance):
    picture = torch.full((1, 3, 5, 6), 7.0)
    refined = refine_masks(picture, delta(2, 3), iterations=1, dilations=(distance,))
    expected = torch.zeros(5, 6)
    for dy in (-distance, 0, distance):
        for dx in (-distance, 0, distance):
            if (dy, dx) != (0, 0):
                expected[2 + dy, 3 + dx] = 1 / 8
    # Beside the border the border itself stands for what lies outside.
    inside = (slice(1, 4), slice(1, 5)) if distance == 1 else (slice(2, 3), slice(3, 4))
    torch.testing.assert_close(refined[0, 0][inside], expected[inside])


def test_the_border_is_repeated():
    refined = refine_masks(torch.ones(1, 3, 5, 6), delta(0, 0), iterations=1, dilations=(1,))
    # (0, 0) sees itself up, left and diagonally; (0, 1) sees it left and up left; (1, 1) once.
    assert refined[0, 0, 0, :2].tolist() == pytest.approx([3 / 8, 2 / 8])
    assert refined[0, 0, 1, :2].tolist() == pytest.approx([2 / 8, 1 / 8])


def test_averaging_twice_is_averaging_the_average():
    torch.manual_seed(0)
    picture, masks = torch.rand(1, 3, 6, 7), torch.rand(1, 5, 6, 7)
    options = {"dilations": (1, 2)}
    once = refine_masks(picture, masks, iterations=1, **options)
    twice = refine_masks(picture, masks, iterations=2, **options)
    torch.testing.assert_close(refine_masks(picture, once, iterations=1, **options), twice)
    torch.testing.assert_close(
        refine_masks(picture, masks, iterations=2, chunk=2, **options), twice
    )


def test_a_shift_or_a_factor_on_the_colours_changes_nothing():
    torch.manual_seed(0)
    picture, masks = torch.rand(1, 3, 6, 7), torch.rand(1, 2, 6, 7)
    changed = 40 * picture + torch.tensor([3.0, -5.0, 100.0]).view(1, 3, 1, 1)
    one, other = refine_masks(picture, masks), refine_masks(changed, masks)
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_masks_are_brought_to_the_size_of_the_picture_with_corners_aligned():
    masks = torch.tensor([[[[0.0, 1.0]]]])
    refined = refine_masks(torch.rand(1, 3, 4, 5), masks, iterations=0)
    assert refined[0, 0, 0].tolist() == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


# --- the model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "CoCu", "cpu"
    cfg.MODEL.CLIP.TEMPLATES = "single"
    node = cfg.MODEL.COCU
    node.TEMPLATES = "single"
    node.IMAGE.SIZE, node.IMAGE.PATCH, node.IMAGE.WIDTH = 32, 8, 16
    node.IMAGE.DEPTHS, node.IMAGE.HEADS = [1, 1, 1], [2, 2, 2]
    node.IMAGE.GROUP_TOKENS, node.IMAGE.OUTPUT_GROUPS = [4, 2, 0], [4, 2]
    node.TEXT.WIDTH, node.TEXT.LAYERS = 64, 1
    node.PROJECTOR.HIDDEN, node.PROJECTOR.OUT = 16, 8
    return build_model(cfg)


def test_a_stride_longer_than_the_window_is_an_error():
    Inference(templates=("{}",), window=8, stride=8)
    Inference(templates=("{}",), window=None, stride=99)
    with pytest.raises(ValueError, match="STRIDE 9 is longer than SIZE 8"):
        Inference(templates=("{}",), window=8, stride=9)


def test_the_factor_on_cosines_starts_at_the_temperature_and_ends_at_100(model):
    assert model.scale(model.logit_scale).item() == pytest.approx(1 / 0.07, rel=1e-4)
    assert model.scale(torch.tensor(9.0)).item() == 100.0


def test_texts_of_a_step(model):
    records = [
        {"captions": ["a dog runs"], "tags": ["dog"]},
        {"captions": [], "tags": []},
        {"captions": None, "tags": ["sky", "sea", "sun", "sand", "rock"]},
        {"captions": ["only words"]},
    ]
    torch.manual_seed(0)
    captions, concepts, described = model.draw_texts(records)
    assert described == [0, 2, 3]
    assert captions[0] == "a dog runs" and captions[2] == "only words"
    assert captions[1] in records[2]["tags"]  # a tag stands in for the caption
    template = model.templates[0]
    assert concepts[0] == [template.replace("{}", "dog"), "a dog runs", "a dog runs"]
    names = {template.replace("{}", name) for name in records[2]["tags"]}
    assert len(set(concepts[1])) == 3 and set(concepts[1]) <= names
    assert concepts[2] == ["only words"] * 3


def test_every_caption_and_every_tag_is_drawn_at_times(model):
    torch.manual_seed(0)
    record = {"captions": ["one", "two", "three"], "tags": ["a", "b", "c", "d"]}
    draws = [model.draw_texts([record]) for _ in range(60)]
    assert {captions[0] for captions, _, _ in draws} == {"one", "two", "three"}
    assert len({text for _, concepts, _ in draws for text in concepts[0]}) == 4
    orders = {tuple(concepts[0]) for _, concepts, _ in draws}
    assert len(orders) > 10  # their order is drawn too


def test_class_embeddings_are_kept_until_the_mode_changes(model, monkeypatch):
    calls = []
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda texts: calls.append(list(texts)) or embed(texts))
    model.eval()
    with torch.no_grad():
        first = model.class_embedding(["dog", "sky"], ["a {}", "the {}"])
        assert calls == [["a dog", "the dog", "a sky", "the sky"]]
        torch.testing.assert_close(first.norm(dim=-1), torch.ones(2))
        raw = embed(calls[0]).view(2, 2, -1).mean(dim=1)
        torch.testing.assert_close(first, torch.nn.functional.normalize(raw, dim=-1))
        assert model.class_embedding(["dog", "sky"], ["a {}", "the {}"]) is first
        assert len(calls) == 1
        model.class_embedding(["sky", "dog"], ["a {}", "the {}"])
        assert len(calls) == 2
        model.train(), model.eval()
        model.class_embedding(["sky", "dog"], ["a {}", "the {}"])
        assert len(calls) == 3


@pytest.mark.parametrize("size", [(3, 20), (20, 3), (5, 5)])
def test_a_picture_smaller_than_a_patch_is_answered(model, size):
    record = {
        "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8),
        "texts": ["dog", "sky", "sea"],
        "height": size[0],
        "width": size[1],
    }
    (result,) = model.eval()([record])
    assert result["sem_seg"].shape == (3, *size) and result["sem_seg"].isfinite().all()


def test_the_image_box_is_cut_out_before_the_result_is_made(model):
    model.eval()
    image = torch.randint(0, 256, (3, 32, 40), dtype=torch.uint8)
    common = {"image": image, "texts": ["dog", "sky"]}
    (whole,) = model([{**common, "height": 32, "width": 40}])
    (part,) = model([{**common, "height": 10, "width": 20, "image_box": (4, 6, 24, 16)}])
    torch.testing.assert_close(part["sem_seg"], whole["sem_seg"][:, 6:16, 4:24])
