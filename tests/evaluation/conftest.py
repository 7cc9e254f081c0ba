"""What tests of evaluators share."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog


@pytest.fixture
def catalog(tmp_path):
    """Registers records and metadata; returns the data set's name, which goes with the test."""
    names = []

    def register(records, **metadata):
        name = f"{tmp_path.name}_{len(names)}"
        names.append(name)
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(**metadata)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
