"""UMG-CLIP's parts where no recording reaches: starts, limits, errors, two images of two lists."""

import pytest
import torch
from timm.models.eva import Eva

from segplugins.engine.optim import LR_SCHEDULERS, OPTIMIZERS
from segplugins.modeling.pixel_decoder import PixelFeatures
from segplugins.projects.umg_clip.convpass import ConvpassOptions
from segplugins.projects.umg_clip.ensemble import ensemble_log_probabilities, mask_pool
from segplugins.projects.umg_clip.mask_decoder import ClassTexts, MaskDecoder, blocked_cells
from segplugins.projects.umg_clip.regions import region_embeddings
from segplugins.projects.umg_clip.token_cluster import (
    ClusterOptions,
    cluster_tokens,
    merge_tokens,
    unfold_tokens,
)
from segplugins.projects.umg_clip.vit_tower import TimmVit
from segplugins.projects.umg_clip.weights import eva_names, our_name
from segplugins.structures.zero_shot import zero_shot_set


def tower(post_norm=False, **options):
    torch.manual_seed(0)
    trunk = Eva(
        img_size=16, patch_size=4, embed_dim=32, depth=3, num_heads=2, num_classes=8,
        global_pool="token", use_rot_pos_emb=not post_norm, use_post_norm=post_norm,
        ref_feat_shape=(16, 16) if not post_norm else None,
    )  # fmt: skip
    return TimmVit(trunk, **options)


@pytest.mark.parametrize("post_norm", [False, True])
def test_the_tower_is_timms_and_adapters_change_nothing_at_their_start(post_norm):
    images = torch.randn(2, 3, 16, 16)
    plain = tower(post_norm).eval()
    tokens = plain.normed(plain(images)).tokens
    torch.testing.assert_close(tokens, plain.trunk.forward_features(images))
    adapted = tower(post_norm, adapters=ConvpassOptions(width=4)).eval()
    torch.testing.assert_close(adapted.normed(adapted(images)).tokens, tokens, rtol=0, atol=0)
    for adapter in adapted.adapters:
        torch.nn.init.normal_(adapter.mlp.up.weight)
    assert not torch.allclose(adapted.normed(adapted(images)).tokens, tokens)
    frozen = adapted.normed(adapted(images, adapted=False)).tokens
    torch.testing.assert_close(frozen, tokens, rtol=0, atol=0)


def test_an_oblong_picture_keeps_its_grid():
    encoder = tower(adapters=ConvpassOptions(width=4)).eval()
    output = encoder(torch.randn(1, 3, 12, 24))
    assert output.grid == (3, 6) and output.patches.shape == (1, 32, 3, 6)
    # Row 1, column 2 is token 1 * 6 + 2 behind the class token.
    assert torch.equal(output.patches[0, :, 1, 2], output.tokens[0, 9])
    with pytest.raises(ValueError, match="13x24 pixels does not fit patches of 4"):
        encoder(torch.randn(1, 3, 13, 24))


def test_clustering_is_for_training_alone_and_leaves_few_values():
    clustering = ClusterOptions(after_block=1, keep=0.25, reach=16)
    encoder = tower(clustering=clustering).train()
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    output = encoder(images)
    assert output.tokens.shape == (2, 17, 32)
    assert all(len(tokens.unique(dim=0)) == 4 for tokens in output.tokens[:, 1:].detach())
    output.tokens.sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0
    everything = tower(clustering=ClusterOptions(after_block=1, keep=1.0)).train()
    torch.testing.assert_close(everything(images).tokens, everything.eval()(images).tokens)
    plain = encoder.eval()(images).tokens[0, 1:]
    assert len(plain.unique(dim=0)) == 16


def test_equal_tokens_are_clustered_without_a_tie_being_random():
    tokens = torch.ones(1, 6, 4, dtype=torch.bfloat16)
    clusters = cluster_tokens(tokens, (2, 3), ClusterOptions(keep=0.5, reach=2))
    assert clusters.centres.tolist() == [[0, 1, 2]]
    merged = merge_tokens(tokens, clusters)
    assert torch.equal(unfold_tokens(merged, clusters), tokens)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"adapters": ConvpassOptions(), "clustering": ClusterOptions()}, "leave clustering off"),
        ({"clustering": ClusterOptions(after_block=9)}, "after block 9: the trunk has 3 blocks"),
        ({"last_attention": "none"}, "last_attention must be one of .*'none'"),
    ],
)
def test_what_does_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        tower(**options)


def test_options_outside_their_range():
    with pytest.raises(ValueError, match="activation must be one of .*'relu'"):
        ConvpassOptions(activation="relu")
    with pytest.raises(ValueError, match=r"keep must lie in \(0, 1\]"):
        ClusterOptions(keep=0.0)
    with pytest.raises(ValueError, match="expected a ViT of timm .*got Linear"):
        TimmVit(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="unknown zero-shot set 'food'"):
        zero_shot_set("food")


