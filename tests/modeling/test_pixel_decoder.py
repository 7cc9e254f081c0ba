"""The pixel decoder: levels, sizes, order, errors. Its numbers are held by tests/parity."""

import pytest
import torch

from segplugins.modeling.pixel_decoder import DeformablePixelDecoder, cell_centres

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
    with pytest.raises(ValueError, match=r"the backbone gives .* but no \['res6'\]"):
        build(refined=("res3", "res6"))
