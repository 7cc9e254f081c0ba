"""Swins of other programs, tiny and random, against detectron2's with their weights."""

import logging

import pytest
import timm
import torch
import torch.nn.functional as F
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin

from segplugins.modeling.swin import build_swin, load_swin, swin_names

DEPTHS, HEADS, WIDTH, WINDOW = [2, 1, 2, 2], [1, 2, 2, 4], 8, 3
# 48, 24, 12 and 6 cells: multiples of the window, and more than one, at every stage.
SIZE = 192


def sizes(**changed):
    keys = {
        "embed_dim": WIDTH,
        "depths": DEPTHS,
        "num_heads": HEADS,
        "window_size": WINDOW,
        "patch_size": 4,
        "drop_path": 0.0,
        "weights": "",
    }
    return {**keys, **changed}


def randomised(model):
    """Every parameter counts: none is 0, and no norm is the identity."""
    torch.manual_seed(11)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return model.eval()


def timm_swin(size=SIZE, **changed):
    options = {"img_size": size, "window_size": WINDOW, "embed_dim": WIDTH, "depths": DEPTHS}
    options |= {"num_heads": HEADS, **changed}
    return randomised(timm.create_model("swin_tiny_patch4_window7_224", **options))


def torchvision_swin():
    sizes = {"embed_dim": WIDTH, "depths": DEPTHS, "num_heads": HEADS, "num_classes": 5}
    return randomised(TorchvisionSwin([4, 4], window_size=[WINDOW, WINDOW], **sizes))


def timm_stages(model, images):
    stages = model.forward_intermediates(images, intermediates_only=True)
    return [stage.permute(0, 2, 3, 1) for stage in stages]


def torchvision_stages(model, images):
    stages = []
    for i, part in enumerate(model.features):
        images = part(images)
        if i % 2:
            stages.append(images)
    return stages


def microsoft_state():
    """As Microsoft saves a classifier: detectron2's names, and more than a backbone has."""
    model = randomised(build_swin(**sizes()))
    state = {k: v for k, v in model.state_dict().items() if k.split(".")[0] not in NORMS}
    mask = {"layers.0.blocks.1.attn_mask": torch.zeros(4, 9, 9)}
    return {**state, **mask, "norm.weight": torch.ones(64), "head.bias": torch.zeros(5)}


NORMS = ("norm0", "norm1", "norm2", "norm3")


@pytest.mark.parametrize(
    "other, stages_of", [(timm_swin, timm_stages), (torchvision_swin, torchvision_stages)]
)
def test_weights_of_another_program_give_its_maps(tmp_path, other, stages_of):
    theirs = other()
    torch.save(theirs.state_dict(), tmp_path / "swin.pth")
    ours = build_swin(**sizes(weights=str(tmp_path / "swin.pth"))).eval()
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        maps, expected = ours(images), stages_of(theirs, images)
    assert len(expected) == 4
    for i, stage in enumerate(expected):
        # Theirs are before a norm, ours behind a new one.
        stage = F.layer_norm(stage, stage.shape[-1:]).permute(0, 3, 1, 2)
        torch.testing.assert_close(maps[f"p{i}"], stage, atol=1e-5, rtol=1e-5)


def test_timm_with_padding_is_another_function():
    # 128 pixels: 32, 16, 8 and 4 cells are no multiples of 3. It shifts before it pads.
    theirs = timm_swin(128, depths=[2, 1, 1, 1])
    ours = build_swin(**sizes(depths=[2, 1, 1, 1])).eval()
    ours.load_state_dict(swin_names(theirs.state_dict())[0], strict=False)
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        stage = timm_stages(theirs, images)[0]
        stage = F.layer_norm(stage, stage.shape[-1:]).permute(0, 3, 1, 2)
        assert (ours(images)["p0"] - stage).abs().max() > 0.1


def test_all_that_a_backbone_has_is_found_and_the_rest_is_named():
    wanted = {k for k in build_swin(**sizes()).state_dict() if not k.endswith("position_index")}
    wanted -= {f"{norm}.{kind}" for norm in NORMS for kind in ("weight", "bias")}
    index = [f"layers.{i}.blocks.{j}.attn.relative_position_index" for i in range(4)
             for j in range(DEPTHS[i])]  # fmt: skip
    renamed, unused = swin_names(microsoft_state())
    assert renamed.keys() == wanted
    assert unused == sorted([*index, "head.bias", "layers.0.blocks.1.attn_mask", "norm.weight"])
    renamed, unused = swin_names(timm_swin().state_dict())
    assert renamed.keys() == wanted
    assert unused == ["head.fc.bias", "head.fc.weight", "norm.bias", "norm.weight"]
    renamed, unused = swin_names(torchvision_swin().state_dict())
    assert renamed.keys() == wanted
    assert {name for name in unused if "index" not in name} == {
        "head.bias", "head.weight", "norm.bias", "norm.weight",
    }  # fmt: skip


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
def test_prefixes_and_timms_names_for_features_are_known(prefix):
    state = timm_swin().state_dict()
    expected, _ = swin_names(state)
    features = {f"{prefix}{k.replace('layers.', 'layers_')}": v for k, v in state.items()}
    renamed, unused = swin_names(features)
    assert renamed.keys() == expected.keys()
    assert f"{prefix}head.fc.bias" in unused


