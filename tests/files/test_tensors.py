"""Checkpoints: read whole or refused in one line, copied only where they fit and are finite."""

import logging
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from segplugins.files.checkpoint_file import read_checkpoint
from segplugins.files.tensors import (
    check_finite,
    copy_tensors,
    not_finite,
    read_state_dict,
)

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(7)}


def saved(content, path):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE, "iteration": 3},
        {"state_dict": STATE},
        {"model": {"state_dict": STATE}},
        {"module": {"model_state": STATE}, "epoch": 1},
    ],
    ids=["bare", "model", "state_dict", "nested", "nested otherwise"],
)
def test_a_state_dict_is_found_whatever_it_is_wrapped_in(tmp_path, content):
    found = read_state_dict(saved(content, tmp_path / "x.pth"))
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*x\.pth' does not exist"):
        read_state_dict(tmp_path / "x.pth")


@pytest.mark.parametrize("kept", [0, 10, 300, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_an_error_of_one_line(tmp_path, suffix, kept):
    path = tmp_path / f"x{suffix}"
    large = {"weight": torch.randn(50, 50)}
    if suffix == ".pth":
        saved(large, path)
    else:
        save_file(large, str(path))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match="copy or download it again") as error:
        read_state_dict(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"net": STATE}, r"no tensors by name; expected a state dict.*got the keys \[net\]"),
        ({}, "no tensors by name"),
        ([1, 2], "no tensors by name but a list"),
        (torch.zeros(3), "no tensors by name but a Tensor"),
    ],
)
def test_another_content_is_an_error_that_says_what_it_is(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_state_dict(saved(content, tmp_path / "x.pth"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_becomes_that_of_the_model(dtype):
    target = {"weight": torch.zeros(3)}
    copy_tensors({"weight": torch.tensor([1, 2, 4], dtype=dtype)}, target, source="x", target="m")
    assert target["weight"].tolist() == [1.0, 2.0, 4.0] and target["weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "value, dtype",
    [(torch.ones(2, dtype=torch.int8), "torch.int8"), (torch.ones(2).to_sparse(), "torch.float32")],
)
def test_quantised_and_sparse_weights_are_refused(value, dtype):
    target = {"weight": torch.zeros(2)}
    with pytest.raises(ValueError, match=f"x: weight is {dtype}, expected .*float32; quantised"):
        copy_tensors({"weight": value}, target, source="x", target="m")
    assert target["weight"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64])
def test_a_weight_that_is_not_finite_is_refused_by_name(value, dtype):
    bad = torch.ones(4, dtype=dtype)
    bad[2] = value
    weights = {"good": torch.ones(4), "layer.bad": bad, "whole": torch.tensor([1, 2])}
    target = {key: torch.zeros_like(tensor) for key, tensor in weights.items()}
    with pytest.raises(ValueError, match=r"x\.pth: 1 tensors .* not finite: layer\.bad \(1 of 4\)"):
        copy_tensors(weights, target, source="x.pth", target="m")
    assert not target["good"].any()  # nothing was copied
    assert not_finite(weights) == {"layer.bad": 1}


def test_large_finite_values_are_finite():
    """Their sum is not, in their own precision."""
    check_finite(
        {
            "half": torch.full((100,), 6e4, dtype=torch.float16),
            "single": torch.full((100,), 3e38),
            "opposite": torch.tensor([3e38, -3e38]),
            "none": torch.zeros(0),
        },
        source="x",
    )
    opposite = torch.tensor([float("inf"), -float("inf")])
    assert not_finite({"weight": opposite}) == {"weight": 2}


def test_a_tensor_that_the_model_does_not_have_may_be_anything(caplog):
    mask = torch.full((2,), -float("inf"))
    target = {"weight": torch.zeros(2)}
    with caplog.at_level(logging.WARNING):
        copy_tensors({"weight": torch.ones(2), "mask": mask}, target, source="x", target="m")
    assert "1 tensors unexpected: mask" in caplog.text and target["weight"].tolist() == [1.0, 1.0]


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_named_without_torchs_advice_to_run_it(tmp_path, zipped):
    path = tmp_path / "a.pth"
    torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="could run code") as raised:
        read_checkpoint(path)
    assert "weights_only" not in str(raised.value)


def test_a_compressed_checkpoint_is_refused_before_it_fills_the_memory(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["a"].shape == (1000,)
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as plain,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    for read in (read_checkpoint, read_state_dict):
        with pytest.raises(ValueError, match="is compressed, which torch.save never does"):
            read(tmp_path / "b.pth")
