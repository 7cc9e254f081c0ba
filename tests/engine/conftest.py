"""A toy paper and a toy data set, and configs for them."""

import importlib.util
import sys
from argparse import Namespace
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(scope="session")
def toy():
    """The module tests/support/toy.py; its meta-architecture is registered once."""
    if "segplugins_toy" not in sys.modules:
        spec = importlib.util.spec_from_file_location("segplugins_toy", SUPPORT / "toy.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["segplugins_toy"] = module
        spec.loader.exec_module(module)
    return sys.modules["segplugins_toy"]


@pytest.fixture(scope="session")
def toy_world(toy, tmp_path_factory):
    """Folder of the toy data set, which is registered as toy_train and toy_val."""
    root = tmp_path_factory.mktemp("toy_world")
    toy.write_world(root)
    toy.register_world(root)
    return root


@pytest.fixture
def toy_cfg(toy, toy_world, tmp_path):
    """Builds configs: the toy's, with "KEY VALUE ..." of the test after it."""

    def build(options="", output="run"):
        from segplugins.engine import setup_cfg

        opts = [*toy.OPTIONS.split(), "OUTPUT_DIR", str(tmp_path / output), *options.split()]
        return setup_cfg(Namespace(config_file="", opts=opts), [toy.add_toy_config])

    return build
