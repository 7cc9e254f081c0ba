"""tools/convert_checkpoint.py as a user calls it, on small files of the official structure."""

import importlib.util
from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from detectron2.modeling import build_model

from segplugins.clip import load_clip
from segplugins.engine import setup_cfg
from segplugins.engine.checkpoint import load_weights
from segplugins.modeling.swin import build_swin
from segplugins.projects import load_projects
from segplugins.projects.querymeldnet import weights
from segplugins.projects.sed import add_config
from segplugins.projects.sed.weights import official_name

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / "configs" / "sed" / "tiny.yaml")

_spec = importlib.util.spec_from_file_location(
    "convert_checkpoint", ROOT / "tools" / "convert_checkpoint.py"
)
convert_checkpoint = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(convert_checkpoint)


@pytest.fixture
def convert(tmp_path, capsys):
    """Calls the tool; returns what it printed and the file it wrote."""

    def call(content, *options):
        source, target = tmp_path / "in.pth", tmp_path / "made" / "out.pth"
        if content is not None:
            torch.save(content, source)
        parser = convert_checkpoint.parser()
        convert_checkpoint.main(parser.parse_args([str(source), str(target), *options]))
        return capsys.readouterr().out, str(target)

    return call


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    opts = ["MODEL.DEVICE", "cpu"]
    return build_model(setup_cfg(Namespace(config_file=TINY, opts=opts), [add_config]))


def official(model):
    state = {official_name(name): value for name, value in model.state_dict().items()}
    return {**state, "sem_seg_head.predictor.clip_model.logit_scale": torch.tensor(4.6)}


def test_an_official_checkpoint_becomes_one_for_this_model(model, convert):
    content = {"model": official(model), "iteration": 79999}
    printed, target = convert(content, "--config-file", TINY)
    count = len(model.state_dict())
    assert f"{count + 1} tensors, read as sed" in printed
    assert f"{count} of {count} tensors" in printed
    # The one that SED has no use for is named.
    assert "1 unknown to the model: sem_seg_head.predictor.clip_model.logit_scale" in printed
    torch.manual_seed(4)
    opts = ["MODEL.DEVICE", "cpu"]
    other = build_model(setup_cfg(Namespace(config_file=TINY, opts=opts), [add_config]))
    assert load_weights(other, target).missing == []
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_weights_that_a_config_begins_with_are_not_needed(model, convert, tmp_path):
    config = tmp_path / "begins.yaml"
    config.write_text(f"_BASE_: {TINY}\nMODEL: {{WEIGHTS: a.pth, CLIP: {{WEIGHTS: b.pth}}}}\n")
    printed, _ = convert({"model": official(model)}, "--config-file", str(config))
    assert f"{len(model.state_dict())} of {len(model.state_dict())} tensors" in printed


def test_tensors_that_do_not_fit_are_named_and_left_out(model, convert):
    state = official(model)
    prefix = "sem_seg_head.predictor.transformer."
    state[f"{prefix}head.bias"] = torch.zeros(2)
    del state[f"{prefix}conv1.bias"]
    printed, target = convert({"model": state}, "--config-file", TINY)
    assert "1 missing in the checkpoint: decoder.embedding.bias" in printed
    assert "1 of another shape: decoder.head.bias (2,) for (1,)" in printed
    written = torch.load(target)["model"]
    assert len(written) == len(model.state_dict()) - 2


def test_a_checkpoint_of_another_model_is_an_error_and_writes_nothing(model, convert, tmp_path):
    few = dict(list(official(model).items())[:40])
    with pytest.raises(ValueError, match="the checkpoint fits .* less than half"):
        convert({"model": few}, "--config-file", TINY)
    with pytest.raises(
        (ValueError, FileNotFoundError),
        match="neither the names of a CLIP nor of one of the papers",
    ):
        convert({"backbone.weight": torch.zeros(1)})
    with pytest.raises(FileNotFoundError, match="does not exist"):
        (tmp_path / "in.pth").unlink()
        convert(None)
    assert not list((tmp_path / "made").glob("*"))


def test_a_clip_of_another_program_becomes_one_that_load_clip_takes(convert):
    torch.manual_seed(5)
    towers = load_clip("convnext_drawn")
    # As a data-parallel trainer saves it: in half precision, with text parts at the top.
    content = {f"module.visual.{k}": v.half() for k, v in towers.visual.state_dict().items()}
    content |= {f"module.{k}": v.half() for k, v in towers.text.state_dict().items()}
    content |= {"module.logit_scale": towers.logit_scale.data, "module.step": torch.tensor(7)}
    printed, target = convert({"state_dict": content}, "--name", "convnext_drawn")
    assert "read as clip" in printed and "1 that a CLIP does not have: step" in printed
    torch.manual_seed(6)
    loaded = load_clip("convnext_drawn", target)
    for name, value in towers.visual.state_dict().items():
        got = loaded.visual.state_dict()[name]
        torch.testing.assert_close(got, value, rtol=1e-3, atol=1e-4)  # half precision


