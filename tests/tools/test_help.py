"""--help of every tool: quick, because it imports nothing heavy, and of use to a reader."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Parts of the others.
PARTS = ("pip_runner.py", "require_segplugins.py")
TOOLS = sorted(p.name for p in (ROOT / "tools").glob("*.py") if p.name not in PARTS)
SCRIPTS = sorted(
    p.name for p in (ROOT / "datasets").glob("prepare_*.py") if p.name != "prepare_options.py"
)
# They run before anything is installed.
FIRST = ("lock_requirements.py", "repack_detectron2.py", "setup_env.py")
HEAVY = ("torch", "numpy", "detectron2", "cv2", "open_clip", "PIL", "matplotlib", "scipy")
CODE = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", *(name for name in {heavy} if name in sys.modules))
"""


@pytest.fixture(scope="module")
def help_of():
    """Returns a call that gives the text of --help, without importing torch or its like."""
    texts = {}

    def call(tool, folder="tools"):
        if tool not in texts:
            done = subprocess.run(
                [sys.executable, "-c", CODE.format(heavy=HEAVY), f"{folder}/{tool}"],
                cwd=ROOT,
                env={"PYTHONPATH": f"{ROOT}:{ROOT / folder}", "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            texts[tool] = done.stdout
        return texts[tool]

    return call


@pytest.mark.parametrize("tool", TOOLS)
def test_help_imports_nothing_heavy(help_of, tool):
    assert help_of(tool).splitlines()[-1].strip() == "imported:"


@pytest.mark.parametrize("script", SCRIPTS)
def test_so_does_that_of_the_scripts_that_prepare_data_sets(help_of, script):
    text = help_of(script, "datasets")
    assert text.splitlines()[-1].strip() == "imported:"
    assert text.startswith(f"usage: {script}")


@pytest.mark.parametrize("tool", TOOLS)
def test_help_has_an_example(help_of, tool):
    assert f"\n    python tools/{tool}" in help_of(tool)


@pytest.fixture(scope="module")
def without_packages(tmp_path_factory):
    """Runs a tool by an interpreter that sees the standard library alone, from any folder."""

    def call(tool, *options, cwd, **environment):
        return subprocess.run(
            [sys.executable, "-S", "-E", str(tool), *options],
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


@pytest.mark.parametrize("path", [f"tools/{t}" for t in TOOLS] + [f"datasets/{s}" for s in SCRIPTS])
def test_help_needs_no_environment(without_packages, path):
    done = without_packages(path, "--help", cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {Path(path).name} ") and "--help" in done.stdout


@pytest.mark.parametrize("tool", [t for t in TOOLS if t not in FIRST])
def test_a_python_without_the_environment_ends_in_one_line(without_packages, tool):
    done = without_packages(f"tools/{tool}", cwd=ROOT)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {sys.executable} cannot run this tool: ")
    assert "No module named 'segplugins'. Activate the environment: " in line
    assert line.endswith("source .venv/bin/activate") or "make -C" in line


@pytest.mark.parametrize("script", SCRIPTS)
def test_so_do_the_scripts_that_prepare_data_sets(without_packages, script):
    done = without_packages(f"datasets/{script}", cwd=ROOT)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "Activate the environment: " in done.stderr


def test_a_python_without_the_environment_goes_on_in_that_of_the_checkout(tmp_path):
    (tmp_path / "clone/.venv/bin").mkdir(parents=True)
    (tmp_path / "clone/tools").mkdir()
    for name in ("demo.py", "require_segplugins.py"):
        (tmp_path / "clone/tools" / name).write_text((ROOT / "tools" / name).read_text())
    python = tmp_path / "clone/.venv/bin/python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    command = [sys._base_executable, "-E", "clone/tools/demo.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "clone/tools/demo.py --help\n")


def test_from_another_folder_the_environment_is_named_by_its_place(without_packages, tmp_path):
    checkout = tmp_path / "clone"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "tools").mkdir()
    for name in ("demo.py", "require_segplugins.py"):
        (checkout / "tools" / name).write_text((ROOT / "tools" / name).read_text())
    tool = checkout / "tools" / "demo.py"
    activate = checkout / ".venv" / "bin" / "activate"
    # No environment yet: make it first.
    line = without_packages(tool, cwd=tmp_path).stderr
    assert line.endswith(f"environment: make -C {checkout} env && source {activate}\n")
    activate.touch()
    assert without_packages(tool, cwd=tmp_path).stderr.endswith(f"environment: source {activate}\n")
    line = without_packages(tool, cwd=checkout).stderr
    assert line.endswith("environment: source .venv/bin/activate\n")


def test_the_line_says_what_a_half_filled_python_lacks(tmp_path):
    """segplugins is there, detectron2 is not; or what is there is a folder without code."""
    run = [sys.executable, "-S", str(ROOT / "tools" / "demo.py")]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "segplugins needs detectron2" in done.stderr
    (tmp_path / "segplugins").mkdir()
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"'segplugins' is a folder without code here: {tmp_path / 'segplugins'}" in done.stderr


def test_a_link_to_a_python_is_no_environment_and_ends_in_one_line(tmp_path):
    # It was started again and again: a mere link has the prefix of what it links to.
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    link = tmp_path / ".venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path(sys._base_executable).resolve())
    done = subprocess.run(
        [link.resolve(), tmp_path / "tools" / "demo.py", "--input", "x"],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {link} cannot run this tool: No module named")
    assert done.stderr.count("\n") == 1
