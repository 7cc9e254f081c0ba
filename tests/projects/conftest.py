"""What the tests of the papers' configs share."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog


@pytest.fixture
def at_root(monkeypatch):
    """Works in the checkout, where configs name their files; sets registered there go again."""
    before = set(DatasetCatalog.list())
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
