"""Blocks of a ViT with adapters: the convolution beside a layer, the value path, positions."""

import pytest
import torch
from timm.models.eva import EvaAttention, EvaBlockPostNorm
from timm.models.vision_transformer import Attention, Block
from torch import nn

from segplugins.projects.umg_clip.convpass import BlockAdapters, Convpass, ConvpassOptions
from segplugins.projects.umg_clip.vit_blocks import run_block, value_path
from segplugins.projects.umg_clip.vit_tower import VisualTokens, resized_positions

GRID = (2, 3)


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def test_an_adapter_is_a_convolution_over_rows_and_columns_and_its_centre_for_prefix_tokens():
    adapter = Convpass(1, ConvpassOptions(width=1, activation="quickgelu", dropout=0.5)).eval()
    with torch.no_grad():
        for layer, weight, bias in ((adapter.down, 2.0, 0.5), (adapter.up, 3.0, -1.0)):
            layer.weight.fill_(weight), layer.bias.fill_(bias)
        adapter.conv.weight.copy_(torch.arange(1.0, 10).view(1, 1, 3, 3) / 10)
        adapter.conv.bias.fill_(0.25)
    tokens = torch.tensor([0.3, -0.2, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 8, 1)  # two first
    hidden = quick_gelu(2 * tokens.flatten() + 0.5)
    patches, sums = hidden[2:].view(2, 3), [0.5 * value + 0.25 for value in hidden[:2]]
    for y in range(2):
        for x in range(3):
            total = 0.25
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < 2 and 0 <= x + dx < 3:
                        total += (3 * (dy + 1) + dx + 2) / 10 * patches[y + dy, x + dx]
            sums.append(total)
    expected = 3 * quick_gelu(torch.stack([torch.as_tensor(value) for value in sums])) - 1
    torch.testing.assert_close(adapter(tokens, GRID).flatten(), expected)


@pytest.mark.parametrize("start", ["identity", "xavier"])
def test_an_adapter_starts_at_zero_with_the_convolution_that_is_asked_for(start):
    torch.manual_seed(0)
    adapter = Convpass(6, ConvpassOptions(width=3, start=start))
    assert not any(part.any() for part in (adapter.up.weight, adapter.up.bias, adapter.down.bias))
    assert not adapter.conv.bias.any() and adapter.down.weight.any()
    centre = adapter.conv.weight[..., 1, 1]
    if start == "identity":
        assert torch.equal(centre, torch.eye(3)) and adapter.conv.weight.sum() == 3
    else:
        assert (
            adapter.conv.weight.abs().max() <= (6 / (2 * 27)) ** 0.5 and adapter.conv.weight.all()
        )
    assert not adapter(torch.randn(1, 7, 6), GRID).any()


def test_the_defaults_are_convpasss():
    options = ConvpassOptions()
    assert (options.width, options.scale, options.dropout) == (8, 0.1, 0.1)
    assert (options.activation, options.start, options.branches) == ("gelu", "identity", "both")
    assert isinstance(Convpass(4, options).activation, nn.GELU)
    assert Convpass(4, options).dropout.p == 0.1
    with pytest.raises(ValueError, match="width of an adapter must be at least 1, got 0"):
        ConvpassOptions(width=0)
    with pytest.raises(ValueError, match=r"branches must be one of \('both', 'attention'\)"):
        ConvpassOptions(branches="mlp")


def trained_adapters(width, **options):
    torch.manual_seed(3)
    adapters = BlockAdapters(width, ConvpassOptions(width=2, dropout=0.0, **options)).eval()
    for module in adapters.modules():
        if isinstance(module, Convpass):
            nn.init.normal_(module.up.weight)
    return adapters


@torch.no_grad()
@pytest.mark.parametrize("branches", ["both", "attention"])
def test_an_adapter_reads_what_its_layer_reads_and_is_added_with_its_scale(branches):
    block = Block(8, 2, init_values=0.5).eval()
    adapters = trained_adapters(8, scale=0.3, branches=branches)
    x = torch.randn(2, 7, 8)
    normed = block.norm1(x)
    first = x + 0.5 * block.attn(normed) + 0.3 * adapters.attention(normed, GRID)
    normed = block.norm2(first)
    expected = first + 0.5 * block.mlp(normed)
    if branches == "both":
        expected = expected + 0.3 * adapters.mlp(normed, GRID)
    else:
        assert adapters.mlp is None
    torch.testing.assert_close(run_block(block, x, None, grid=GRID, adapters=adapters), expected)
    torch.testing.assert_close(run_block(block, x, None, grid=GRID), block(x))


@torch.no_grad()
def test_with_post_norm_an_adapter_reads_the_input_and_stays_outside_of_the_norm():
    block = EvaBlockPostNorm(8, 2).eval()
    nn.init.normal_(block.norm1.weight), nn.init.normal_(block.norm2.weight)
    adapters = trained_adapters(8, scale=2.0)
    x = torch.randn(1, 7, 8)
    first = x + block.norm1(block.attn(x)) + 2 * adapters.attention(x, GRID)
    expected = first + block.norm2(block.mlp(first)) + 2 * adapters.mlp(first, GRID)
    torch.testing.assert_close(run_block(block, x, None, grid=GRID, adapters=adapters), expected)


@torch.no_grad()
@pytest.mark.parametrize(
    "attention",
    [
        nn.MultiheadAttention(8, 2, batch_first=True),
        Attention(8, 2, qkv_bias=True),
        Attention(8, 2, qkv_bias=False),
        EvaAttention(8, 2, qkv_fused=True, scale_norm=False),
        EvaAttention(8, 2, qkv_fused=False, scale_norm=False),
        EvaAttention(8, 2, qkv_bias=False, norm_layer=nn.LayerNorm),
    ],
    ids=["torch", "one projection", "no bias", "biases apart", "three projections", "inner norm"],
)
def test_the_value_path_is_attention_of_every_token_to_itself_alone(attention):
    torch.manual_seed(0)
    for parameter in attention.eval().parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, 8)
    alone = x.flatten(0, 1)[:, None]  # every token in a sequence of its own
    if isinstance(attention, nn.MultiheadAttention):
        expected = attention(alone, alone, alone)[0]
    else:
        expected = attention(alone)
    torch.testing.assert_close(value_path(attention, x), expected.view(2, 5, 8))


