"""CLIP's towers: the right parts, weights that fit or are named, nothing from a file is run."""

import logging
import pickle

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segplugins.clip import TextTower, fingerprint, load_clip
from segplugins.files.tensors import read_state_dict

NAME = "convnext_drawn"


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return load_clip(NAME)


def as_open_clip(towers):
    """The state dict that open_clip's own model of these towers would have."""
    state = {f"visual.{key}": value for key, value in towers.visual.state_dict().items()}
    state.update(towers.text.state_dict())
    return {**state, "logit_scale": towers.logit_scale.data}


def states_equal(a, b):
    return all(torch.equal(a[key], b[key]) for key in a | b)


def test_the_drawn_model_has_total_stride_16(towers):
    assert towers.embed_dim == 64 and towers.context_length == 77
    assert towers.image_size == (128, 128)
    assert towers.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-4)
    trunk = towers.visual.trunk
    x = trunk.stem(torch.zeros(1, 3, 96, 64))
    for stage, info in zip(trunk.stages, trunk.feature_info):
        x = stage(x)
        assert x.shape[1:] == (info["num_chs"], 96 // info["reduction"], 64 // info["reduction"])
    assert [info["reduction"] for info in trunk.feature_info] == [2, 4, 8, 16]
    assert towers.visual(torch.zeros(2, 3, 96, 64)).shape == (2, 64)


@pytest.mark.parametrize("name", ["ViT-B-32", "EVA02-B-16"])
def test_the_text_tower_gives_what_open_clip_gives(name):
    """Once with the tower on the model itself, once as a part of its own; both with 12 layers."""
    torch.manual_seed(0)
    towers = load_clip(name)
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    texts = ["a photo of a cat", "two", "an unbelievably long-winded phrase, of many words"]
    tokens = open_clip.get_tokenizer(name)(texts)
    assert torch.equal(towers.tokenize(texts), tokens)
    with torch.no_grad():
        expected = model.encode_text(tokens)
        pooled, hidden = towers.text(tokens[:, :20])
        full, _ = towers.text(tokens)
    torch.testing.assert_close(full, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
    assert hidden.shape == (3, 20, 512) and towers.embed_dim == 512


def test_everything_is_in_evaluation_mode_and_float32(towers):
    for module in (towers.visual, towers.text):
        assert not any(part.training for part in module.modules())
        assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_text_longer_than_the_context_keeps_its_end_token(towers):
    (row,) = towers.tokenize(["word " * 200])
    assert row[0] == 49406 and row[-1] == 49407 and (row[1:-1] == towers.encode("word")[1]).all()
    assert len(towers.encode("word " * 200)) == 202


def test_reading_stops_at_the_first_end_token(towers):
    assert towers.encode("a cat<end_of_text> and a dog") == towers.encode("a cat")


def test_random_weights_follow_the_callers_seed():
    torch.manual_seed(3)
    first = load_clip(NAME)
    torch.manual_seed(3)
    assert states_equal(as_open_clip(first), as_open_clip(load_clip(NAME)))


def test_building_says_nothing_and_leaves_logging_alone(capfd):
    handlers, disabled = list(logging.root.handlers), logging.root.manager.disable
    load_clip(NAME)
    assert logging.root.handlers == handlers and logging.root.manager.disable == disabled
    assert capfd.readouterr() == ("", "")


def test_drop_and_drop_path_replace_those_of_open_clip():
    stock = load_clip("convnext_base")
    assert stock.visual.trunk.stages[3].blocks[-1].drop_path.drop_prob == pytest.approx(0.1)
    ours = load_clip("convnext_base", drop=0.25, drop_path=0.0)
    assert isinstance(ours.visual.trunk.stages[3].blocks[-1].drop_path, nn.Identity)
    assert ours.visual.head.drop.p == 0.25
    with pytest.raises(ValueError, match="'ViT-B-32' has no timm image tower"):
        load_clip("ViT-B-32", drop=0.1)


def test_the_fingerprint_changes_with_name_weights_and_nothing_else(towers):
    before = towers.fingerprint
    assert before == towers.fingerprint and len(before) == 16
    assert fingerprint("other", towers.text) != before
    with torch.no_grad():
        towers.text.ln_final.bias[3] += 1e-6
        assert towers.fingerprint != before
        towers.text.ln_final.bias[3] = 0
    assert towers.fingerprint == before


# Weights


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_local_weights_are_loaded_whatever_they_are_wrapped_in(tmp_path, towers, suffix):
    path = tmp_path / f"clip{suffix}"
    state = as_open_clip(towers)
    if suffix == ".safetensors":
        save_file(state, str(path))
    else:
        wrapped = {
            ".pt": {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
            ".pth": {"model": state, "iteration": 5},
            ".bin": state,
        }
        torch.save(wrapped[suffix], path)
    torch.manual_seed(1)
    assert states_equal(as_open_clip(load_clip(NAME, str(path))), state)


def test_towers_with_a_text_part_of_their_own_are_loaded_too(tmp_path, towers):
    state = {f"visual.{k}": v for k, v in towers.visual.state_dict().items()}
    state |= {f"text.{k}": v for k, v in towers.text.state_dict().items()}
    torch.save({**state, "logit_scale": towers.logit_scale.data[None]}, tmp_path / "x.pth")
    loaded = load_clip(NAME, str(tmp_path / "x.pth"))
    assert states_equal(as_open_clip(loaded), as_open_clip(towers))


def test_what_does_not_fit_is_named(tmp_path, towers, caplog):
    state = as_open_clip(towers)
    del state["ln_final.bias"]
    state["text_projection"] = torch.zeros(64, 32)
    state["visual.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "x.pth")
    with caplog.at_level(logging.INFO):
        load_clip(NAME, str(tmp_path / "x.pth"))
    assert "1 tensors missing: text.ln_final.bias" in caplog.text
    assert "of another shape: text.text_projection (64, 32) for (64, 64)" in caplog.text
    assert "1 tensors unexpected: visual.extra" in caplog.text


def test_another_models_weights_are_an_error(tmp_path):
    torch.save({f"layer{i}.weight": torch.zeros(1) for i in range(9)}, tmp_path / "x.pth")
    message = "matches 0 of the .* tensors of 'convnext_drawn', less than half.*layer0.weight"
    with pytest.raises(ValueError, match=message):
        load_clip(NAME, str(tmp_path / "x.pth"))


class Evil:
    def __reduce__(self):
        return (open, ("executed.txt", "w"))


def test_a_checkpoint_never_runs_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"a": torch.zeros(1)}, "hook": Evil()}, "evil.pth")
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "evil.bin"):
        with pytest.raises(ValueError, match=f"{name}' cannot be read as plain.*convert_checkp"):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "executed.txt").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_archive_is_refused_with_the_way_out(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / "openai.pt"))
    with pytest.raises(ValueError, match="TorchScript archive.*python tools/convert_checkpoint"):
        load_clip(NAME, str(tmp_path / "openai.pt"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_an_error_of_one_line(tmp_path, content, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="bad") as error:
        read_state_dict(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_without_tensors_is_an_error(tmp_path):
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        read_state_dict(tmp_path / "x.pth")


# Names and tags, before anything is built or downloaded


@pytest.mark.parametrize(
    "name, weights, error, message",
    [
        ("convnext_drwan", "", ValueError, "unknown CLIP model 'convnext_drwan'.*convnext_drawn"),
        ("ViT-B-16-SigLIP", "", ValueError, "is not CLIP's causal one"),
        (NAME, "openai", ValueError, "'openai' of CLIP model 'convnext_drawn'. Known tags: none"),
        ("convnext_base_w_320", "laion", ValueError, "Known tags: .*laion_aesthetic_s13b_b82k"),
        (NAME, "no/such.pth", FileNotFoundError, "no CLIP weights file 'no/such.pth'"),
        ("ViT-B-16", "openai", ValueError, "another activation.*choose 'ViT-B-16-quickgelu'"),
    ],
)
def test_wrong_names_are_told_before_any_download(monkeypatch, name, weights, error, message):
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: pytest.fail("built a model"))
    with pytest.raises(error, match=message):
        load_clip(name, weights)


def test_a_download_that_fails_says_how_to_do_without(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no network")

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(RuntimeError, match="no network.*its path as MODEL.CLIP.WEIGHTS"):
        load_clip("ViT-B-32", "laion2b_s34b_b79k")


def test_a_tag_is_handed_to_open_clip(monkeypatch):
    seen = {}
    build = open_clip.create_model

    def record(name, pretrained, **kwargs):
        seen.update(kwargs, pretrained=pretrained)
        return build(name, **{k: v for k, v in kwargs.items() if k == "vision_cfg"})

    monkeypatch.setattr(open_clip, "create_model", record)
    load_clip("ViT-B-32", "laion2b_s34b_b79k")
    assert seen["pretrained"] == "laion2b_s34b_b79k" and seen["weights_only"] is True


def test_a_tower_of_any_causal_source_can_be_walked():
    source = open_clip.model.TextTransformer(width=32, heads=2, layers=1, output_dim=None)
    tower = TextTower(source)
    tokens = torch.tensor([[49406, 5, 49407]])
    pooled, hidden = tower(tokens)
    assert torch.equal(pooled, hidden[:, 2]) and hidden.shape == (1, 3, 32)


def test_a_file_of_the_image_tower_alone_is_refused(towers, tmp_path):
    """More than half of the tensors fit, and the text tower would stay random."""
    state = {k: v for k, v in as_open_clip(towers).items() if k.startswith("visual.")}
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(ValueError, match="no weight of the text tower of 'convnext_drawn'"):
        load_clip(NAME, str(tmp_path / "half.pth"))
