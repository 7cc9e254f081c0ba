"""The image tower of a CLIP as a backbone."""

import pytest
import torch
from detectron2.config import CfgNode
from torch.nn import functional as F

from segplugins.clip import load_clip
from segplugins.modeling.clip_backbone import ClipBackbone
from segplugins.modeling.dense_convnext import DenseConvNeXt
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
def test_one_cell_is_what_the_tower_says_of_the_picture(towers):
    picture = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    cell = ClipBackbone(towers).eval()(picture)["res5"]
    assert cell.shape == (3, towers.embed_dim, 1, 1)
    expected = F.normalize(towers.visual(picture), dim=1) * towers.embed_dim**0.5
    torch.testing.assert_close(cell[..., 0, 0], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_finer_maps_are_the_stages_and_the_last_has_unit_mean_square(towers, images):
    maps = ClipBackbone(towers).eval()(images)
    stages = DenseConvNeXt(towers.visual).eval()(images)[1]
    for name in ("res2", "res3", "res4"):
        assert torch.equal(maps[name], stages[name])
    torch.testing.assert_close(maps["res5"].square().mean(dim=1), torch.ones(2, 2, 3))


def test_it_says_what_it_gives(towers, images):
    backbone = ClipBackbone(towers).eval()
    shapes = backbone.output_shape()
    for name, maps in backbone(images).items():
        stride = shapes[name].stride
        assert maps.shape == (2, shapes[name].channels, 32 // stride, 48 // stride)
    assert shapes["res5"].channels == towers.embed_dim


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