def test_norms_of_a_detector_are_taken(tmp_path):
    torch.manual_seed(0)
    state = {f"backbone.{k}": v for k, v in randomised(build_swin(**sizes())).state_dict().items()}
    torch.save({"state_dict": {**state, "neck.weight": torch.zeros(2)}}, tmp_path / "swin.pth")
    loaded = build_swin(**sizes(weights=str(tmp_path / "swin.pth"))).state_dict()
    assert all(torch.equal(loaded[k.removeprefix("backbone.")], v) for k, v in state.items())


def test_what_is_missing_or_left_over_is_logged_by_name(tmp_path, caplog):
    state = microsoft_state()
    del state["patch_embed.proj.bias"]
    state["layers.0.blocks.0.mlp.fc1.bias"] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "swin.pth")
    model = build_swin(**sizes())
    with caplog.at_level(logging.INFO, "segplugins"):
        load_swin(model, str(tmp_path / "swin.pth"))
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("1 tensors missing: patch_embed.proj.bias" in line for line in warned)
    assert any("layers.0.blocks.0.mlp.fc1.bias (3,) for (32,)" in line for line in warned)
    assert not any("norm0" in line for line in warned)  # expected, and said without a warning
    assert "left as they were built: norm0.bias, norm0.weight" in caplog.text
    assert "unused: head.bias, layers.0.blocks.0.attn.relative_position_index" in caplog.text
    assert torch.equal(model.norm0.weight, torch.ones(WIDTH))


def test_weights_that_are_another_models_are_refused(tmp_path):
    path = tmp_path / "swin.pth"
    with pytest.raises(FileNotFoundError, match="no Swin weights file '.*swin.pth'; give a local"):
        build_swin(**sizes(weights=str(path)))
    torch.save({"stem.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"no Swin: none of its 1 tensors .*\(it has stem.weight"):
        build_swin(**sizes(weights=str(path)))
    torch.save(timm_swin(embed_dim=16).state_dict(), path)
    fits = r"matches \d+ of the \d+ tensors of a Swin of 8 channels, less than half.*attn.proj.bias"
    with pytest.raises(ValueError, match=fits):
        build_swin(**sizes(weights=str(path)))


def test_the_second_version_is_refused(tmp_path):
    second = timm.create_model(
        "swinv2_tiny_window8_256", img_size=64, window_size=2, embed_dim=8, num_heads=HEADS
    )
    torch.save(second.state_dict(), tmp_path / "swin.pth")
    with pytest.raises(ValueError, match="holds no Swin: .*not of Swin V2"):
        build_swin(**sizes(weights=str(tmp_path / "swin.pth")))


@pytest.mark.parametrize("patch", [2, 4])
def test_shapes_are_those_of_the_maps(patch):
    model = build_swin(**sizes(patch_size=patch)).eval()
    maps = model(torch.zeros(1, 3, 64, 96))
    for i in range(4):
        shape, stride = model.output_shape()[f"p{i}"], patch * 2**i
        assert (shape.channels, shape.stride) == (8 * 2**i, stride)
        assert maps[f"p{i}"].shape == (1, shape.channels, 64 // stride, 96 // stride)
    assert model.size_divisibility == 8 * patch


def test_paths_are_dropped_as_configured():
    model = build_swin(**sizes(drop_path=0.3))
    assert model.layers[3].blocks[1].drop_path.drop_prob == pytest.approx(0.3)
    assert isinstance(model.layers[0].blocks[0].drop_path, torch.nn.Identity)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"depths": [2, 2]}, r"SWIN.DEPTHS must be 4 numbers .* got \[2, 2\]"),
        ({"num_heads": [3, 2, 2, 4]}, "8 channels of stage 0 do not part into 3 heads"),
        ({"patch_size": 0}, "SWIN.PATCH_SIZE must be at least 1, got 0"),
        ({"drop_path": 1.0}, r"SWIN.DROP_PATH must lie in \[0, 1\), got 1.0"),
    ],
)
def test_a_config_that_gives_no_swin_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        build_swin(**sizes(**changed))


def test_windows_and_patches_of_one_cell_are_the_smallest():
    with pytest.raises(ValueError, match="SWIN.WINDOW_SIZE must be at least 1, got 0"):
        build_swin(**sizes(window_size=0))
    shapes = build_swin(**sizes(window_size=1, patch_size=1)).output_shape()
    assert [shape.stride for shape in shapes.values()] == [1, 2, 4, 8]
    assert [shape.channels for shape in shapes.values()] == [8, 16, 32, 64]
