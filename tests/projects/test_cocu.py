"""CoCu's ideas: grouping, the loss of concepts, masks from segments, curation, weights."""

import math

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torch.nn import functional as F

from segplugins.config import add_shared_config
from segplugins.projects.cocu import add_config
from segplugins.projects.cocu.curation.clusters import (
    cluster_concepts,
    draw_concepts,
    draw_probabilities,
)
from segplugins.projects.cocu.curation.concepts import ConceptExtractor, caption_words
from segplugins.projects.cocu.curation.scores import build_archive, ranked, score_concepts
from segplugins.projects.cocu.decode import class_logits, pixel_segments, segment_scores
from segplugins.projects.cocu.grouping import Assignment
from segplugins.projects.cocu.multi_label import multi_label_contrastive
from segplugins.projects.cocu.pamr import refine_masks
from segplugins.projects.cocu.weights import convert, is_official
from segplugins.structures import Vocabulary, register_vocabulary

register_vocabulary(Vocabulary("test-cocu", ("dog", "grass", "sky")))
register_vocabulary(
    Vocabulary(
        "test-cocu-nothing", ("dog", "nothing of these", "sky"), none_class="nothing of these"
    )
)


def build(**changes):
    torch.manual_seed(0)
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "CoCu", "cpu"
    cfg.MODEL.CLIP.TEMPLATES = "single"
    node = cfg.MODEL.COCU
    node.IMAGE.SIZE, node.IMAGE.PATCH, node.IMAGE.WIDTH = 64, 8, 32
    node.IMAGE.DEPTHS, node.IMAGE.HEADS = [2, 1, 1], [2, 2, 2]
    node.IMAGE.GROUP_TOKENS, node.IMAGE.OUTPUT_GROUPS = [8, 4, 0], [8, 4]
    node.TEXT.WIDTH, node.TEXT.LAYERS = 64, 2
    node.PROJECTOR.HIDDEN, node.PROJECTOR.OUT = 32, 16
    for key, value in changes.items():
        section = {"TEST": cfg.TEST}.get(key.split("__")[0], node)
        *parents, last = key.removeprefix("TEST__").split("__")
        for parent in parents:
            section = section[parent]
        section[last] = value
    return build_model(cfg)


def pair(captions=("a dog on grass",), tags=("dog", "grass"), size=(64, 64)):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    return {"image": image, "captions": list(captions), "tags": list(tags)}


def question(vocabulary, size=(64, 96), **more):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    sizes = {"height": size[0], "width": size[1]}
    return {"image": image, "vocabulary": vocabulary, **sizes, **more}


# --- grouping


