"""The decoder's parts against their equations, and the whole against the paper's order of work."""

import pytest
import torch
from torch import nn

from benchmarks.sed.plain import plain_logits
from benchmarks.sed.scenes import SMALL, Sizes, build_decoder, draw_scene
from segplugins.projects.sed import blocks
from segplugins.projects.sed.aggregation import ChannelNorm, ClassLayer, SpatialBlock
from segplugins.projects.sed.class_attention import (
    ClassTokens,
    class_sums,
    linear_attention,
    merge,
    softmax_attention,
)
from segplugins.projects.sed.cost_map import cost_map
from segplugins.projects.sed.decoder import GradualFusionDecoder
from segplugins.projects.sed.fusion import SkipFusion

OPTIONS = {
    "templates": 2,
    "widths": [32, 32, 16, 16],
    "skip_channels": [4, 4, 4],
    "skip_widths": [8, 8, 8],
    "kernel_sizes": [3, 3, 3],
    "heads": 2,
    "attention": "linear",
    "pooling": [2, 2],
    "test_pooling": [1, 1],
}


def small_decoder(**options):
    return GradualFusionDecoder(**{**OPTIONS, **options})


def small_inputs(images=1, classes=3, side=2):
    cost = torch.rand(images, classes, 2, side, side)
    skips = [torch.randn(images, 4, side * 2**i, side * 2**i) for i in (1, 2, 3)]
    return cost, skips


def test_the_cost_map_is_a_cosine_whatever_the_lengths():
    # Two pixels along the axes of a plane; two templates of one class at 0 and 60 degrees.
    dense = torch.tensor([[3.0, 0.0], [0.0, 7.0]]).view(1, 2, 1, 2)
    text = torch.tensor([[[5.0, 0.0], [1.0, 3**0.5]]])
    cost = cost_map(dense, text)
    assert cost.shape == (1, 1, 2, 1, 2)
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]])
    torch.testing.assert_close(cost[0, 0, :, 0], expected)


def test_the_cost_map_is_made_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert cost_map(torch.randn(1, 4, 2, 2), torch.randn(3, 2, 4)).dtype == torch.float32


def test_towers_that_do_not_end_in_one_space_are_refused():
    with pytest.raises(ValueError, match="have 4 channels, text embeddings 5"):
        cost_map(torch.zeros(1, 4, 2, 2), torch.zeros(3, 2, 5))


def test_linear_attention_is_the_weighted_mean_of_the_values():
    # With d = 1: weight of class s for query q is phi(q) phi(k_s); phi(q) cancels but for eps.
    keys = torch.tensor([0.0, 1.0, -1.0]).view(1, 1, 1, 3, 1)
    values = torch.tensor([5.0, 7.0, -2.0]).view(1, 1, 1, 3, 1)
    phi = torch.tensor([1.0, 2.0, 2.718281828459045**-1])  # elu(x) + 1
    mean = (phi * values.flatten()).sum() / phi.sum()
    out = linear_attention(torch.tensor([0.3]).view(1, 1, 1, 1, 1), class_sums(keys, values))
    torch.testing.assert_close(out.flatten(), mean[None], rtol=1e-5, atol=0)


@pytest.mark.parametrize("attention", ["linear", "full"])
def test_attention_over_merged_parts_is_attention_over_all(attention):
    layer = ClassLayer(8, 2, attention).eval()
    x = torch.randn(1, 7, 8, 3, 3)
    parts = [layer.summarize(x[:, part], (1, 1)) for part in (slice(0, 3), slice(3, 7))]
    with torch.no_grad():
        whole = layer(x, (1, 1))
        split = layer(x[:, 2:5], (1, 1), merge(*parts))
    torch.testing.assert_close(split, whole[:, 2:5])


def test_softmax_attention_of_equal_keys_is_the_mean():
    keys, values = torch.zeros(1, 1, 1, 4, 2), torch.randn(1, 1, 1, 4, 2)
    out = softmax_attention(torch.randn(1, 1, 1, 3, 2), ClassTokens(keys, values))
    torch.testing.assert_close(out, values.mean(dim=3, keepdim=True).expand_as(out))


