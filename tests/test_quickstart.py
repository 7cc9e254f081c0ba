import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def quickstart(tmp_path, monkeypatch):
    """The tool as a module, with its output in a folder of its own."""
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "tools/quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "OUTPUT", tmp_path)
    return module


def writes(folder, text):
    """Returns: a file, and a command that writes it."""
    script = folder / f"{text}.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "path = Path(sys.argv[1])\n"
        "path.parent.mkdir(exist_ok=True)\n"
        "path.write_text(sys.argv[2])\n"
    )
    leaves = folder / text / "done"
    return leaves, (str(script), str(leaves), text)


def test_the_commands_of_a_step_all_run_and_what_stands_is_not_done_again(quickstart, tmp_path):
    step = quickstart.Step("two at once", dict(writes(tmp_path, text) for text in ("a", "b")))
    assert quickstart.run(step, even_if_it_stands=False) > 0
    assert [leaves.read_text() for leaves in step.commands] == ["a", "b"]
    assert quickstart.run(step, even_if_it_stands=False) == 0
    assert quickstart.run(step, even_if_it_stands=True) > 0


def test_another_command_removes_what_the_former_left(quickstart, tmp_path):
    leaves, command = writes(tmp_path, "a")
    quickstart.run(quickstart.Step("one", {leaves: command}), even_if_it_stands=False)
    (leaves.parent / "old").touch()
    step = quickstart.Step("one", {leaves: (*command[:2], "other")})
    assert quickstart.run(step, even_if_it_stands=False) > 0
    assert leaves.read_text() == "other" and not (leaves.parent / "old").exists()


def test_a_command_that_fails_ends_the_quickstart(quickstart, tmp_path):
    script = tmp_path / "fails.py"
    script.write_text("import sys\nsys.exit('no such picture')\n")
    step = quickstart.Step("fails", {tmp_path / "a" / "done": (str(script),)})
    with pytest.raises(SystemExit, match="'fails' failed; what went wrong stands above"):
        quickstart.run(step, even_if_it_stands=False)
    assert not (tmp_path / "steps").exists()