def test_every_token_chooses_one_group_and_the_soft_map_adds_up_to_one():
    module = Assignment(16).eval()
    assigned = module(torch.randn(2, 3, 16), torch.randn(2, 10, 16))
    torch.testing.assert_close(assigned.hard.sum(dim=1), torch.ones(2, 10))
    assert set(assigned.hard.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(assigned.soft.sum(dim=1), torch.ones(2, 10))
    assert torch.equal(assigned.hard.argmax(dim=1), assigned.soft.argmax(dim=1))


def test_a_group_is_the_mean_of_its_tokens_with_one_token_of_zeros():
    module = Assignment(4)
    torch.nn.init.eye_(module.v_proj.weight), torch.nn.init.zeros_(module.v_proj.bias)
    torch.nn.init.eye_(module.proj.weight), torch.nn.init.zeros_(module.proj.bias)
    tokens = torch.ones(1, 3, 4)
    chosen = torch.tensor([[[1.0, 1, 1], [0, 0, 0]]])
    groups = module.gather(chosen, tokens)
    torch.testing.assert_close(groups[0, 0], torch.full((4,), 3 / (3 + 1)))
    assert not groups[0, 1].any()  # an empty group is zero and no division by zero


def test_noise_is_for_training_alone():
    module = Assignment(8)
    tokens, groups = torch.randn(1, 40, 8), torch.randn(1, 5, 8)
    module.eval()
    assert torch.equal(module(groups, tokens).hard, module(groups, tokens).hard)
    module.train()
    assert not torch.equal(module(groups, tokens).hard, module(groups, tokens).hard)


# --- losses


def test_the_concept_loss_by_hand():
    # Two images on two axes, two concepts each: the own axis, and the diagonal.
    images = torch.eye(2)
    diagonal = torch.full((2,), math.sqrt(0.5))
    texts = torch.stack([torch.stack([row, diagonal]) for row in images])
    h = math.sqrt(0.5)
    log_all = math.log(math.e + math.exp(h) + 1 + math.exp(h))  # s = 1, h, 0, h for both images
    image_to_text = log_all - (1 + h) / 2
    text_to_image = (math.log(math.e + 1) - 1 + math.log(2)) / 2
    loss = multi_label_contrastive(images, texts, torch.tensor(1.0))
    assert loss.item() == pytest.approx((image_to_text + text_to_image) / 2, rel=1e-5)
    paper = multi_label_contrastive(images, texts, torch.tensor(1.0), form="paper")
    one_is_enough = log_all - math.log(math.e + math.exp(h))
    assert paper.item() == pytest.approx((one_is_enough + text_to_image) / 2, rel=1e-5)
    with pytest.raises(ValueError, match=r"forms \('code', 'paper'\), got 'eq3'"):
        multi_label_contrastive(images, texts, torch.tensor(1.0), form="eq3")


def test_captions_stand_in_for_concepts_that_are_missing():
    model = build(LABELS=3)
    captions, concepts, described = model.draw_texts(
        [pair(tags=()), pair(captions=(), tags=()), pair(tags=("dog",)), pair(captions=())]
    )
    assert described == [0, 2, 3]
    assert concepts[0] == ["a dog on grass"] * 3
    assert "dog" in concepts[1][0] and concepts[1][1:] == ["a dog on grass"] * 2
    assert captions[2] in ("dog", "grass") and len(concepts[2]) == 3


@pytest.mark.parametrize("labels", [0, 3])
def test_every_trained_parameter_gets_a_gradient_with_and_without_texts(labels):
    for records in ([pair(), pair()], [pair(captions=(), tags=())] * 2, [pair()]):
        model = build(LABELS=labels).train()
        losses = model(records)
        assert ("loss_concepts" in losses) == bool(labels)
        sum(losses.values()).backward()
        assert all(loss.isfinite() for loss in losses.values())
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        # A group whose tokens all left passes nothing on: that is no missing gradient.
        assert [n for n, p in trained if p.grad is None] == []


# --- masks


def test_scores_are_among_the_five_classes_most_like_the_whole():
    texts = F.normalize(torch.randn(7, 6), dim=-1)
    segments, pooled = torch.randn(1, 3, 6), torch.randn(1, 6)
    scores, kept = segment_scores(segments, pooled, texts, torch.tensor(4.0))
    assert kept.sum() == 5 and not scores[0][:, ~kept[0]].any()
    affinity = 4 * F.normalize(segments[0], dim=-1) @ texts.T
    among = affinity[:, kept[0]].softmax(dim=1) * affinity.softmax(dim=1)[:, kept[0]]
    torch.testing.assert_close(scores[0][:, kept[0]], among)
    few, kept = segment_scores(segments, pooled, texts[:3], torch.tensor(4.0))
    assert kept.all() and few.shape == (1, 3, 3)


def test_the_background_takes_what_no_class_reaches_but_never_the_best_segment():
    scores = torch.tensor([[[0.9, 0.1], [0.2, 0.3]]])
    pixels = torch.tensor([[[0, 1]]])
    logits = class_logits(scores, pixels, 0.5)
    assert logits[0, 0, 0].tolist() == [0.0, 1.0]
    torch.testing.assert_close(logits[0, 1:, 0], scores[0].T)
    assert class_logits(scores, pixels, 0.95)[0, 0, 0].tolist() == [0.0, 1.0]
    assert class_logits(scores, pixels, 0.25)[0, 0, 0].tolist() == [0.0, 0.0]


def test_a_pixel_belongs_to_the_segment_with_the_largest_share():
    maps = torch.tensor([[[[0.9, 0.2]], [[0.1, 0.8]]]])
    assert pixel_segments(maps, (1, 4)).tolist() == [[[0, 0, 1, 1]]]


def test_the_background_stands_where_the_vocabulary_lists_it():
    model = build(TEST__BACKGROUND_THRESHOLD=0.999).eval()
    answer = model([question("test-cocu-nothing")])[0]["sem_seg"]
    assert answer.shape == (3, 64, 96)
    assert answer[1].min() >= 0.0 and answer[1].max() <= 1.0
    whole = model.logits(
        model.normalizer.normalize(question("test-cocu")["image"])[None],
        model.class_embedding(["dog"], ["{}"]),
        0.999,
    )
    assert whole.shape == (1, 2, 64, 96)


def test_windows_of_the_whole_picture_change_nothing():
    record = question("test-cocu", size=(64, 64))
    one = build().eval()([record])[0]["sem_seg"]
    windowed = build(SLIDING__ENABLED=True, SLIDING__SIZE=64, SLIDING__STRIDE=32).eval()
    torch.testing.assert_close(windowed([record])[0]["sem_seg"], one)
    large = windowed([question("test-cocu", size=(100, 150))])[0]["sem_seg"]
    assert large.shape == (3, 100, 150) and large.isfinite().all()
    with pytest.raises(ValueError, match="STRIDE 80 is longer than SIZE 64"):
        build(SLIDING__ENABLED=True, SLIDING__SIZE=64, SLIDING__STRIDE=80)


def test_local_consistency_keeps_an_edge_and_smooths_within():
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 200.0
    image = image + torch.rand_like(image)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1.0
    mask[0, 0, 4, 4] = 1.0  # a speck in the dark half
    refined = refine_masks(image, mask, iterations=4, dilations=(1, 2))
    assert refined[0, 0, 4, 4] < 0.2
    assert refined[0, 0, :, 10:].min() > 0.9 and refined[0, 0, 10:, :6].max() < 0.1
    shifted = refine_masks(2 * image + 30, mask, iterations=4, dilations=(1, 2))
    torch.testing.assert_close(shifted, refined, atol=1e-4, rtol=1e-3)


# --- curation


def test_concepts_are_whole_words_and_longer_names_hold_shorter_ones():
    extract = ConceptExtractor(["cat", "dog", "hot dog", "cattle"])
    assert extract(caption_words("Cattle, and a HOT DOG!")) == ["cattle", "dog", "hot dog"]
    assert extract(caption_words("concatenated")) == [] and extract([]) == []


def test_scores_by_hand():
    image, retrieved = np.array([1.0, 0.0]), np.array([[0.6, 0.8], [0.0, 1.0]])
    concepts = np.array([[1.0, 0.0], [0.0, 1.0]])
    archive = build_archive([["a", "b"], ["b"]])
    assert archive.names == ["a", "b"] and archive.references == [[0], [0, 1]]
    scores = score_concepts(image, retrieved, concepts, archive.references)
    np.testing.assert_allclose(scores.similarity, [1.0, 0.0])
    np.testing.assert_allclose(scores.relative, [1.0 / 0.8, 0.0])
    np.testing.assert_allclose(scores.combined, [1.0 + 1.25, 0.0])
    paper = score_concepts(0.5 * image, retrieved, concepts, archive.references, norm="none")
    np.testing.assert_allclose(paper.combined, [0.5 + 0.5 / 0.55, 0.0])
    assert ranked(["b", "a", "c"], np.array([1.0, 1.0, 2.0])) == ["c", "a", "b"]
    with pytest.raises(ValueError, match="norm is 'max', expected one of"):
        score_concepts(image, retrieved, concepts, archive.references, norm="max")


def test_an_empty_archive_has_no_scores():
    empty = np.zeros((0, 2))
    scores = score_concepts(np.array([1.0, 0.0]), empty, empty, [])
    assert len(scores.combined) == 0 and ranked([], scores.combined) == []
    assert len(cluster_concepts(empty, 3, seed=0)) == 0


def test_clusters_are_found_and_one_concept_of_each_is_drawn():
    generator = np.random.default_rng(0)
    centres = np.eye(3)
    rows = np.repeat(centres, 4, axis=0) + 0.05 * generator.standard_normal((12, 3))
    labels = cluster_concepts(rows, 3, seed=1)
    truth = np.repeat(np.arange(3), 4)
    assert np.array_equal(labels[:, None] == labels, truth[:, None] == truth)
    assert np.array_equal(cluster_concepts(rows, 3, seed=1), labels)
    assert cluster_concepts(rows[:2], 3, seed=1).tolist() == [0, 1]
    names = [f"{cluster}{member}" for cluster in range(3) for member in range(4)]
    scores = np.tile([0.0, 0.0, 0.0, math.log(5)], 3)
    probability = draw_probabilities(scores, labels)
    np.testing.assert_allclose(probability[:4], [1 / 8, 1 / 8, 1 / 8, 5 / 8])
    draws = [draw_concepts(names, scores, labels, generator) for _ in range(400)]
    assert all(sorted(name[0] for name in draw) == ["0", "1", "2"] for draw in draws)
    share = np.mean([name.endswith("3") for draw in draws for name in draw])
    assert abs(share - 5 / 8) < 4 * math.sqrt(5 / 8 * 3 / 8 / 1200)


# --- weights


def test_the_full_model_has_the_official_names_and_shapes(parity_keys):
    torch.manual_seed(0)
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "CoCu", "meta"
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == parity_keys
    assert is_official(state)


@pytest.fixture
def parity_keys():
    """Names and shapes of the official ViT-S, stage by stage as GroupViT's paper describes it."""
    shapes = {"logit_scale": [], "multi_label_logit_scale": []}

    def linear(name, out, into):
        shapes.update({f"{name}.weight": [out, into], f"{name}.bias": [out]})

    def norm(name, width):
        shapes.update({f"{name}.weight": [width], f"{name}.bias": [width]})

    shapes["img_encoder.pos_embed"] = [1, 196, 384]
    shapes["img_encoder.patch_embed.proj.weight"] = [384, 3, 16, 16]
    shapes["img_encoder.patch_embed.proj.bias"] = [384]
    norm("img_encoder.patch_embed.norm", 384), norm("img_encoder.norm", 384)
    for stage, depth in enumerate((6, 3, 3)):
        for index in range(depth):
            block = f"img_encoder.layers.{stage}.blocks.{index}"
            norm(f"{block}.norm1", 384), norm(f"{block}.norm2", 384)
            linear(f"{block}.attn.qkv", 1152, 384), linear(f"{block}.attn.proj", 384, 384)
            linear(f"{block}.mlp.fc1", 1536, 384), linear(f"{block}.mlp.fc2", 384, 1536)
    for stage, (tokens, groups) in enumerate(((64, 64), (8, 8))):
        layer = f"img_encoder.layers.{stage}"
        shapes[f"{layer}.group_token"] = [1, tokens, 384]
        down = f"{layer}.downsample"
        for name in ("norm_tokens", "norm_post_tokens", "norm_x", "norm_new_x"):
            norm(f"{down}.{name}", 384)
        linear(f"{down}.mlp_inter.fc1", 192, tokens), linear(f"{down}.mlp_inter.fc2", groups, 192)
        attention = f"{down}.pre_assign_attn"
        norm(f"{attention}.norm_post", 384), norm(f"{attention}.norm2", 384)
        linear(f"{attention}.mlp.fc1", 1536, 384), linear(f"{attention}.mlp.fc2", 384, 1536)
        for name in ("q_proj", "k_proj", "v_proj", "proj"):
            linear(f"{attention}.attn.{name}", 384, 384)
            linear(f"{down}.assign.{name}", 384, 384)
        linear(f"{down}.mlp_channels.fc1", 1536, 384), linear(f"{down}.mlp_channels.fc2", 384, 1536)
    projector = "img_encoder.layers.1.group_projector"
    norm(f"{projector}.0", 384)
    linear(f"{projector}.1.fc1", 192, 64), linear(f"{projector}.1.fc2", 8, 192)
    shapes["text_encoder.positional_embedding"] = [77, 256]
    shapes["text_encoder.token_embedding.weight"] = [49408, 256]
    norm("text_encoder.ln_final", 256)
    for index in range(12):
        block = f"text_encoder.transformer.resblocks.{index}"
        norm(f"{block}.ln_1", 256), norm(f"{block}.ln_2", 256)
        shapes[f"{block}.attn.in_proj_weight"], shapes[f"{block}.attn.in_proj_bias"] = (
            [768, 256],
            [768],
        )
        linear(f"{block}.attn.out_proj", 256, 256)
        linear(f"{block}.mlp.c_fc", 1024, 256), linear(f"{block}.mlp.c_proj", 256, 1024)
    for part, width in (("img_projector", 384), ("text_projector", 256)):
        shapes[f"{part}.linear_hidden.0.weight"] = [4096, width, 1]
        shapes[f"{part}.linear_hidden.0.bias"] = [4096]
        norm(f"{part}.linear_hidden.1", 4096)
        for name in ("running_mean", "running_var"):
            shapes[f"{part}.linear_hidden.1.{name}"] = [4096]
        shapes[f"{part}.linear_hidden.1.num_batches_tracked"] = []
        shapes[f"{part}.linear_out.weight"] = [256, 4096, 1]
        shapes[f"{part}.linear_out.bias"] = [256]
    return shapes


def to_transformers(name, value):
    """Names a tensor of ours as transformers' GroupViT does, by the table of its converter."""
    if name.startswith("img_encoder.layers."):
        rest = name.removeprefix("img_encoder.layers.")
        rest = rest.replace(".blocks.", ".layers.").replace(".norm1.", ".layer_norm1.")
        if ".pre_assign_attn." not in rest:
            rest = rest.replace(".norm2.", ".layer_norm2.")
        rest = rest.replace("pre_assign_attn.attn.proj", "pre_assign_attn.attn.out_proj")
        start = f"vision_model.encoder.stages.{rest}"
        if ".attn.qkv." in start:
            parts = zip("qkv", value.chunk(3))
            return {start.replace("attn.qkv", f"self_attn.{w}_proj"): part for w, part in parts}
        if ".layers." in start:
            start = start.replace(".attn.proj.", ".self_attn.out_proj.")
        return {start: value}
    if name.startswith("text_encoder.transformer.resblocks."):
        rest = name.removeprefix("text_encoder.transformer.resblocks.")
        rest = rest.replace("ln_", "layer_norm").replace("c_fc", "fc1").replace("c_proj", "fc2")
        start = f"text_model.encoder.layers.{rest}"
        if "in_proj_" in start:
            parts = zip("qkv", value.chunk(3))
            return {start.replace("attn.in_proj_", f"self_attn.{w}_proj."): p for w, p in parts}
        return {start.replace(".attn.out_proj", ".self_attn.out_proj"): value}
    whole = {
        "img_encoder.pos_embed": "vision_model.embeddings.position_embeddings",
        "img_encoder.patch_embed.proj.": "vision_model.embeddings.patch_embeddings.projection.",
        "img_encoder.patch_embed.norm.": "vision_model.embeddings.layernorm.",
        "img_encoder.norm.": "vision_model.layernorm.",
        "text_encoder.token_embedding.": "text_model.embeddings.token_embedding.",
        "text_encoder.positional_embedding": "text_model.embeddings.position_embedding.weight",
        "text_encoder.ln_final.": "text_model.final_layer_norm.",
        "img_projector.linear_hidden.0.": "visual_projection.0.",
        "img_projector.linear_hidden.1.": "visual_projection.1.",
        "img_projector.linear_out.": "visual_projection.3.",
        "text_projector.linear_hidden.0.": "text_projection.0.",
        "text_projector.linear_hidden.1.": "text_projection.1.",
        "text_projector.linear_out.": "text_projection.3.",
    }
    for ours, theirs in whole.items():
        if name.startswith(ours):
            squeezed = value[..., 0] if value.dim() == 3 and "projector" in name else value
            return {theirs + name.removeprefix(ours): squeezed}
    return {name: value}


def test_names_of_transformers_turn_into_ours():
    ours = build().state_dict()
    theirs = {}
    for name, value in ours.items():
        if name != "multi_label_logit_scale":
            theirs.update(
                to_transformers(
                    name, torch.randn(value.shape) if value.is_floating_point() else value
                )
            )
    assert is_official(theirs)
    converted, unused = convert(theirs)
    assert unused == []
    missing = {"multi_label_logit_scale"}
    assert converted.keys() == ours.keys() - missing
    back = {}
    for name, value in converted.items():
        assert value.shape == ours[name].shape, name
        back.update(to_transformers(name, value))
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)
