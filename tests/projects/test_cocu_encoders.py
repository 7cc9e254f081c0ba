"""CoCu's encoders part by part: attention, stages, positions, text encoder, projectors."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segplugins.projects.cocu.group_vit import Block, GroupViT, Segments, SelfAttention, Stage
from segplugins.projects.cocu.grouping import (
    Assigned,
    Assignment,
    Attention,
    CrossBlock,
    GroupingBlock,
    Perceptron,
)
from segplugins.projects.cocu.texts import Projector, QuickGelu, TextTransformer


def image_encoder(**changes):
    options = {
        "image_size": 32,
        "patch": 8,
        "width": 16,
        "depths": (2, 1, 1),
        "heads": (2, 2, 2),
        "group_tokens": (6, 3, 0),
        "groups_out": (5, 2),
        **changes,
    }
    return GroupViT(**options)


# --- attention and perceptrons


def test_self_attention_is_torchs_with_one_projection():
    ours, theirs = SelfAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_groups_ask_and_tokens_answer():
    ours, theirs = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    parts = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([part.weight for part in parts]),
            "in_proj_bias": torch.cat([part.bias for part in parts]),
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    groups, tokens = torch.randn(2, 4, 12), torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(groups, tokens), theirs(groups, tokens, tokens)[0])


@pytest.mark.parametrize("out, expected", [(None, 6), (4, 4)])
def test_a_perceptron_keeps_its_width_unless_another_is_given(out, expected):
    perceptron = Perceptron(6, 9, out)
    x = torch.randn(3, 6)
    assert perceptron(x).shape == (3, expected)
    torch.testing.assert_close(perceptron(x), perceptron.fc2(F.gelu(perceptron.fc1(x))))


def test_a_block_norms_before_and_adds_after_each_part():
    block = Block(8, 2, 0.0)
    x = torch.randn(2, 5, 8)
    middle = x + block.attn(block.norm1(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm2(middle)))
    assert block.mlp.fc1.out_features == 32


def test_a_cross_block_norms_at_its_end_and_takes_groups_as_they_come():
    block = CrossBlock(8, 2, 3.0)
    groups, tokens = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    middle = groups + block.attn(groups, tokens)
    expected = block.norm_post(middle + block.mlp(block.norm2(middle)))
    torch.testing.assert_close(block(groups, tokens), expected)
    assert block.mlp.fc1.out_features == 24


# --- assignment


def test_logits_are_products_divided_by_the_root_of_the_width():
    module = Assignment(4)
    for layer in (module.q_proj, module.k_proj):
        nn.init.eye_(layer.weight), nn.init.zeros_(layer.bias)
    groups, tokens = (
        torch.tensor([[[2.0, 0, 0, 0]]]),
        torch.tensor([[[3.0, 0, 0, 0], [0, 1, 0, 0]]]),
    )
    assert module.logits(groups, tokens).tolist() == [[[3.0, 0.0]]]  # 2 * 3 / sqrt(4)


def test_the_hard_choice_has_the_gradient_of_the_soft_one():
    module = Assignment(8).eval()
    groups, tokens = torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    weights = torch.randn(1, 3, 6)
    assigned = module(groups, tokens)
    hard = torch.autograd.grad((weights * assigned.hard).sum(), module.q_proj.weight)
    soft = torch.autograd.grad((weights * module(groups, tokens).soft).sum(), module.q_proj.weight)
    torch.testing.assert_close(hard, soft)
    assert hard[0].abs().max() > 0


def test_the_noise_is_gumbels():
    torch.manual_seed(0)
    noise = Assignment.noise(torch.zeros(200_000))
    # Mean: Euler's constant; variance: pi^2 / 6.
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.03)


def test_the_soft_map_of_training_has_no_noise():
    module = Assignment(8).train()
    groups, tokens = torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    assert torch.equal(module(groups, tokens).soft, module.logits(groups, tokens).softmax(dim=1))


def test_assignment_is_computed_in_float32_under_autocast():
    module = Assignment(8)
    with torch.autocast("cpu", torch.bfloat16):
        logits = module.logits(torch.randn(1, 3, 8), torch.randn(1, 6, 8))
    assert logits.dtype == torch.float32


def test_a_grouping_block_adds_what_its_groups_gathered():
    block = GroupingBlock(8, heads=2, groups_in=5, groups_out=3, ratio=2.0).eval()
    tokens, group_tokens = torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    normed = block.norm_x(tokens)
    groups = block.pre_assign_attn(block.project_tokens(group_tokens), normed)
    assigned = block.assign(groups, normed)
    new = groups + assigned.groups
    expected = new + block.mlp_channels(block.norm_new_x(new))
    result = block(tokens, group_tokens)
    torch.testing.assert_close(result.groups, expected)
    assert torch.equal(result.hard, assigned.hard) and torch.equal(result.soft, assigned.soft)
    assert result.groups.shape == (2, 3, 8) and result.hard.shape == (2, 3, 6)


def test_group_tokens_are_mixed_along_the_token_axis_channel_by_channel():
    block = GroupingBlock(8, heads=2, groups_in=5, groups_out=3, ratio=2.0)
    group_tokens = torch.randn(2, 5, 8)
    normed = block.norm_tokens(group_tokens)
    columns = [block.mlp_inter(normed[..., channel]) for channel in range(8)]
    expected = block.norm_post_tokens(torch.stack(columns, dim=-1))
    torch.testing.assert_close(block.project_tokens(group_tokens), expected)


# --- stages


def test_only_the_first_grouping_stage_starts_from_group_tokens_of_its_own():
    encoder = image_encoder()
    first, second, last = encoder.layers
    assert first.group_token.any() and first.group_projector is None
    assert not second.group_token.any() and second.group_projector is not None
    assert last.group_token is None and last.downsample is None
    mixer = second.group_projector[1]
    assert (mixer.fc1.in_features, mixer.fc1.out_features, mixer.fc2.out_features) == (6, 8, 3)


def test_a_later_stage_reads_the_group_tokens_of_the_stage_before():
    torch.manual_seed(0)
    stage = Stage(
        8, heads=2, drop_paths=[0.0], group_tokens=3, groups_out=2, groups_before=4
    ).eval()
    tokens = torch.randn(1, 6, 8)
    one = stage(tokens, torch.randn(1, 4, 8))[0]
    assert not torch.equal(one, stage(tokens, torch.randn(1, 4, 8))[0])


def test_a_stage_returns_its_group_tokens_after_its_blocks():
    stage = Stage(8, heads=2, drop_paths=[0.0], group_tokens=3, groups_out=2, groups_before=0)
    tokens = torch.randn(2, 6, 8)
    joined = stage.blocks[0](torch.cat([tokens, stage.group_token.expand(2, -1, -1)], dim=1))
    new, groups, assigned = stage.eval()(tokens, None)
    torch.testing.assert_close(groups, joined[:, 6:])
    torch.testing.assert_close(new, stage.downsample(joined[:, :6], joined[:, 6:]).groups)
    assert torch.equal(new, assigned.groups)


def test_stochastic_depth_rises_evenly_from_zero():
    encoder = image_encoder(drop_path=0.3)
    rates = [block.drop_path.drop_prob for stage in encoder.layers for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    one = image_encoder(depths=(1,), heads=(2,), group_tokens=(0,), groups_out=(), drop_path=0.3)
    assert one.layers[0].blocks[0].drop_path.drop_prob == 0.0


def test_segments_are_the_groups_of_the_last_stage_and_pooled_their_mean():
    segments = image_encoder().eval()(torch.randn(2, 3, 32, 40))
    assert segments.tokens.shape == (2, 2, 16) and segments.grid == (4, 5)
    assert [assigned.soft.shape for assigned in segments.assignments] == [(2, 5, 20), (2, 2, 5)]
    torch.testing.assert_close(segments.pooled, segments.tokens.mean(dim=1))
    torch.testing.assert_close(segments.maps().sum(dim=1), torch.ones(2, 4, 5))


def test_maps_multiply_the_assignments_of_all_stages():
    # Three patches to two groups, those to two segments.
    first = torch.tensor([[[1.0, 0.25, 0.0], [0.0, 0.75, 1.0]]])
    second = torch.tensor([[[0.5, 0.0], [0.5, 1.0]]])
    assigned = [Assigned(None, None, soft) for soft in (first, second)]
    maps = Segments(None, None, assigned, (1, 3)).maps()
    # Segment 0 has half of group 0.
    assert maps.tolist() == [[[[0.5, 0.125, 0.0]], [[0.5, 0.875, 1.0]]]]
    assert Segments(None, None, assigned[:1], (3, 1)).maps().shape == (1, 2, 3, 1)


def test_positions_of_the_training_size_are_the_table_itself():
    encoder = image_encoder()
    assert encoder.side == 4 and encoder.positions((4, 4)) is encoder.pos_embed


def test_positions_of_another_grid_keep_rows_and_columns_apart():
    encoder = image_encoder()
    rows = torch.arange(4.0)[:, None].expand(4, 4).reshape(1, 16, 1).expand(1, 16, 16)
    encoder.pos_embed.data = rows.clone()
    resized = encoder.positions((8, 6)).unflatten(1, (8, 6))
    # What depends on the row alone still does, and rises from top to bottom.
    torch.testing.assert_close(resized, resized[:, :, :1].expand_as(resized))
    assert (resized[0, :, 0, 0].diff() > 0).all()
    assert resized[0, :4, 0, 0].mean() < 1.5 < resized[0, 4:, 0, 0].mean()


def test_patches_are_read_row_by_row():
    encoder = image_encoder()
    image = torch.zeros(1, 3, 16, 24)
    image[:, :, 8:16, 0:8] = 1.0  # the first patch of the second row of three
    tokens, grid = encoder.patch_embed(image)
    plain, _ = encoder.patch_embed(torch.zeros(1, 3, 16, 24))
    assert grid == (2, 3)
    changed = (tokens != plain).any(dim=-1)[0]
    assert changed.nonzero()[:, 0].tolist() == [3]


# --- texts


def tokens(*ids, length=8):
    return torch.tensor([[*ids, *[0] * (length - len(ids))]])


@pytest.fixture
def text_encoder():
    torch.manual_seed(0)
    return TextTransformer(vocabulary=20, context=8, width=64, layers=2).eval()


def test_quick_gelu_by_hand():
    x = torch.tensor([-1.0, 0.0, 2.0])
    expected = [value / (1 + math.exp(-1.702 * value)) for value in x.tolist()]
    assert QuickGelu()(x).tolist() == pytest.approx(expected)


def test_a_text_is_the_state_of_its_end_token_whatever_stands_behind(text_encoder):
    plain = text_encoder(tokens(18, 3, 4, 19))
    torch.testing.assert_close(text_encoder(tokens(18, 3, 4, 19, 7, 8)), plain)
    torch.testing.assert_close(text_encoder(tokens(18, 3, 4, 19, length=4)), plain)
    assert not torch.allclose(text_encoder(tokens(18, 3, 5, 19)), plain)
    assert not torch.allclose(text_encoder(tokens(18, 4, 3, 19)), plain)  # order counts


def test_texts_of_different_lengths_are_as_if_alone(text_encoder):
    short, long = tokens(18, 3, 19), tokens(18, 5, 6, 7, 8, 19)
    both = text_encoder(torch.cat([short, long]))
    torch.testing.assert_close(both[0], text_encoder(short)[0])
    torch.testing.assert_close(both[1], text_encoder(long)[0])


def test_no_texts_give_no_features(text_encoder):
    assert text_encoder(torch.zeros(0, 8, dtype=torch.int64)).shape == (0, 64)


def test_weights_start_narrower_where_their_results_are_added(text_encoder):
    torch.manual_seed(0)
    encoder = TextTransformer(vocabulary=500, context=60, width=128, layers=8)
    block = encoder.transformer.resblocks[0]
    assert block.attn.num_heads == 2 and len(encoder.transformer.resblocks) == 8
    narrow = 128**-0.5 * 16**-0.5
    for weight, deviation in (
        (encoder.token_embedding.weight, 0.02),
        (encoder.positional_embedding, 0.01),
        (block.attn.in_proj_weight, 128**-0.5),
        (block.attn.out_proj.weight, narrow),
        (block.mlp.c_fc.weight, 256**-0.5),
        (block.mlp.c_proj.weight, narrow),
    ):
        assert weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_a_text_block_looks_back_alone():
    encoder = TextTransformer(vocabulary=20, context=8, width=64, layers=1).eval()
    block = encoder.transformer.resblocks[0]
    blocked = torch.ones(4, 4, dtype=torch.bool).triu(1)
    x = torch.randn(1, 4, 64)
    other = x.clone()
    other[:, 2] += 1.0
    changed = (block(x, blocked) != block(other, blocked)).any(dim=-1)[0]
    assert changed.tolist() == [False, False, True, True]


# --- projectors


def test_a_projector_treats_rows_and_tokens_alike():
    projector = Projector(6, 10, 4).eval()
    x = torch.randn(2, 3, 6)
    projected = projector(x)
    assert projected.shape == (2, 3, 4)
    torch.testing.assert_close(projected[:, 1], projector(x[:, 1]))


def test_a_single_row_can_be_trained():
    projector = Projector(6, 10, 4).train()
    x = torch.randn(1, 6, requires_grad=True)
    projected = projector(x)
    assert projected.shape == (1, 4)
    # The batch norm sees one value twice: it leaves its bias, which starts at 0, and the result is
    # the bias of the last layer.
    torch.testing.assert_close(projected[0], projector.linear_out.bias)
    assert projector(torch.randn(1, 3, 6)).shape == (1, 3, 4)


def test_a_projector_norms_over_the_batch_in_training():
    projector = Projector(6, 10, 4).train()
    x = torch.randn(5, 6)
    hidden = F.linear(x, projector.linear_hidden[0].weight[..., 0], projector.linear_hidden[0].bias)
    normed = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, unbiased=False) + 1e-5).sqrt()
    expected = F.linear(
        normed.relu(), projector.linear_out.weight[..., 0], projector.linear_out.bias
    )
    torch.testing.assert_close(projector(x), expected, atol=1e-5, rtol=1e-4)
