"""The examples in docstrings print what they say, and every public evaluator has one."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image

import segplugins.evaluation
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Region, encode_mask

# What the examples take for imported.
NAMES = {
    "Boxes": Boxes,
    "DatasetCatalog": DatasetCatalog,
    "Image": Image,
    "Instances": Instances,
    "MetadataCatalog": MetadataCatalog,
    "Region": Region,
    "SemanticEvaluator": SemanticEvaluator,
    "Vocabulary": Vocabulary,
    "encode_mask": encode_mask,
    "np": np,
    "register_vocabulary": register_vocabulary,
    "torch": torch,
}


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in pkgutil.iter_modules(segplugins.evaluation.__path__):
        loaded = importlib.import_module(f"segplugins.evaluation.{module.name}")
        yield from (test for test in finder.find(loaded) if test.examples)


EXAMPLES = {test.name: test for test in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(DatasetCatalog.list())
    test = EXAMPLES[name]
    test.globs.update(NAMES)
    report = []
    try:
        failed = doctest.DocTestRunner(verbose=False).run(test, out=report.append).failed
    finally:
        for dataset in set(DatasetCatalog.list()) - before:
            DatasetCatalog.remove(dataset)
    assert not failed, "".join(report)


def test_every_evaluator_has_an_example():
    classes = [SampleEvaluator]
    for evaluator in classes:
        classes.extend(evaluator.__subclasses__())
    for evaluator in classes[1:]:
        if evaluator.__module__.startswith("segplugins.evaluation"):
            assert f"{evaluator.__module__}.{evaluator.__qualname__}" in EXAMPLES, evaluator
    for others in ("instances.InstanceEvaluator", "open_vocab.OpenVocabEvaluator"):
        assert f"segplugins.evaluation.{others}" in EXAMPLES
