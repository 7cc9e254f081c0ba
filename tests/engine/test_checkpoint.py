import logging
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segplugins.engine.checkpoint import SafeCheckpointer, load_weights
from tests.support.commands import run_process


class Runs:
    """Whatever unpickles it runs a command."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def model():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def filled(value):
    return {name: torch.full_like(w, value) for name, w in model().state_dict().items()}


def model_zoo_file(state):
    arrays = {name: weight.numpy() for name, weight in state.items()}
    return pickle.dumps({"model": arrays, "__author__": "test", "matching_heuristics": True})


def assert_filled(loaded, value):
    assert all((w == value).all() for w in loaded.state_dict().values())


@pytest.mark.parametrize(
    "write",
    [
        lambda state, path: torch.save({"model": state, "iteration": 3}, f"{path}.pth"),
        lambda state, path: torch.save(state, f"{path}.pth"),
        lambda state, path: torch.save({"state_dict": state}, f"{path}.pth"),
        lambda state, path: torch.save(
            {"model": {f"module.{name}": w for name, w in state.items()}}, f"{path}.pth"
        ),
        lambda state, path: save_file(state, f"{path}.safetensors"),
        lambda state, path: Path(f"{path}.pkl").write_bytes(model_zoo_file(state)),
    ],
    ids=["ours", "bare", "state_dict", "of DDP", "safetensors", "model zoo"],
)
def test_all_usual_kinds_of_files_load(write, tmp_path):
    write(filled(2.0), tmp_path / "weights")
    (path,) = tmp_path.glob("weights.*")
    loaded = model()
    match = load_weights(loaded, str(path))
    assert_filled(loaded, 2.0)
    assert match == (4, [], [], [], ())


def test_averaged_weights_are_preferred(tmp_path):
    averaged = {"weights": {"0.weight": torch.full((3, 2), 5.0)}}
    torch.save({"model": filled(2.0), "averaged": averaged}, tmp_path / "a.pth")
    loaded = model()
    load_weights(loaded, str(tmp_path / "a.pth"))
    assert (loaded[0].weight == 5).all() and (loaded[0].bias == 2).all()


@pytest.mark.parametrize("suffix", ["pth", "pkl", "bin", "pyth"])
def test_a_file_cannot_run_code(suffix, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / f"evil.{suffix}"
    content = {"model": filled(1.0), "__author__": "me", "extra": Runs(mark)}
    if suffix == "pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=f"evil.{suffix}' cannot be read as plain tensors"):
        load_weights(model(), str(path))
    assert not mark.exists()


@pytest.mark.parametrize(
    "name, message",
    [
        ("a.pth", "cannot be read as plain tensors: "),
        ("a.safetensors", r"is cut short or no safetensors file \(13 bytes\)"),
        ("a.pkl", "cannot be read as plain tensors: "),
    ],
)
def test_a_damaged_file_is_told(name, message, tmp_path):
    (tmp_path / name).write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=f"{name}' {message}"):
        load_weights(model(), str(tmp_path / name))


def test_the_names_trained_on_travel_with_the_weights(tmp_path):
    checkpointer = SafeCheckpointer(model(), str(tmp_path), training_names=["tollgate", "sky"])
    checkpointer.save("a", iteration=3)
    match = load_weights(model(), str(tmp_path / "a.pth"))
    assert match.training_names == ("tollgate", "sky") and match.is_whole
    # What a stranger's file has there is no reason to fail.
    torch.save({"model": filled(1.0), "training_names": {"a": 1}}, tmp_path / "b.pth")
    assert load_weights(model(), str(tmp_path / "b.pth")).training_names == ()


def test_a_missing_file_is_told():
    with pytest.raises(FileNotFoundError, match="checkpoint 'nowhere.pth' does not exist"):
        load_weights(model(), "nowhere.pth")


def test_no_file_leaves_the_weights_alone():
    loaded = model()
    before = loaded[0].weight.clone()
    load_weights(loaded, "")
    assert torch.equal(loaded[0].weight, before)


def test_a_checkpoint_of_less_than_half_of_the_model_is_refused(tmp_path):
    torch.save({"0.weight": torch.zeros(3, 2), "other": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="fits 1 of the model's 4 entries.*'0.bias'.*'other'"):
        load_weights(model(), str(tmp_path / "a.pth"))


def test_half_is_enough_and_every_misfit_is_named(tmp_path, caplog):
    state = {"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(3)}
    state.update({"1.weight": torch.zeros(1, 4), "new.part": torch.zeros(1)})
    torch.save(state, tmp_path / "a.pth")
    with caplog.at_level(logging.INFO):
        match = load_weights(model(), str(tmp_path / "a.pth"))
    assert match == (2, ["1.bias"], ["new.part"], ["1.weight"], ())
    for text in (
        "2 of 4 entries fit; 1 missing (1.bias), 1 of another shape (1.weight)",
        "unused: ['new.part']",
    ):
        assert text in caplog.text
    assert "1.weight" in caplog.text and "(1, 4)" in caplog.text
    assert "bias" in caplog.text and "new" in caplog.text


def test_entries_that_are_no_tensors_are_named(tmp_path, caplog):
    torch.save({**filled(1.0), "comment": "mine"}, tmp_path / "a.pth")
    load_weights(model(), str(tmp_path / "a.pth"))
    assert "no tensors: ['comment']" in caplog.text


def test_a_save_that_dies_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    checkpointer = SafeCheckpointer(model(), str(tmp_path))
    checkpointer.save("model_0000001")

    def dies(data, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", dies)
    for name in ("model_0000002", "model_0000001"):
        with pytest.raises(OSError, match="disk full"):
            checkpointer.save(name)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
    assert "0.weight" in torch.load(tmp_path / "model_0000001.pth")["model"]


def test_numpy_arrays_of_both_numpy_generations_load(tmp_path):
    content = {"model": {k: v.numpy() for k, v in filled(3.0).items()}, "__author__": "test"}
    data = pickle.dumps(content, protocol=2)
    older = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    newer = data.replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")
    for number, pickled in enumerate((older, newer)):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(pickled)
        loaded = model()
        load_weights(loaded, str(path))
        assert_filled(loaded, 3.0)


@pytest.fixture
def three(tmp_path):
    """A folder with three checkpoints, the last of which is tagged."""
    checkpointer = SafeCheckpointer(model(), str(tmp_path))
    for number in (1, 2, 3):
        checkpointer.save(f"model_{number:07d}", iteration=number)
        os.utime(tmp_path / f"model_{number:07d}.pth", (number, number))
    (tmp_path / ".model_0000009.7-0.part.pth").write_bytes(b"half")
    return tmp_path


@pytest.mark.parametrize(
    "tag", ["", "\n", "model_0000007.pth", "../model_0000001.pth", "\x00", "."]
)
def test_a_tag_that_names_no_checkpoint_of_the_folder_gives_way_to_the_newest(three, tag, caplog):
    shutil.copy(three / "model_0000001.pth", three.parent / "model_0000001.pth")
    (three / "last_checkpoint").write_text(tag)
    checkpointer = SafeCheckpointer(model(), str(three))
    assert checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == str(three / "model_0000003.pth")
    assert "newest whole checkpoint, 'model_0000003.pth', is used instead" in caplog.text


def test_an_absolute_tag_that_points_outside_is_not_followed(three, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "model_0000005.pth"
    shutil.copy(three / "model_0000001.pth", other)
    (three / "last_checkpoint").write_text(str(other))
    found = SafeCheckpointer(model(), str(three)).get_checkpoint_file()
    assert found == str(three / "model_0000003.pth")


def test_a_checkpoint_that_was_cut_short_gives_way_to_an_older_one(three):
    content = (three / "model_0000003.pth").read_bytes()
    (three / "model_0000003.pth").write_bytes(content[:-100])
    found = SafeCheckpointer(model(), str(three)).get_checkpoint_file()
    assert found == str(three / "model_0000002.pth")


def test_a_folder_of_damaged_checkpoints_is_an_error_and_an_empty_one_is_not(tmp_path):
    checkpointer = SafeCheckpointer(model(), str(tmp_path))
    (tmp_path / "last_checkpoint").write_text("")
    assert not checkpointer.has_checkpoint()
    (tmp_path / "model_0000001.pth").write_bytes(b"half")
    with pytest.raises(ValueError, match="none of the 1 checkpoints in .* is whole"):
        checkpointer.has_checkpoint()


SAVER = """
import itertools, sys, torch
from segplugins.engine.checkpoint import SafeCheckpointer
model = torch.nn.Linear(256, 256)
checkpointer = SafeCheckpointer(model, sys.argv[1])
start = 0
if checkpointer.has_checkpoint():
    start = checkpointer.load(checkpointer.get_checkpoint_file())["iteration"] + 1
    assert (model.weight == start - 1).all() and (model.bias == start - 1).all()
