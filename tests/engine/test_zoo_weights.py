"""Weights of the zoo: converted once, again when the original is newer, and by one process."""

import os
from types import SimpleNamespace

import pytest
import torch

from segplugins.engine import zoo_weights
from segplugins.zoo import Entry


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """An entry "toy" whose converter renames "a" to "b" and counts its calls."""
    original = tmp_path / "toy" / "published.pth"
    original.parent.mkdir()
    torch.save({"model": {"a": torch.arange(3.0), "left": torch.ones(1)}}, original)
    calls = []

    def convert(tensors):
        calls.append(sorted(tensors))
        return {"b": tensors["a"] + 1}, ["left"]

    imported = []
    module = SimpleNamespace(convert=convert)
    monkeypatch.setattr(
        zoo_weights.importlib, "import_module", lambda name: imported.append(name) or module
    )
    keys = {"config": "c.yaml", "page": "https://a", "file": "published.pth", "licence": "none"}
    entries = {
        "toy": Entry(name="toy", converter="sed", **keys),
        "plain": Entry(name="plain", **keys),
    }
    monkeypatch.setattr(zoo_weights, "entry_of", entries.__getitem__)
    monkeypatch.setattr(zoo_weights, "fetch", lambda entry: original)
    return SimpleNamespace(original=original, calls=calls, imported=imported)


def test_weights_in_our_names_are_the_published_file_itself(zoo):
    assert zoo_weights.weights_path("zoo://plain") == zoo.original
    assert zoo_weights.weights_path("plain") == zoo.original and not zoo.imported


def test_other_names_are_converted_beside_the_original(zoo, caplog):
    with caplog.at_level("INFO", logger="segplugins"):
        path = zoo_weights.weights_path("zoo://toy")
    assert path == zoo.original.with_name("toy.converted.pth")
    assert zoo.imported == ["segplugins.projects.sed.weights"]
    assert torch.load(path)["model"]["b"].tolist() == [1.0, 2.0, 3.0]
    assert caplog.messages == [f"1 tensors of '{zoo.original}' have no use here"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["published.pth", "toy.converted.pth"]


@pytest.mark.parametrize("newer, conversions", [(-1, 1), (0, 1), (1, 2)])
def test_a_conversion_is_done_again_where_the_original_is_newer(zoo, newer, conversions):
    path = zoo_weights.weights_path("toy")
    os.utime(path, ns=(10**9, 10**9))
    os.utime(zoo.original, ns=(10**9 + newer, 10**9 + newer))
    zoo_weights.weights_path("toy")
    assert len(zoo.calls) == conversions


@pytest.mark.parametrize("is_main, order", [(True, "work, wait"), (False, "wait, work")])
def test_the_main_process_converts_while_the_others_wait(zoo, monkeypatch, is_main, order):
    events = []
    monkeypatch.setattr(zoo_weights.comm, "is_main_process", lambda: is_main)
    monkeypatch.setattr(zoo_weights.comm, "synchronize", lambda: events.append("wait"))
    monkeypatch.setattr(zoo_weights, "fetch", lambda entry: events.append("work") or zoo.original)
    zoo_weights.weights_path("plain")
    assert ", ".join(events) == order


def test_the_others_are_not_left_waiting_where_the_main_process_fails(zoo, monkeypatch):
    def fail(entry):
        raise OSError("no network")

    waits = []
    monkeypatch.setattr(zoo_weights.comm, "synchronize", lambda: waits.append(1))
    monkeypatch.setattr(zoo_weights, "fetch", fail)
    with pytest.raises(OSError, match="no network"):
        zoo_weights.weights_path("toy")
    assert waits == [1]
