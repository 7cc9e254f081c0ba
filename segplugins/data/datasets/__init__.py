"""The data sets, one file per source. Importing this package registers them all."""

import importlib
import json
import pkgutil
from pathlib import Path

from segplugins.structures.vocabulary import (
    Vocabulary,
    register_vocabulary,
    vocabulary_from_data,
)

_CLASSES = Path(__file__).parent / "classes"


def shipped_vocabulary(name: str) -> Vocabulary:
    """Registers and returns the class list that ships as classes/<name>.json."""
    path = _CLASSES / f"{name}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = vocabulary_from_data(data, name=name, source=str(path))
    register_vocabulary(vocabulary)
    return vocabulary


# A file added to this folder is a data set more; there is no list to keep.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
