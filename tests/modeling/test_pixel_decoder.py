"""The pixel decoder: levels, sizes, order, errors. Its numbers are held by tests/parity."""

import pytest
import torch

from segplugins.modeling.pixel_decoder import (
    DeformablePixelDecoder,
    EncoderLayer,
    cell_centres,
)
from segplugins.modeling.positions import sine_positions_2d

CHANNELS = {"res2": 4, "res3": 6, "res4": 8, "res5": 10}


def build(**changes):
    options = {
        "finest": "res2",
        "refined": ("res3", "res4", "res5"),
        "extra_levels": 1,
        "width": 32,
        "mask_width": 5,
        "layers": 1,
        "feed_forward": 16,
        "heads": 4,
        "points": 2,
        **changes,
    }
    return DeformablePixelDecoder(CHANNELS, **options)


def features(height=52, width=68):
    """Maps of strides 4 to 32 of a picture whose sides no stride divides."""
    sizes = [(-(-height // stride), -(-width // stride)) for stride in (4, 8, 16, 32)]
    return {
        name: torch.randn(2, channels, *size)
        for (name, channels), size in zip(CHANNELS.items(), sizes)
    }


@pytest.mark.parametrize(
    "refined, extra_levels, sizes",
    [
        (("res3", "res4", "res5"), 0, [(7, 9), (4, 5), (2, 3)]),
        (("res3", "res4", "res5"), 1, [(7, 9), (4, 5), (2, 3), (1, 2)]),
        (("res2", "res3", "res4", "res5"), 1, [(13, 17), (7, 9), (4, 5), (2, 3), (1, 2)]),
        (("res5",), 2, [(2, 3), (1, 2), (1, 1)]),
    ],
)
@pytest.mark.parametrize("order", ["fine_to_coarse", "coarse_to_fine"])
def test_levels_come_in_the_order_asked_for(refined, extra_levels, sizes, order):
    decoder = build(refined=refined, extra_levels=extra_levels, order=order)
    result = decoder(features())
    found = [tuple(level.shape[-2:]) for level in result.levels]
    assert found == (sizes if order == "fine_to_coarse" else sizes[::-1])
    assert result.mask_features.shape == (2, 5, 13, 17)


def test_every_parameter_gets_a_gradient():
    decoder = build()
    result = decoder(features())
    (result.mask_features.sum() + sum(level.square().sum() for level in result.levels)).backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None] == []


def test_it_computes_in_float32_under_autocast():
    decoder = build().eval()
    maps = features()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = decoder(maps)
    with torch.no_grad():
        plain = decoder(maps)
    assert mixed.mask_features.dtype == torch.float32
    assert torch.equal(mixed.mask_features, plain.mask_features)


def test_cells_are_referred_to_by_their_centres():
    centres = cell_centres([(1, 2), (2, 1)], torch.device("cpu"))
    assert centres.tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]


def test_unknown_orders_and_maps_are_errors():
    with pytest.raises(ValueError, match="order must be one of .* got 'official'"):
        build(order="official")
    with pytest.raises(ValueError, match="HIDDEN_DIM is 40, expected a multiple of 32"):
        build(width=40)
    with pytest.raises(ValueError, match=r"the backbone gives .* but no \['res6'\]"):
        build(refined=("res3", "res6"))


@pytest.mark.parametrize("order", ["fine_to_coarse", "coarse_to_fine"])
def test_without_layers_levels_are_projections_and_extra_ones_of_the_coarsest_map(order):
    decoder = build(layers=0, extra_levels=2, order=order)
    maps = features()
    levels = decoder(maps).levels
    names = ["res3", "res4", "res5"]
    if order == "coarse_to_fine":
        levels, names = levels[::-1], names[::-1]
    for layer, name in zip(decoder.input_proj, names):
        place = ["res3", "res4", "res5"].index(name)
        torch.testing.assert_close(levels[place], layer(maps[name]))
    first = decoder.input_proj[3](maps["res5"])
    torch.testing.assert_close(levels[3], first)
    torch.testing.assert_close(levels[4], decoder.input_proj[4](first))


@pytest.mark.parametrize("order", ["fine_to_coarse", "coarse_to_fine"])
def test_mask_features_are_made_of_the_finest_map_and_the_finest_level(order):
    decoder = build(layers=0, order=order)
    maps = features()
    levels = decoder(maps).levels
    finest = levels[0] if order == "fine_to_coarse" else levels[-1]
    lateral = decoder.lateral(maps["res2"])
    assert finest.shape[-2:] == (7, 9) and lateral.shape[-2:] == (13, 17)
    upsampled = torch.nn.functional.interpolate(finest, (13, 17), mode="bilinear")
    expected = decoder.mask_features(decoder.output(lateral + upsampled).relu())
    torch.testing.assert_close(decoder(maps).mask_features, expected)


def test_convolutions_before_the_mask_features_have_no_bias_and_the_others_start_at_zero():
    decoder = build()
    assert decoder.lateral[0].bias is None and decoder.output[0].bias is None
    biases = [layer[0].bias for layer in decoder.input_proj] + [decoder.mask_features.bias]
    assert all(bias is not None and not bias.any() for bias in biases)
    assert [layer[0].kernel_size for layer in decoder.input_proj] == [(1, 1)] * 3 + [(3, 3)]
    assert [layer[0].stride for layer in decoder.input_proj] == [(1, 1)] * 3 + [(2, 2)]
    assert {layer[1].num_groups for layer in decoder.input_proj} == {32}


class Recorder(torch.nn.Module):
    """Stands in for an attention: keeps its arguments and returns a fixed answer."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, queries, references, values, shapes):
        self.arguments = queries, references, values, shapes
        return self.answer


def test_an_encoder_layer_adds_and_norms_after_each_part():
    torch.manual_seed(0)
    layer = EncoderLayer(8, feed_forward=12, dropout=0.0, levels=1, heads=2, points=2)
    answer, cells, positions = torch.randn(2, 6, 8), torch.randn(2, 6, 8), torch.randn(1, 6, 8)
    layer.self_attn = Recorder(answer)
    references = torch.rand(1, 6, 1, 2)
    result = layer(cells, positions, references, [(2, 3)])
    queries, places, values, shapes = layer.self_attn.arguments
    torch.testing.assert_close(queries, cells + positions)  # values go without positions
    assert torch.equal(values, cells) and shapes == [(2, 3)]
    assert torch.equal(places, references.expand(2, -1, -1, -1))
    middle = torch.nn.functional.layer_norm(cells + answer, (8,))
    hidden = layer.linear2(layer.linear1(middle).relu())
    torch.testing.assert_close(result, torch.nn.functional.layer_norm(middle + hidden, (8,)))


def test_each_level_has_an_embedding_of_its_own_in_the_positions():
    decoder = build(refined=("res5",), extra_levels=1)
    with torch.no_grad():
        decoder.level_embed[0] = 100.0
        decoder.level_embed[1] = 200.0
    stub = decoder.layers[0].self_attn = Recorder(torch.zeros(2, 6 + 2, 32))
    maps = features()
    decoder(maps)
    projected = torch.cat(
        [
            decoder.input_proj[0](maps["res5"]).flatten(2).transpose(1, 2),
            decoder.input_proj[1](maps["res5"]).flatten(2).transpose(1, 2),
        ],
        dim=1,
    )
    codes = (stub.arguments[0] - projected)[0]
    expected = [
        sine_positions_2d(32, 2, 3, offset=1.0).flatten(1).T + 100,
        sine_positions_2d(32, 1, 2, offset=1.0).flatten(1).T + 200,
    ]
    torch.testing.assert_close(codes, torch.cat(expected), atol=1e-4, rtol=0)
    assert stub.arguments[1].shape == (2, 8, 2, 2)  # each cell has its place on both levels
