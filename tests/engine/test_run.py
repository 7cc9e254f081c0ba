import json
import logging
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from segplugins.engine import Trainer, default_setup, evaluate, setup_cfg, train
from segplugins.engine.read_config import ConfigError


def written(cfg):
    with open(f"{cfg.OUTPUT_DIR}/results.json", encoding="utf-8") as file:
        return json.load(file)


def test_an_evaluation_leaves_results_and_protocol(toy_cfg, caplog):
    cfg = toy_cfg("DATASETS.TEST ('toy_val','toy_train')")
    with caplog.at_level(logging.INFO, logger="segplugins"):
        results = evaluate(cfg, random_weights=True)
    assert list(written(cfg)["results"]) == list(written(cfg)["protocol"]) == list(results)
    found = written(cfg)["results"]["toy_val"]["sem_seg"]["mIoU"]
    assert found == pytest.approx(results["toy_val"]["sem_seg"]["mIoU"])
    (table,) = [text for text in caplog.messages if text.startswith("Results\n")]
    assert "toy_val" in table and "toy_train" in table and "mIoU" in table


def test_a_training_leaves_the_results_of_its_last_weights(toy_cfg):
    cfg = toy_cfg("SOLVER.MAX_ITER 2")
    results = train(cfg)
    assert written(cfg)["results"]["toy_val"]["sem_seg"]["mIoU"] == pytest.approx(
        results["sem_seg"]["mIoU"]
    )
    assert written(cfg)["protocol"]["toy_val"]["checkpoint"]["file"].endswith("model_final.pth")


def test_expected_results_that_are_not_met_fail(toy_cfg):
    cfg = toy_cfg("TEST.EXPECTED_RESULTS [['sem_seg','mIoU',200.0,0.1]]")
    with pytest.raises(SystemExit):
        evaluate(cfg, random_weights=True)


def test_a_vocabulary_without_a_known_name_is_told(toy_cfg):
    with pytest.raises(ValueError, match="none of the 2 names of TEST.VOCABULARY.*'toy_val'"):
        evaluate(toy_cfg("TEST.VOCABULARY zebra,bus"), random_weights=True)


def test_evaluation_runs_in_lower_precision_where_asked(toy_cfg, monkeypatch):
    seen = []
    build = Trainer.build_model.__func__

    def watched(cls, cfg):
        model = build(cls, cfg)
        model.head.register_forward_hook(lambda m, i, output: seen.append(output.dtype))
        return model

    monkeypatch.setattr(Trainer, "build_model", classmethod(watched))
    evaluate(toy_cfg("TEST.AMP.ENABLED True"), random_weights=True)
    assert set(seen) == {torch.bfloat16}


def test_a_namespace_without_launch_options_is_enough():
    assert setup_cfg(Namespace(config_file="", opts=[])).SOLVER.OPTIMIZER == "adamw"


@pytest.mark.parametrize("evaluation", [False, True])
def test_a_run_that_is_refused_leaves_no_folder(toy_cfg, monkeypatch, evaluation):
    cfg = toy_cfg()
    folder = Path(cfg.OUTPUT_DIR)
    default_setup(cfg, evaluation=evaluation)
    assert (folder / "log.txt").exists()
    monkeypatch.setattr("segplugins.engine.run.check_evaluation", lambda cfg: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(cfg, random_weights=True) if evaluation else train(cfg)
    assert not folder.exists()


def test_pictures_of_another_order_of_colours_are_one_line(toy_cfg):
    with pytest.raises(ConfigError, match=r"INPUT.FORMAT is 'BGR', expected one of \('RGB',\)"):
        toy_cfg("INPUT.FORMAT BGR")


def test_an_empty_output_folder_is_not_the_current_one(toy):
    args = Namespace(config_file="", opts=[*toy.OPTIONS.split(), "OUTPUT_DIR", " "])
    with pytest.raises(ConfigError, match="OUTPUT_DIR is empty; name the folder"):
        setup_cfg(args, [toy.add_toy_config])
