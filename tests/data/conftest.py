"""What the tests of the data layer share: a place for data sets, and a catalog that forgets."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from segplugins.structures import vocabulary


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of all data sets, for one test."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def forgetful_catalog():
    """Data sets and vocabularies that a test registers are gone after it."""
    before, words = set(DatasetCatalog.list()), dict(vocabulary._VOCABULARIES)
    yield
    vocabulary._VOCABULARIES.clear()
    vocabulary._VOCABULARIES.update(words)
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        if name in MetadataCatalog.list():
            MetadataCatalog.remove(name)


@pytest.fixture
def save():
    """Writes an array as an image file and returns its path as text."""

    def write(path, array):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(array)).save(path)
        return str(path)

    return write
