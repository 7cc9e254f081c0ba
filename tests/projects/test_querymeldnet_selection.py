"""Selection statistics: whose queries give the segments of things and of stuff."""

import csv
import json
import math
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from segplugins.drawn_world import write_drawn_world
from segplugins.engine import evaluate, setup_cfg
from segplugins.projects.querymeldnet import add_config
from segplugins.projects.querymeldnet.selection import (
    SelectionEvaluator,
    write_selection,
)
from tests.projects.test_querymeldnet import build

ROOT = Path(__file__).resolve().parents[2]
NAMES, THINGS = ("cat", "sky", "sea"), (True, False, False)


def output(*segments):
    infos = [{"category_id": category, "queries": queries} for category, queries in segments]
    return {"panoptic_seg": (None, infos)}


def counted(*outputs, learnable=3, **options):
    evaluator = SelectionEvaluator(NAMES, THINGS, learnable=learnable, **options)
    evaluator.process([{}] * len(outputs), outputs)
    return evaluator


def test_queries_from_the_number_of_learnable_ones_on_are_conditional():
    evaluator = counted(output((0, [3]), (1, [2])), output((0, [0]), (1, [7, 1, 2])))
    assert evaluator.counts.tolist() == [[1, 1], [3, 1], [0, 0]]
    scores = evaluator.evaluate()["selection"]
    assert scores == {
        "things": 2, "things_conditional": 50.0, "stuff": 4, "stuff_learnable": 75.0,
    }  # fmt: skip
    evaluator.reset()
    assert not evaluator.counts.any()


def test_what_was_never_selected_has_no_share():
    scores = counted(output()).evaluate()["selection"]
    assert scores["things"] == 0 and math.isnan(scores["things_conditional"])


def test_results_without_queries_name_the_image():
    evaluator = SelectionEvaluator(NAMES, THINGS, learnable=3)
    for wrong in ({"sem_seg": None}, {"panoptic_seg": (None, [{"category_id": 0}])}):
        with pytest.raises(ValueError, match="image a.png: no panoptic segments that name their"):
            evaluator.process([{"file_name": "a.png"}], [wrong])


def test_a_table_and_a_picture_are_written(tmp_path):
    write_selection(tmp_path / "new", NAMES, THINGS, np.array([[1, 4], [3, 0], [0, 0]]))
    with open(tmp_path / "new" / "selection.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "kind", "learnable", "conditional"],
        ["cat", "thing", "1", "4"],
        ["sky", "stuff", "3", "0"],
        ["sea", "stuff", "0", "0"],
    ]
    with Image.open(tmp_path / "new" / "selection.png") as picture:
        assert picture.size[0] > 300


def test_the_model_says_how_many_of_its_queries_are_learnable(tmp_path):
    MetadataCatalog.get("selection_set").set(
        stuff_classes=list(NAMES),
        thing_dataset_id_to_contiguous_id={0: 0},
        stuff_dataset_id_to_contiguous_id={0: 0, 1: 1, 2: 2},
        thing_classes=list(NAMES),
        evaluator_type=["sem_seg", "panoptic"],
    )
    try:
        for mode, learnable in (("meld", 3), ("conditional", 0), ("learnable", 8)):
            model = build(QUERY_MODE=mode)
            evaluator = model.further_evaluator("selection_set", str(tmp_path))
            assert evaluator.learnable == learnable and evaluator.names == NAMES
            assert evaluator.is_thing.tolist() == list(THINGS)
        assert model.further_evaluator("selection_none", str(tmp_path)) is None
    finally:
        MetadataCatalog.remove("selection_set")
        MetadataCatalog.remove("selection_none")


def test_it_is_measured_in_the_pass_of_an_evaluation(tmp_path, monkeypatch):
    write_drawn_world(tmp_path / "drawn", train=1, val=2, clips=1, val_clips=1, size=64, seed=0)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.chdir(ROOT)
    options = {
        "MODEL.DEVICE": "cpu",
        "MODEL.QMN.TEST.SCORE_THRESHOLD": "0.0",  # random weights are sure of nothing
        "MODEL.QMN.TEST.OVERLAP_THRESHOLD": "0.0",
        "INPUT.MIN_SIZE_TEST": "64",
        "DATASETS.TEST": "['drawn_val_panoptic', 'drawn_val_sem_seg']",
        "OUTPUT_DIR": str(tmp_path / "out"),
    }
    opts = [word for pair in options.items() for word in pair]
    args = Namespace(config_file="configs/querymeldnet/tiny.yaml", opts=opts)
    cfg = setup_cfg(args, [add_config])
    evaluate(cfg, random_weights=True)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    scores = results["results"]["drawn_val_panoptic"]
    assert "selection" not in results["results"]["drawn_val_sem_seg"]
    assert "PQ" in scores["panoptic_seg"]
    table = tmp_path / "out" / "inference" / "drawn_val_panoptic" / "selection.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    for kind, number in (("thing", "things"), ("stuff", "stuff")):
        chosen = [row for row in rows if row["kind"] == kind]
        total = sum(int(row["learnable"]) + int(row["conditional"]) for row in chosen)
        assert total == scores["selection"][number]
    assert scores["selection"]["things"] + scores["selection"]["stuff"] > 0