def test_regions_are_means_of_their_cells():
    features = torch.arange(16.0).reshape(1, 1, 4, 4)
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 1.0, 0.5]])
    image = torch.zeros(2, dtype=torch.long)
    # Cells 0, 1, 4, 5 and cells 6, 7.
    assert region_embeddings(features, boxes, image)[:, 0].tolist() == [2.5, 6.5]
    assert region_embeddings(features, boxes[:0], image[:0]).shape == (0, 1)


def test_the_ensemble_is_a_distribution_and_survives_probabilities_of_zero():
    inside = torch.tensor([[0.0, 300.0, -300.0, 1.0], [2.0, 1.0, 0.0, 3.0]])
    outside = torch.tensor([[-300.0, 0.0, 300.0, 9.0], [0.0, 1.0, 2.0, -9.0]])
    seen = torch.tensor([True, True, False])
    result = ensemble_log_probabilities(inside, outside, seen, alpha=0.0, beta=1.0)
    assert result.isfinite().all()
    torch.testing.assert_close(result.exp().sum(dim=1), torch.ones(2), atol=1e-6, rtol=0)
    # Second query: e^2, e^1 of the trained head against e^2 of CLIP, each divided by its sum.
    trained, frozen = inside[1, :3].softmax(0), outside[1, :3].softmax(0)
    void = inside[1].softmax(0)[3]
    expected = torch.stack([trained[0], trained[1], frozen[2]])
    expected = expected / expected.sum() * (1 - void)
    torch.testing.assert_close(result[1, :3].exp(), expected, atol=1e-6, rtol=0)


def test_pooling_an_empty_mask_gives_zero():
    features = torch.ones(1, 2, 2, 2)
    masks = torch.full((1, 2, 2, 2), -1.0)
    masks[0, 1, 0, 0] = 1.0
    torch.testing.assert_close(mask_pool(features, masks)[0], torch.tensor([[0.0, 0], [1, 1]]))


def test_a_query_whose_mask_is_empty_sees_every_cell():
    masks = torch.full((1, 2, 2, 2), -1.0)
    masks[0, 1, 0, 1] = 1.0
    blocked = blocked_cells(masks, (2, 2))
    assert blocked[0].tolist() == [[False] * 4, [True, False, True, True]]


def test_images_of_a_batch_may_have_different_texts():
    torch.manual_seed(0)
    decoder = MaskDecoder(
        width=8, queries=3, layers=2, levels=1, heads=2, feed_forward=8, text_width=4
    )
    features = PixelFeatures([torch.randn(2, 8, 2, 3)], torch.randn(2, 8, 4, 6))
    rows = torch.nn.functional.normalize(torch.randn(3, 4), dim=-1)
    void = torch.randn(1, 4)
    both = decoder(features, ClassTexts([rows, rows[:1]], [[2, 1], [1]]), void)
    assert both.class_logits.shape == (2, 3, 3) and list(both.earlier) == ["0", "1"]
    assert both.text_mask.tolist() == [[True, True], [True, False]]
    second = PixelFeatures([features.levels[0][1:]], features.mask_features[1:])
    alone = decoder(second, ClassTexts([rows[:1]], [[1]]), void)
    torch.testing.assert_close(both.class_logits[1, :, [0, 2]], alone.class_logits[0])
    assert (both.class_logits[1, :, 1].exp() == 0).all()


def test_official_names():
    tensors = {
        "blocks.0.attn.q_bias": torch.zeros(1),
        "blocks.0.attn.q_proj.weight": torch.zeros(1),
        "blocks.0.mlp.w3.bias": torch.zeros(1),
        "blocks.1.attn.q_bias": torch.zeros(1),
    }
    assert sorted(eva_names(tensors)) == [
        "blocks.0.attn.q_proj.bias",
        "blocks.0.attn.q_proj.weight",
        "blocks.0.mlp.fc2.bias",
        "blocks.1.attn.q_bias",
    ]
    predictor = "sem_seg_head.predictor.transformer_"
    assert our_name(f"{predictor}ffn_layers.11.norm.bias") == "decoder.layers.11.norm.bias"
    assert our_name(f"{predictor}ffn_layers.1.norm.bias") == "decoder.layers.1.norm.bias"
    assert our_name("backbone.clip_model.visual.x") == "tower.x"
    assert our_name("backbone.clip_model.ln_final.bias") == (
        "classifier.text_encoder.text.ln_final.bias"
    )
    assert our_name("criterion.empty_weight") == "criterion.empty_weight"


def test_a_config_can_ask_for_optimizer_and_schedule():
    assert "lamb" in OPTIMIZERS and "WarmupFirstStepCosineLR" in LR_SCHEDULERS
