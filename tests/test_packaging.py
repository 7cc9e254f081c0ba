"""A checkout, an editable install and a wheel all find the papers, with code and data."""

import ast
import importlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
DATA = {".json", ".txt", ".yaml", ".css", ".js", ".typed"}
# Provided by tools/setup_env.py; why they are not declared stands in setup.py.
PROVIDED = {"detectron2", "lvis", "triton"}  # by tools/setup_env.py; Triton by the wheels of torch

# Of packages that may not be installed: the module goes by another name than the distribution.
MODULES = {"faiss": ["faiss-cpu"]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the packages with one paper more: building leaves nothing in the checkout."""
    source = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("segplugins", "projects"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    add_paper(source, "toy")
    return source


def add_paper(source, name):
    (source / "projects" / name / "lists").mkdir(parents=True)
    (source / "projects" / name / "__init__.py").write_text(f"TITLE = {name!r}\n")
    (source / "projects" / name / "lists" / "classes.txt").write_text("cat\ndog\n")


def build(source, kind, out):
    """Builds through the standard hooks, in a process of its own: they change its folder."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return out / run.stdout.splitlines()[-1]


def environment(folder, wheel):
    """Makes a fresh environment that holds the wheel before the packages of this one.

    Of a folder that a .pth line adds, Python runs no .pth file: the editable install of the
    running environment stays out of it.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    with zipfile.ZipFile(wheel) as archive:  # pure Python: unpacking is installing
        archive.extractall(packages)
    (packages / "zz_installed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def found_papers(python, *, cwd):
    """Returns what a fresh Python finds: {paper: folder}, and the toy's data file as text."""
    code = (
        "import importlib.resources, pkgutil, segplugins.projects as papers;"
        "import segplugins.projects.toy as toy;"
        "print(sorted(m.name for m in pkgutil.iter_modules(papers.__path__) if m.ispkg));"
        "print(toy.__file__);"
        "print((importlib.resources.files(toy) / 'lists/classes.txt').read_text().split())"
    )
    run = subprocess.run([python, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    papers, file, names = run.stdout.splitlines()
    assert ast.literal_eval(names) == ["cat", "dog"]
    return ast.literal_eval(papers), Path(file)


def code_and_data(source):
    """Returns the paths that a wheel of `source` has to hold."""
    library = [p.relative_to(source) for p in (source / "segplugins").rglob("*")]
    papers = [p.relative_to(source) for p in (source / "projects").glob("*/**/*")]
    paths = [*library, *(Path("segplugins") / path for path in papers)]
    return [path for path in paths if path.suffix in {".py", *DATA}]


def papers_of(source):
    return sorted(path.parent.name for path in source.glob("projects/*/__init__.py"))


def test_a_checkout_finds_its_papers(source):
    papers, file = found_papers(sys.executable, cwd=source)  # -c puts the folder first
    assert papers == papers_of(source)
    assert file == source / "projects/toy/__init__.py"


def test_a_wheel_holds_all_code_and_data(source, tmp_path):
    wheel = build(source, "wheel", tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    missing = sorted(str(path) for path in code_and_data(source) if str(path) not in held)
    assert not missing, f"in no package (a folder with code needs an __init__.py): {missing}"
    assert len(held) == len(code_and_data(source)), "the wheel holds more than the folders"

    papers, file = found_papers(environment(tmp_path / "env", wheel), cwd=tmp_path)
    assert papers == papers_of(source)
    assert file.is_relative_to(tmp_path / "env")


def test_a_wheel_says_what_it_is_and_that_it_is_typed(source, tmp_path):
    with zipfile.ZipFile(build(source, "wheel", tmp_path)) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        told = archive.read(name).decode("utf-8")
        assert "segplugins/py.typed" in archive.namelist()
    assert "Classifier: Typing :: Typed" in told and "# segplugins" in told
    assert "Description-Content-Type: text/markdown" in told


def test_a_script_beside_the_clone_finds_the_library(source, tmp_path, monkeypatch):
    # The clone is a folder called segplugins, which Python would take for a package without code.
    (tmp_path / "segplugins").symlink_to(source, target_is_directory=True)
    python = environment(tmp_path / "env", build(source, "editable", tmp_path))
    (tmp_path / "script.py").write_text("import segplugins.structures; print(segplugins.__file__)")
    command = [python, tmp_path / "script.py"]
    run = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert run.stdout.strip() == "None"  # a package without code
    monkeypatch.syspath_prepend(ROOT / "tools")
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    importlib.import_module("setup_env").add_checkout(packages, source)
    run = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert run.stdout.strip() == str(source / "segplugins/__init__.py"), run.stderr


def test_an_editable_install_finds_a_paper_that_was_added_later(source, tmp_path):
    python = environment(tmp_path / "env", build(source, "editable", tmp_path))
    assert "later" not in found_papers(python, cwd=tmp_path)[0]
    add_paper(source, "later")
    papers, file = found_papers(python, cwd=tmp_path)
    assert "later" in papers
    assert papers == papers_of(source)
    assert file == source / "projects/toy/__init__.py"


def test_a_package_holds_only_files_that_the_wheel_takes():
    held = {".py", *DATA}
    for top in ("segplugins", "projects"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.name != "README.md":
                assert path.suffix in held, f"{path.relative_to(ROOT)} would be left out"


def test_what_the_packages_import_is_declared():
    declared = {canonicalize_name(Requirement(r).name) for r in metadata.requires("segplugins")}
    distributions = MODULES | metadata.packages_distributions()
    for top in ("segplugins", "projects"):
        for path in (ROOT / top).rglob("*.py"):
            for module in imported(path) - sys.stdlib_module_names - {"segplugins"}:
                names = map(canonicalize_name, distributions.get(module, [module]))
                assert (declared | PROVIDED).intersection(names), f"{path.name} imports {module}"


def imported(path):
    """Returns the top-level names that a file imports, at its head or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def test_a_paper_is_refused_under_its_short_name():
    run = subprocess.run(
        [sys.executable, "-c", "import projects.sed"], cwd=ROOT, capture_output=True, text=True
    )
    assert "import segplugins.projects.<paper>, not projects.<paper>" in run.stderr


def test_a_missing_detectron2_is_told_with_the_next_step(source):
    hide = "import sys; sys.modules['detectron2'] = None; import segplugins"
    run = subprocess.run([sys.executable, "-c", hide], cwd=source, capture_output=True, text=True)
    assert "python tools/setup_env.py" in run.stderr.splitlines()[-1]