def test_positions_keep_their_prefix_and_their_axes_on_another_grid():
    rows = torch.tensor([0.0, 1.0]).repeat_interleave(3)
    columns = torch.tensor([0.0, 1.0, 2.0]).repeat(2)
    cells = torch.stack([rows, columns, torch.full((6,), 7.0)], dim=1)
    prefix = torch.tensor([[-1.0, -2.0, -3.0]])
    embedding = torch.cat([prefix, cells])[None]
    assert resized_positions(embedding, GRID, GRID) is embedding
    larger = resized_positions(embedding, GRID, (4, 3))
    assert larger.shape == (1, 13, 3) and torch.equal(larger[0, 0], prefix[0])
    maps = larger[0, 1:].view(4, 3, 3)
    torch.testing.assert_close(maps[..., 2], torch.full((4, 3), 7.0))
    torch.testing.assert_close(maps[..., 1], torch.tensor([0.0, 1.0, 2.0]).expand(4, 3))
    assert (maps[1:, :, 0] > maps[:-1, :, 0]).all()
    # Symmetric about the middle, as without aligned corners.
    torch.testing.assert_close(maps[:, 0, 0] + maps[:, 0, 0].flip(0), torch.ones(4))
    assert resized_positions(embedding.half(), GRID, (4, 3)).dtype == torch.float16


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_patches_stand_behind_the_prefix_row_by_row(prefix):
    tokens = torch.arange(2.0 * (prefix + 6) * 4).view(2, prefix + 6, 4)
    patches = VisualTokens(tokens, GRID).patches
    assert patches.shape == (2, 4, 2, 3)
    for y in range(2):
        for x in range(3):
            assert torch.equal(patches[:, :, y, x], tokens[:, prefix + 3 * y + x])
