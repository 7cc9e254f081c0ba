"""The directions of CONTRIBUTING.md, so that nobody has to remember them."""

import ast
import re
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY, PROJECTS = ROOT / "segplugins", ROOT / "projects"
PAPERS = sorted(path.parent.name for path in PROJECTS.glob("*/__init__.py"))
CODE = sorted([*LIBRARY.rglob("*.py"), *PROJECTS.glob("*/**/*.py")])
FOLDERS = [
    ".ci",
    "benchmarks",
    "configs",
    "datasets",
    "docs",
    "projects",
    "segplugins",
    "tests",
    "tools",
]
UPWARD = ("projects", "tools", "tests", "benchmarks")
WRITTEN = {".py", ".md", ".yaml", ".toml", ".txt", ".json", ""}

# Part of the library to the parts that it may import; ground first.
MAY_IMPORT = {
    "structures": set(),
    "files": {"structures"},
    "clip": {"files"},
    "config": set(),
    "pictures": set(),
    "search": {"files"},
    "processes": set(),
    "projects": set(),
    "text": {"clip", "structures"},
    "drawn_world": {"structures", "files", "processes"},
    "data": {"structures", "files", "processes", "drawn_world"},
    "evaluation": {"structures", "files", "pictures"},
    "annotation": {"structures", "files", "processes", "pictures", "clip"},
    "modeling": {"structures", "files", "clip", "text", "search"},
    "engine": {
        "structures",
        "zoo",
        "files",
        "processes",
        "pictures",
        "config",
        "data",
        "evaluation",
        "search",
    },
    "zoo": {"files"},
    "claims": {"files", "pictures", "engine"},
    "prediction": {
        "structures",
        "files",
        "pictures",
        "annotation",
        "data",
        "drawn_world",
        "engine",
        "projects",
        "zoo",
    },
}
_REGIONS = (
    "segplugins/structures/regions.py",
    "segplugins/files/",
    "segplugins/drawn_world/",
    "segplugins/data/",
    "segplugins/evaluation/",
)
ONE_DOOR = {
    "open_clip": ("segplugins/clip/load.py",),
    "scipy": (
        "segplugins/modeling/matcher.py",
        "segplugins/evaluation/",
        "projects/cocu/curation/",
    ),
    "pycocotools": _REGIONS,
    "lvis": _REGIONS,
}


def within(path):
    return path.relative_to(ROOT).as_posix()


def package_of(path):
    """Returns the absolute name of the package that a file of the library or of a paper is in."""
    prefix = "segplugins." if PROJECTS in path.parents else ""
    return prefix + ".".join(path.relative_to(ROOT).parent.parts)


def imported(path):
    """Yields the absolute names that a file imports; `from a import b` is a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            absolute = resolve_name(module, package_of(path)) if node.level else module
            yield from (f"{absolute}.{alias.name}" for alias in node.names)


def test_the_papers_are_found():
    assert PAPERS, "no folder under projects/ has an __init__.py"


@pytest.mark.parametrize("path", CODE, ids=within)
def test_imports_run_downward_only(path):
    place = path.relative_to(ROOT).with_suffix("").parts
    for name in imported(path):
        top, part, paper = [*name.split("."), "", ""][:3]
        assert top not in UPWARD, f"{name}: the library does not import it under that name"
        if top != "segplugins":
            doors = ONE_DOOR.get(top, ("",))
            assert within(path).startswith(doors), f"{top} has one door: {doors}"
        elif place[0] == "projects":
            assert part != "projects" or paper == place[1], f"it imports another paper: {name}"
        elif place[1] != "__init__":
            assert part in {place[1], *MAY_IMPORT[place[1]]}, f"{place[1]} may not import {name}"


def test_the_library_names_no_paper():
    for path in LIBRARY.rglob("*.py"):
        for name in imported(path):
            finds_all = name == "segplugins.projects.load_projects"
            assert finds_all or not name.startswith("segplugins.projects."), (
                f"{within(path)} imports {name}"
            )


@pytest.mark.parametrize("path", CODE, ids=within)
def test_the_device_is_the_inputs_and_output_goes_through_logging(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "attr", "") != "cuda", f"line {node.lineno}: .cuda()"
            assert getattr(node.func, "id", "") != "print", f"line {node.lineno}: print()"


def texts():
    """Yields the path and the text of every file that people write here."""
    paths = [p for p in ROOT.glob("*") if p.is_file() and p.name != ".git"]  # of a git worktree
    paths += [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()]
    for path in paths:
        if path.suffix in WRITTEN and "__pycache__" not in path.parts:
            yield path, path.read_text(encoding="utf-8")


def test_no_file_edits_the_import_path():
    for path, text in texts():
        assert path.suffix != ".py" or not re.search(r"\bsys\.path\b", text), within(path)


def test_no_file_names_a_machine_or_a_package_host():
    # The recordings have a default place, named once, beside the checkout.
    known = {ROOT / "tests" / "conftest.py"}
    place = re.compile(r"(?<!\w)/(?:work|root|home)/|\.\./share[d]|pypi\.or[g]|pythonhoste[d]")
    for path, text in texts():
        found = place.search(text)
        assert path in known or found is None, f"{within(path)}: {found[0]}"
