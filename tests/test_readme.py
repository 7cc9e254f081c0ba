"""Every command of every README: read and parsed, its config resolved; short ones run."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

import segplugins
from segplugins.drawn_world import write_drawn_world
from segplugins.engine import setup_cfg
from segplugins.engine.command import argument_parser
from segplugins.projects import load_projects

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "projects/**/README.md", "datasets/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
ACTIVATE = "source .venv/bin/activate"


def commands(path):
    """Yields the command lines of a page's blocks, continuation lines joined."""
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    indented = re.findall(r"(?:^    [^\n]*\n)+", plain, re.MULTILINE)
    for block in [*fenced, *indented]:
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            line = line.strip()
            if re.match(r"(source|python|make|[A-Z0-9_]+=\S+ python) ?", line):
                yield line


def all_commands():
    for path in PAGES:
        for number, line in enumerate(commands(path)):
            yield pytest.param(line, id=f"{path.relative_to(ROOT)}-{number}")


def parser_of(tool):
    if tool in (
        "setup_env",
        "repack_detectron2",
        "lock_requirements",
    ):  # they run before anything is installed
        return None
    spec = importlib.util.spec_from_file_location(f"readme_{tool}", ROOT / "tools" / f"{tool}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("build_parser", "parser"):
        if hasattr(module, name):
            return getattr(module, name)()
    return argument_parser("") if tool in ("train_net", "eval") else None


@pytest.mark.parametrize("line", list(all_commands()))
def test_a_command_is_one_that_the_tools_take(line):
    words = shlex.split(line, comments=True)
    while "=" in words[0] and not words[0].startswith("-"):
        words.pop(0)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word][0] in targets
    if words[0] != "python" or words[1] == "-m":
        return
    assert (ROOT / words[1]).is_file(), line
    parser = parser_of(Path(words[1]).stem) if words[1].startswith("tools/") else None
    if parser is None:
        return
    args = parser.parse_args(words[2:])
    if getattr(args, "config_file", ""):
        pairs = zip(args.opts[::2], args.opts[1::2])
        # A file that the reader has written cannot be registered here.
        opts = [word for pair in pairs if pair[0] != "DATASETS.REGISTER" for word in pair]
        cfg = Namespace(config_file=str(ROOT / args.config_file), opts=opts)
        setup_cfg(cfg, [paper.add_config for paper in load_projects().values()])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_environment_is_activated_before_python_is_called(path):
    """A shell that has done nothing else has no `python` with segplugins."""
    if path.name == "installation.md":  # it makes an environment of the reader's own
        return
    for line in commands(path):
        if line == ACTIVATE or line.startswith(f"{ACTIVATE} "):
            return
        assert "python " not in line, f"{line}: '{ACTIVATE}' must stand before it"


@pytest.fixture(scope="module")
def after_quickstart(tmp_path_factory):
    """A copy of the checkout with what the quickstart leaves: a small world, random weights."""
    copy = tmp_path_factory.mktemp("clone")
    for name in ("configs", "projects", "segplugins", "tools", "setup.py"):
        (copy / name).symlink_to(ROOT / name)
    (copy / ".venv").symlink_to(sys.prefix)
    (copy / "datasets").mkdir()
    world = copy / "datasets" / "drawn"
    write_drawn_world(world, train=1, val=2, val_unseen=2, pairs=1, clips=1, val_clips=1, size=64)
    config = ROOT / "configs/sed/quickstart.yaml"
    model = segplugins.load(config, random_weights=True, device="cpu")
    weights = copy / "output/quickstart/sed/model_final.pth"
    weights.parent.mkdir(parents=True)
    torch.save({"model": model.model.state_dict()}, weights)
    return copy


def test_the_command_after_the_quickstart_runs_as_printed(after_quickstart):
    lines = list(commands(ROOT / "README.md"))
    start = lines.index(ACTIVATE)
    assert lines[:start] == ["make quickstart", "make test"]
    demo = lines[start + 1]
    assert demo.startswith("python tools/demo.py ")
    environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        ["bash", "-c", f"{ACTIVATE}\n{demo}"],
        cwd=after_quickstart,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stderr
    assert "2 pictures segmented into output/demo" in run.stdout
    assert len(list((after_quickstart / "output/demo").glob("*.overlay.jpg"))) == 2


def test_the_python_of_the_readme_and_the_notebook_run(after_quickstart, monkeypatch):
    monkeypatch.chdir(after_quickstart)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import segplugins.*?)```", readme, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert (after_quickstart / "out.jpg").is_file()
    notebook = json.loads((ROOT / "docs/python.ipynb").read_text(encoding="utf-8"))
    namespace = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
    assert namespace["annotation"]["segments_info"]