print("up", flush=True)
for iteration in itertools.count(start):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(iteration)
    checkpointer.save(f"model_{iteration % 3}", iteration=iteration)
    print(iteration, flush=True)
"""


def test_twenty_kills_during_saving_leave_a_folder_that_resumes(tmp_path):
    """One process forks a saver for each kill: starting Python twenty times would take minutes."""
    driver = (
        "import os, random, signal, sys, time\n"
        "from segplugins.engine.checkpoint import SafeCheckpointer\n"
        f"source = compile({SAVER!r}, 'saver', 'exec')\n"
        "rng = random.Random(0)\n"
        "for kill in range(20):\n"
        "    reader, writer = os.pipe()\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os.dup2(writer, 1)\n"
        "        try:\n"
        "            exec(source, {})\n"
        "        finally:\n"
        "            os._exit(9)\n"
        "    os.close(writer)\n"
        "    with os.fdopen(reader) as lines:\n"
        "        assert lines.readline() == 'up\\n', 'it does not resume'\n"
        "        saved = int(lines.readline())\n"
        "        time.sleep(rng.uniform(0, 0.03))\n"
        "        os.kill(child, signal.SIGKILL)\n"
        "        rest = lines.read().split()\n"
        "    os.waitpid(child, 0)\n"
        "    last = int(rest[-1]) if rest else saved\n"
        "print('resumed to', last)\n"
    )
    done = run_process("-c", driver, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    # How far each of them comes depends on the machine; none loses what was saved.
    assert int(done.stdout.split()[-1]) > 0


def test_a_pipe_in_place_of_the_last_checkpoint_does_not_stop_a_run(tmp_path):
    os.mkfifo(tmp_path / "last_checkpoint")
    assert not SafeCheckpointer(nn.Linear(1, 1), str(tmp_path)).has_checkpoint()
