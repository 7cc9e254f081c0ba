"""Reading other programs' checkpoints, and telling what of them fits."""

import collections
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segplugins.engine.convert import Renaming, clip_names, fit, read_tensors


class RunsCode:
    """Unpickling it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("was-here",)


def test_tensors_are_read_from_every_usual_form(tmp_path):
    weights = {"a": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)}
    forms = {
        "bare.pth": weights,
        "model.pth": {"model": weights, "iteration": 5, "best": np.float64(1.5)},
        "state.pt": {"state_dict": collections.OrderedDict(weights), "epoch": 1},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / name)
    save_file(weights, tmp_path / "safe.safetensors")
    for name in (*forms, "safe.safetensors"):
        read = read_tensors(str(tmp_path / name))
        assert read.keys() == {"a", "n"}, name
        # Half precision is for the file; whole numbers stay what they are.
        assert read["a"].dtype == torch.float32 and read["n"].dtype == torch.int64
        assert read["a"].tolist() == [1.0, 1.0]


def test_no_code_from_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(1), "x": RunsCode()}, "evil.pth")
    with pytest.raises(ValueError, match="cannot be read as plain tensors.*--unsafe"):
        read_tensors("evil.pth")
    assert not os.path.exists("was-here")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # OpenAI's files stay such
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_program_is_read_only_where_it_is_trusted(tmp_path):
    path = str(tmp_path / "program.pt")
    torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)), path)
    with pytest.raises(ValueError, match="TorchScript archive, which is a program.*--unsafe"):
        read_tensors(path)
    assert read_tensors(path, unsafe=True).keys() == {"weight", "bias"}


def test_a_file_that_is_missing_or_holds_no_tensor_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint 'nowhere.pth' does not exist"):
        read_tensors("nowhere.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        read_tensors(str(tmp_path / "empty.pth"))


def test_names_of_a_clip_and_of_a_bare_trunk_become_open_clips():
    value = torch.zeros(1)
    openai = {"visual.conv1.weight": value, "ln_final.bias": value, "input_resolution": value}
    assert clip_names(openai) == (
        {"visual.conv1.weight": value, "ln_final.bias": value},
        ["input_resolution"],
    )
    parallel = {f"module.{name}": value for name in ("visual.proj", "logit_scale")}
    assert clip_names(parallel)[0].keys() == {"visual.proj", "logit_scale"}
    trunk = {"stem.0.weight": value, "stages.0.blocks.0.gamma": value, "head.fc.weight": value}
    assert clip_names(trunk) == (
        {
            "visual.trunk.stem.0.weight": value,
            "visual.trunk.stages.0.blocks.0.gamma": value,
        },
        ["head.fc.weight"],
    )


def test_every_misfit_is_named():
    wanted = {name: torch.zeros(2) for name in "abcd"}
    found = fit(
        {"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(3), "x": torch.zeros(1)},
        wanted,
        unused=["y"],
    )
    assert found.fitting == ["a", "b"]
    assert found.report() == [
        "1 missing in the checkpoint: d",
        "2 unknown to the model: x, y",
        "1 of another shape: c (3,) for (2,)",
    ]


def test_less_than_half_of_the_model_is_an_error():
    wanted = {name: torch.zeros(2) for name in "abcd"}
    assert fit({"a": torch.zeros(2), "b": torch.zeros(2)}, wanted).missing == ["c", "d"]
    with pytest.raises(ValueError, match="fits 1 of the model's 4 tensors, less than half"):
        fit({"a": torch.zeros(2)}, wanted)


def test_the_longest_beginning_renames_in_both_directions():
    names = Renaming([("conv.0.", "first."), ("conv.1.", "first.norm."), ("conv.", "rest.")])
    pairs = {"conv.0.weight": "first.weight", "conv.1.bias": "first.norm.bias", "conv.2": "rest.2"}
    for official, ours in pairs.items():
        assert names.ours(official) == ours and names.official(ours) == official
    assert names.ours("head.weight") == names.official("head.weight") == "head.weight"