def test_a_clip_of_another_size_is_an_error(convert, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match="less than half"):
        convert({"visual.conv1.weight": torch.zeros(1)}, "--name", "convnext_drawn")
    assert not list((tmp_path / "made").glob("*"))


def test_a_swin_of_another_program_becomes_one_that_build_swin_takes(convert):
    torch.manual_seed(7)
    sizes = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2}
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=64,
        **sizes,
    ).state_dict()
    printed, target = convert({"state_dict": {f"module.{k}": v for k, v in theirs.items()}})
    assert "read as swin" in printed
    assert "4 that a backbone does not have: module.head.fc.bias" in printed
    ours = build_swin(patch_size=4, drop_path=0.0, weights=str(target), **sizes).state_dict()
    # timm merges patches before a stage, detectron2 behind the one before it.
    merge = "downsample.reduction.weight"
    assert torch.equal(ours[f"layers.0.{merge}"], theirs[f"layers.1.{merge}"])
    assert torch.load(target).keys() <= ours.keys()


def test_what_is_no_swin_is_not_taken_for_one(convert):
    with pytest.raises(ValueError, match="holds no Swin .*begins with .'backbone.weight'"):
        convert({"backbone.weight": torch.zeros(1)}, "--kind", "swin")


def test_it_never_writes_over_its_input_nor_over_another_file_unasked(convert, tmp_path, model):
    source = tmp_path / "in.pth"
    torch.save({"visual.stem.0.bias": torch.ones(2)}, source)
    before = source.read_bytes()
    (tmp_path / "link.pth").symlink_to(source)
    for target in (source, tmp_path / "link.pth", tmp_path / "made" / ".." / "in.pth"):
        (tmp_path / "made").mkdir(exist_ok=True)
        args = convert_checkpoint.parser().parse_args([str(source), str(target), "--overwrite"])
        with pytest.raises(ValueError, match="is the input itself; name another file"):
            convert_checkpoint.main(args)
    assert source.read_bytes() == before
    other = tmp_path / "made" / "out.pth"
    other.write_text("precious")
    content = {"model": official(model)}
    with pytest.raises(ValueError, match="exists; name another file, or replace it with --overw"):
        convert(content, "--config-file", TINY)
    assert other.read_text() == "precious"
    convert(content, "--config-file", TINY, "--overwrite")
    assert torch.load(other)["model"]


def test_an_unknown_kind_and_a_folder_as_output_are_errors(convert, tmp_path):
    with pytest.raises(ValueError, match="--kind 'sad': expected clip, swin or one of .*sed"):
        convert({"a": torch.ones(1)}, "--kind", "sad")
    (tmp_path / "made" / "out.pth").mkdir(parents=True)
    with pytest.raises(ValueError, match="is a folder; name the .pth file"):
        convert({"a": torch.ones(1)})


def tiny_model(paper):
    config = str(ROOT / "configs" / paper / "tiny.yaml")
    add_configs = [each.add_config for each in load_projects().values()]
    cfg = setup_cfg(Namespace(config_file=config, opts=["MODEL.DEVICE", "cpu"]), add_configs)
    return build_model(cfg), config


def test_groupvits_checkpoint_becomes_a_cocu(convert):
    model, config = tiny_model("cocu")
    state = model.state_dict()
    printed, target = convert({"model": {**state, "epoch": torch.ones(1)}}, "--config-file", config)
    assert "read as cocu" in printed and f"{len(state)} of {len(state)} tensors" in printed
    assert "1 unknown to the model: epoch" in printed
    written = torch.load(target)["model"]
    assert all(torch.equal(written[name], value) for name, value in state.items())


def test_a_groupvit_of_another_width_names_what_is_released(convert):
    model, _ = tiny_model("cocu")  # 32 channels
    with pytest.raises(ValueError, match="no released GroupViT .*32 channels .*384.*--config-file"):
        convert({"model": model.state_dict()})


def test_mask_dinos_checkpoint_begins_a_querymeldnet_without_its_classes(convert):
    model, config = tiny_model("querymeldnet")
    names = weights._NAMES
    state = {names.official(name): value for name, value in model.state_dict().items()}
    head = "sem_seg_head.predictor.class_embed.weight"
    printed, target = convert(
        {"model": {**state, head: torch.ones(80, 4)}}, "--config-file", config
    )
    assert "read as querymeldnet" in printed and head in printed
    written = torch.load(target)["model"]
    layers = [name for name in model.state_dict() if name.startswith("decoder.layers.")]
    assert layers and all(torch.equal(written[n], model.state_dict()[n]) for n in layers)
    with pytest.raises(ValueError, match="no QueryMeldNet is released; name the config"):
        weights.config_file(state)
