"""Checkpoint files that are none: one line says what lies there, before a model is built."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from segplugins.files.checkpoint_file import check_checkpoint, read_checkpoint

TENSORS = {"weight": torch.arange(2000.0)}


class Runs:
    """What a pickle of a stranger may hold."""

    def __reduce__(self):
        return (print, ("run",))


def test_the_content_comes_as_it_was_saved(tmp_path):
    torch.save({"model": TENSORS, "best": 0.5}, tmp_path / "a.pth")
    save_file(TENSORS, tmp_path / "a.safetensors")
    content = read_checkpoint(tmp_path / "a.pth")
    assert content["best"] == 0.5 and torch.equal(content["model"]["weight"], TENSORS["weight"])
    assert read_checkpoint(tmp_path / "a.safetensors").keys() == {"weight"}


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.pth", b"", r"a\.pth' is empty \(0 bytes\); copy or download it again"),
        ("a.safetensors", b"", r"is empty \(0 bytes\)"),
        (
            "a.pth",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1",
            "a pointer of Git L",
        ),
        ("a.pth", b"\n<!DOCTYPE html><html>", "is a web page, not the weights; download the file"),
        ("a.pt", b"<html><body>404", "is a web page"),
        ("a.safetensors", (10**6).to_bytes(8, "little") + b"{}", "is cut short or no safetensors"),
    ],
)
def test_what_lies_there_is_told_by_its_first_bytes(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    for read in (check_checkpoint, read_checkpoint):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_short_is_seen_without_reading_it(tmp_path, share, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save(TENSORS, path)
        check_checkpoint(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="cut short or damaged: its end is missing after"):
            check_checkpoint(path)
    else:
        save_file(TENSORS, path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="copy or download it again") as error:
            read_checkpoint(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"hello\n", b"\x89PNG\r\n\x1a\n" + b"x" * 99, b"\x80", b"[]"])
def test_another_file_is_no_checkpoint_in_one_line(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match="it is damaged or no checkpoint") as error:
        read_checkpoint(tmp_path / "a.pth")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_an_object_is_named_and_not_made(tmp_path, capsys, plain_pickle):
    path = tmp_path / "a.pth"
    if plain_pickle:
        path.write_bytes(pickle.dumps(Runs(), protocol=4))
    else:
        torch.save({"x": Runs()}, path)
    with pytest.raises(ValueError, match="could run code. If you trust its source, .*--unsafe"):
        read_checkpoint(path)
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_told_with_what_lies_beside_it(tmp_path):
    message = r"checkpoint '.*model\.pth' does not exist, and there is no folder"
    with pytest.raises(FileNotFoundError, match=message):
        check_checkpoint(tmp_path / "absent" / "model.pth")
    for name in ("model_final.pth", "notes.txt", "a.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match="holds a.safetensors, model_final.pth$"):
        check_checkpoint(tmp_path / "model.pth")
    with pytest.raises(FileNotFoundError, match="is a folder; name the file in it; '.*' holds a.s"):
        check_checkpoint(tmp_path)
