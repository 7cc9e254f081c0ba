"""Segmenters of models whose answers are plain."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import transforms as T
from PIL import Image

from segplugins.prediction import Segmenter
from segplugins.prediction.segmenter import Settings

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(scope="session")
def fakes():
    """The module tests/support/fake_models.py."""
    if "segplugins_fakes" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "segplugins_fakes", SUPPORT / "fake_models.py"
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules["segplugins_fakes"] = module
        spec.loader.exec_module(module)
    return sys.modules["segplugins_fakes"]


@pytest.fixture
def segmenter(fakes):
    """Makes the segmenter of a model of `fakes`, or of any module."""

    def make(model="Brightness", *, augmentations=None, settings=None, **options):
        module = getattr(fakes, model)(**options) if isinstance(model, str) else model
        seen = augmentations or [T.ResizeShortestEdge([32, 32], 64)]
        return Segmenter(module, Settings(lambda task: seen, **(settings or {})))

    return make


@pytest.fixture
def half_bright():
    """Makes a picture whose right half is bright."""

    def make(height=24, width=30):
        image = np.zeros((height, width, 3), np.uint8)
        image[:, width // 2 :] = 250
        return image

    return make


@pytest.fixture
def folder(tmp_path, half_bright):
    """Three pictures of different sizes."""
    shots = tmp_path / "shots"
    shots.mkdir()
    for i, name in enumerate("abc"):
        Image.fromarray(half_bright(24 + 10 * i, 30 + 4 * i)).save(shots / f"{name}.png")
    return shots
