"""Average precision of boxes and masks against pycocotools and lvis, and by hand."""

import copy
import json
import logging
import math

import numpy as np
import pytest

from segplugins.evaluation.average_precision import coco_scores, lvis_scores
from tests.support.instance_sets import (
    HEIGHT,
    WIDTH,
    for_json,
    numpy_float,
    ours_of,
    random_set,
    theirs_of,
)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_200_random_sets_equal_pycocotools(tmp_path, task):
    generator = np.random.default_rng(0)
    crowds = 0
    for round_ in range(200):
        truth, results = random_set(generator)
        crowds += sum(a["iscrowd"] for a in truth["annotations"])
        if not results:
            continue
        path = tmp_path / f"{round_}.json"
        path.write_text(json.dumps(for_json(truth)))
        limit = int(generator.choice([3, 100]))
        agnostic = bool(round_ % 4 == 0)
        ours = ours_of(path, results, task, limit, agnostic)
        precision, recall = theirs_of(path, results, task, limit, agnostic)
        np.testing.assert_allclose(ours.precision, precision[..., 2], rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.recall, recall[..., 2], rtol=0, atol=1e-12)
        for at, limited in enumerate(ours.recall_at.values()):
            np.testing.assert_allclose(limited, recall[:, 0, :, at], rtol=0, atol=1e-12)
    assert crowds > 20


@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")
@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_200_random_sets_equal_lvis(tmp_path, task):
    from lvis import LVIS, LVISEval, LVISResults

    logging.getLogger("lvis").setLevel(logging.ERROR)
    generator = np.random.default_rng(1)
    for round_ in range(200):
        truth, results = random_set(generator, classes=5, lvis=True)
        path = tmp_path / f"{round_}.json"
        path.write_text(json.dumps(for_json(truth)))
        limit = int(generator.choice([3, 300]))
        name = f"AR@{limit}"
        theirs = copy.deepcopy(results)
        for result in theirs:
            result.pop("segmentation" if task == "bbox" else "bbox")
        with numpy_float():
            reference = LVIS(str(path))
            evaluation = LVISEval(reference, LVISResults(reference, theirs, limit), task)
            evaluation.params.max_dets = limit
            evaluation.run()
        expected = evaluation.get_results()
        scores = lvis_scores(ours_of(path, results, task, limit), "rcfrcf")
        for key in ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"):
            value = expected[key] if expected[key] >= 0 else float("nan")
            assert scores[key] == pytest.approx(100 * value, abs=1e-9, nan_ok=True), key
        value = expected[name] if expected[name] >= 0 else float("nan")
        assert scores["AR@300"] == pytest.approx(100 * value, abs=1e-9, nan_ok=True)
    assert "float" not in vars(np)


def test_small_medium_and_large_are_scored_apart(tmp_path):
    # One box of 20 x 20 that is found and one of 60 x 60 that is not.
    truth = {
        "images": [{"id": 1, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 50, 60, 60], "area": 3600},
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(truth))
    found = [{"bbox": [0.0, 0, 20, 20], "category_id": 1, "image_id": 1, "score": 0.5}]
    found[0]["segmentation"] = None
    scores = coco_scores(ours_of(tmp_path / "x.json", found, "bbox"))
    assert (scores["APs"], scores["APm"], scores["AR100"]) == pytest.approx((100, 0, 50))
    assert math.isnan(scores["APl"])
    # Precision is 1 up to a recall of 0.5: 51 of the 101 points.
    assert scores["AP"] == pytest.approx(100 * 51 / 101)
