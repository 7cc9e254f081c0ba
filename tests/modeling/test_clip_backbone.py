"""The image tower of a CLIP as a backbone."""

import pytest
import torch
from detectron2.config import CfgNode

from segplugins.clip import load_clip
from segplugins.modeling.clip_backbone import ClipBackbone
from segplugins.modeling.named_backbone import named_backbone, pixel_statistics
from segplugins.modeling.timm_backbone import TimmBackbone


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return load_clip("convnext_drawn")


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_its_last_map_is_what_the_tower_pools(towers, images):
    maps = ClipBackbone(towers).eval()(images)
    pooled = towers.visual.trunk.head(maps["res5"])
    torch.testing.assert_close(towers.visual.head(pooled), towers.visual(images))


def test_every_weight_takes_part(towers, images):
    backbone = ClipBackbone(towers)
    sum(maps.sum() for maps in backbone(images).values()).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_it_says_what_it_gives(towers, images):
    backbone = ClipBackbone(towers).eval()
    shapes = backbone.output_shape()
    for name, maps in backbone(images).items():
        stride = shapes[name].stride
        assert maps.shape == (2, shapes[name].channels, 32 // stride, 48 // stride)
    assert backbone.size_divisibility == 16


def test_pixels_are_normalised_as_the_clip_wants_them(towers):
    mean, std = pixel_statistics(ClipBackbone(towers), [1, 2, 3], [4, 5, 6])
    assert mean == pytest.approx([255 * value for value in towers.image_mean])
    assert std == pytest.approx([255 * value for value in towers.image_std])
    assert pixel_statistics(torch.nn.Identity(), [1, 2, 3], [4, 5, 6]) == ([1, 2, 3], [4, 5, 6])


def test_another_kind_of_tower_is_refused_with_a_name_that_fits():
    with pytest.raises(ValueError, match="ConvNeXt of 4 stages.*convnext_base_w_320"):
        ClipBackbone(load_clip("eva_drawn"))


def test_backbones_have_names(towers):
    def named(name, weights=""):
        node = CfgNode({"NAME": name, "WEIGHTS": weights})
        return named_backbone(node, "MODEL.X", towers=towers, own=["swin"])

    assert isinstance(named("clip"), ClipBackbone)
    assert isinstance(named("timm/resnet10t"), TimmBackbone)
    with pytest.raises(ValueError, match="MODEL.X.NAME is 'cilp'; known are 'swin', 'clip'"):
        named("cilp")
    with pytest.raises(ValueError, match="MODEL.X.WEIGHTS is 'a.pth'.*are MODEL.CLIP.WEIGHTS"):
        named("clip", "a.pth")
