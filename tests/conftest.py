"""What all tests share: one thread, fixed seeds, the recordings of the official codes."""

import multiprocessing
import os
import random
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARITY_TESTS = ROOT / "tests" / "parity"
PARITY_ROOT = "../shared/parity"  # relative to the repository

# Two test processes on two cores: more threads than one only get in each other's way. Set before
# torch is imported, and inherited by the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# What the prepared interpreter of tests/support/commands.py imports, once for all its processes.
_PAPERS = [path.parent.name for path in ROOT.glob("projects/*/__init__.py")]
multiprocessing.set_forkserver_preload(
    ["segplugins.engine.run", "segplugins.annotation"]
    + [f"segplugins.projects.{paper}" for paper in _PAPERS]
)


def pytest_addoption(parser):
    parser.addoption(
        "--parity-root",
        metavar="DIR",
        help=f"recordings of the official codes, a folder per file of tests/parity ({PARITY_ROOT})",
    )


def parity_root(config):
    """Returns the folder of recordings, or None where there is none and none was asked for."""
    asked = config.getoption("--parity-root")
    root = Path(asked).absolute() if asked else (ROOT / PARITY_ROOT).resolve()
    if asked and not root.is_dir():
        raise pytest.UsageError(f"--parity-root {asked}: no such folder")
    return root if root.is_dir() else None


def pytest_configure(config):
    parity_root(config)  # a mistyped folder ends the run here, in one line


def pytest_collection_modifyitems(config, items):
    if parity_root(config) is None:
        left_out = [item for item in items if item.path.is_relative_to(PARITY_TESTS)]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _has_cuda():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_terminal_summary(terminalreporter, config):
    folders = [Path(arg.partition("::")[0]).absolute() for arg in config.args]
    asked = any(PARITY_TESTS.is_relative_to(f) or f.is_relative_to(PARITY_TESTS) for f in folders)
    if asked and parity_root(config) is None:
        terminalreporter.write_line(
            f"tests/parity left out: no folder {PARITY_ROOT}; --parity-root DIR names another"
        )


def _has_cuda():
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds():
    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def parity(request):
    """The folder of recordings of this file: tests/parity/test_sed.py reads <root>/sed."""
    folder = parity_root(request.config) / request.path.stem.removeprefix("test_")
    if not folder.is_dir():
        pytest.fail(f"no recordings in {folder}; a parity test needs the folder of its own name")
    return folder