def test_the_class_layer_doubles_its_input_where_attention_and_mlp_are_silent():
    layer = ClassLayer(4, 2, "linear")
    for module in (layer.value, layer.mlp[2]):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    x = torch.randn(1, 3, 4, 2, 2)
    torch.testing.assert_close(layer(x, (1, 1)), 2 * x)


def test_the_class_layer_keeps_a_constant_map_constant_with_any_pooling():
    layer = ClassLayer(4, 2, "linear").eval()
    x = torch.randn(1, 3, 4, 1, 1).expand(-1, -1, -1, 5, 6)  # 5 is not divisible by 2
    torch.testing.assert_close(layer(x, (2, 2)), layer(x, (1, 1)))


def test_the_class_layer_refuses_what_it_cannot_split():
    with pytest.raises(ValueError, match="3 attention heads do not divide a width of 8"):
        ClassLayer(8, 3, "linear")
    with pytest.raises(ValueError, match="'linear' or 'full', got 'cubic'"):
        ClassLayer(8, 2, "cubic")


def test_a_spatial_block_with_gamma_zero_changes_nothing():
    block = SpatialBlock(4, 5)
    nn.init.zeros_(block.gamma)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), x)
    with pytest.raises(ValueError, match="odd, got 4"):
        SpatialBlock(4, 4)


def test_the_norm_of_the_spatial_block_is_a_layer_norm_that_the_optimizer_takes_for_none():
    norm, torchs = ChannelNorm(6), nn.LayerNorm(6, eps=1e-6)
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(norm(x), torchs(x))
    assert not isinstance(norm, nn.LayerNorm)


def test_fusion_is_the_convolution_of_the_concatenation():
    fusion = SkipFusion(width=12, skip_width=4, out_width=16)
    x, guidance = torch.randn(2, 3, 12, 5, 5), torch.randn(2, 3, 4, 10, 10)
    skip = torch.randn(2, 4, 10, 10)
    fused = fusion(x, guidance, fusion.image_terms(skip))
    for image in range(2):
        rows = [fusion.up(x[image]), skip[image].expand(3, -1, -1, -1), guidance[image]]
        y = torch.relu(fusion.first_norm(fusion.first(torch.cat(rows, dim=1))))
        y = torch.relu(fusion.second_norm(fusion.second(y)))
        torch.testing.assert_close(fused[image], y, rtol=1e-4, atol=1e-5)


def test_fusion_without_skip_features_is_the_convolution_of_the_two_others():
    fusion = SkipFusion(width=12, skip_width=4, out_width=16, reads_skips=False)
    assert fusion.first.weight.shape == (16, 12, 3, 3)  # 8 upsampled and 4 of the cost map
    x, guidance = torch.randn(2, 3, 12, 5, 4), torch.randn(2, 3, 4, 10, 8)
    fused = fusion(x, guidance, fusion.image_terms(torch.randn(2, 7, 10, 8)))
    for image in range(2):
        rows = torch.cat([fusion.up(x[image]), guidance[image]], dim=1)
        y = torch.relu(fusion.first_norm(fusion.first(rows)))
        y = torch.relu(fusion.second_norm(fusion.second(y)))
        torch.testing.assert_close(fused[image], y, rtol=1e-4, atol=1e-5)


def test_a_decoder_without_skip_features_reads_none_and_trains_every_weight():
    decoder = small_decoder(reads_skips=False)
    cost, skips = small_inputs()
    logits = decoder(cost, skips)
    for before, after in zip(logits, decoder(cost, [torch.randn_like(skip) for skip in skips])):
        torch.testing.assert_close(before, after)
    sum(each.sum() for each in logits).backward()
    assert all(weight.grad is not None for weight in decoder.parameters())


@pytest.mark.parametrize(("width", "skip", "out"), [(16, 16, 16), (16, 4, 24), (16, 0, 16)])
def test_fusion_refuses_widths_that_do_not_fit(width, skip, out):
    with pytest.raises(ValueError, match="skip width below that and an output width"):
        SkipFusion(width, skip, out)


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_the_decoder_takes_any_number_of_classes(classes):
    decoder = small_decoder().eval()
    logits = decoder(*small_inputs(2, classes))
    assert [tuple(scores.shape) for scores in logits] == [
        (2, classes, 16, 16),
        (2, classes, 2, 2),
        (2, classes, 4, 4),
        (2, classes, 8, 8),
    ]


