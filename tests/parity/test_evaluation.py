"""Metrics against the numbers that the reference implementations gave.

Tolerances of the recordings' README: 1e-7 on percent, 1e-9 on fractions.
"""

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.semantic import SemanticEvaluator

PERCENT = 1e-7


def expected_in(recording):
    return json.loads(bytes(recording["expected_json"]).decode())


@pytest.fixture
def dataset():
    """Registers records under one name; the files they name are whatever a test reads."""
    name = "parity_evaluation"

    def register(records):
        DatasetCatalog.pop(name, None)
        DatasetCatalog.register(name, lambda: records)
        return name

    yield register
    DatasetCatalog.pop(name, None)


def test_semantic_segmentation_equals_detectron2(parity, dataset):
    recording = np.load(parity / "semseg.npz")
    cases = expected_in(recording)
    assert cases
    for case, facts in cases.items():
        size = facts["K"]
        records = [
            {"file_name": f"{case}_pred_{k:03}", "sem_seg_file_name": f"{case}_gt_{k:03}"}
            for k in range(facts["n"])
        ]
        # detectron2 forms (K + 1) * label + label in 8 bits: above K = 15 it means nothing.
        boundary = facts["boundary"] and size * (size + 1) < 256
        evaluator = SemanticEvaluator(
            dataset(records),
            [f"c{i}" for i in range(size)],
            fold=ClassFold(size, ignore_label=facts["ignore"]),
            boundary=boundary,
            read_truth=recording.__getitem__,
        )
        for record in records:
            prediction = torch.from_numpy(recording[record["file_name"]].astype(np.int64))
            evaluator.process([record], [{"sem_seg": prediction}])
        result = evaluator.evaluate()["sem_seg"]
        assert np.array_equal(evaluator.confusion, recording[f"{case}_conf"])
        for key, value in facts["expected"].items():
            if boundary or not key.startswith(("BoundaryIoU-", "min(IoU, B-Iou)-")):
                assert result[key] == pytest.approx(value, abs=PERCENT, nan_ok=True), (case, key)