def test_the_decoder_gives_what_the_papers_order_of_work_gives():
    scene = draw_scene(20, 4, SMALL)
    plain = plain_logits(scene.decoder, scene.cost(), scene.skips)
    with torch.no_grad():
        ours = scene.decoder(scene.cost()[None], scene.skips)[0][0]
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)


def test_work_in_blocks_gives_what_work_at_once_gives(monkeypatch):
    scene = draw_scene(20, 4, SMALL)
    with torch.no_grad():
        at_once = scene.decoder(scene.cost()[None], scene.skips)[0]
        monkeypatch.setattr(blocks, "_CPU_ELEMENTS", 1)  # the fewest rows and positions at a time
        in_blocks = scene.decoder(scene.cost()[None], scene.skips)[0]
    torch.testing.assert_close(in_blocks, at_once, rtol=0, atol=1e-5)


def test_permuted_classes_give_permuted_scores():
    decoder = small_decoder().eval()
    cost, skips = small_inputs(classes=5)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        plain, permuted = decoder(cost, skips)[0], decoder(cost[:, order], skips)[0]
    torch.testing.assert_close(permuted, plain[:, order])


def test_pooling_in_training_and_none_at_test_are_switches_without_weights():
    decoder = small_decoder()
    cost, skips = small_inputs()
    with torch.no_grad():
        trained = decoder.train()(cost, skips)[0]
        tested = decoder.eval()(cost, skips)[0]
        same = small_decoder(test_pooling=[2, 2]).eval()
        same.load_state_dict(decoder.state_dict())
        assert not torch.allclose(trained, tested)
        torch.testing.assert_close(same(cost, skips)[0], trained)


def test_no_gradient_reaches_the_encoder_through_skip_features():
    decoder = small_decoder()
    cost, skips = small_inputs()
    cost.requires_grad_()
    for skip in skips:
        skip.requires_grad_()
    decoder(cost, skips)[0].sum().backward()
    assert cost.grad.abs().sum() > 0
    assert all(skip.grad is None for skip in skips)
    assert all(reduce.weight.grad.abs().sum() > 0 for reduce in decoder.skips)


def test_rejection_heads_learn_and_move_nothing_else():
    decoder = small_decoder()
    cost, skips = small_inputs()
    cost.requires_grad_()
    sum(scores.sum() for scores in decoder(cost, skips)[1:]).backward()
    assert cost.grad is None
    for name, parameter in decoder.named_parameters():
        assert (parameter.grad is not None) == name.startswith("rejection_heads"), name


def test_every_parameter_of_the_decoder_is_trained():
    decoder = small_decoder()
    sum(scores.square().sum() for scores in decoder(*small_inputs())).backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_the_decoder_runs_under_autocast_with_its_sums_in_float32():
    decoder = small_decoder()
    cost, skips = small_inputs(classes=4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoder(cost, skips)[0]
        x = torch.randn(1, 4, 32, 2, 2)
        sums = decoder.stages[0].classes.summarize(x, (1, 1))
    assert sums.products.dtype == sums.keys.dtype == torch.float32
    logits.float().sum().backward()
    with torch.no_grad():
        precise = decoder(cost, skips)[0]
    # bfloat16 keeps 8 bits.
    torch.testing.assert_close(logits.float(), precise, rtol=0, atol=0.1)


def test_a_cost_map_of_other_templates_is_refused_with_the_reason():
    decoder = small_decoder()
    _, skips = small_inputs()
    with pytest.raises(ValueError, match="has 5 templates, the decoder was made for 2"):
        decoder(torch.zeros(1, 3, 5, 2, 2), skips)


def test_lists_of_another_length_are_refused():
    with pytest.raises(ValueError, match="expected 4 widths and 3 skip channels"):
        small_decoder(widths=[32, 16, 16])


def test_the_released_decoder_has_the_official_number_of_parameters():
    decoder = build_decoder(Sizes())
    assert sum(parameter.numel() for parameter in decoder.parameters()) == 1_376_396
    assert len(list(decoder.parameters())) == 115
