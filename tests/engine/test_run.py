import json
import logging
from argparse import Namespace

import pytest
import torch

from segplugins.engine import ConfigError, Trainer, argument_parser, evaluate, launch, train


def test_the_command_line_is_that_of_detectron2():
    words = "--config-file a.yaml --num-gpus 2 --num-machines 3 --machine-rank 1 --resume"
    args = argument_parser("says what it does").parse_args(
        [*words.split(), "--dist-url", "tcp://b:1", "SOLVER.MAX_ITER", "5"]
    )
    assert (args.config_file, args.num_gpus, args.num_machines) == ("a.yaml", 2, 3)
    assert (args.machine_rank, args.resume, args.eval_only) == (1, True, False)
    assert args.opts == ["SOLVER.MAX_ITER", "5"]


def launched(main, *words):
    launch(main, argument_parser("").parse_args(list(words)))


@pytest.fixture
def keep_environment(monkeypatch):
    """What launch sets for its processes goes away again."""
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_one_process_runs_here(keep_environment):
    seen = []
    launched(lambda args: seen.append(args.num_gpus), "--num-gpus", "0")
    assert seen == [0]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--num-gpus", "99"], r"error: --num-gpus 99, but \d+ CUDA devices are visible"),
        (["--num-gpus", "0", "--num-machines", "2"], "error: --num-machines above 1 needs --dist"),
    ],
)
def test_what_cannot_be_launched_ends_in_one_line(words, message):
    with pytest.raises(SystemExit, match=message):
        launched(lambda args: None, *words)


def test_a_config_error_ends_in_one_line(keep_environment):
    def main(args):
        raise ConfigError("a.yaml line 3: unknown config key 'X'")

    with pytest.raises(SystemExit, match="^error: a.yaml line 3: unknown config key 'X'$"):
        launched(main, "--num-gpus", "0")


def written(cfg):
    with open(f"{cfg.OUTPUT_DIR}/results.json", encoding="utf-8") as file:
        return json.load(file)


def test_an_evaluation_leaves_results_and_protocol(toy_cfg, caplog):
    cfg = toy_cfg("DATASETS.TEST ('toy_val','toy_train')")
    with caplog.at_level(logging.INFO, logger="segplugins"):
        results = evaluate(cfg)
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
        evaluate(cfg)


def test_a_vocabulary_without_a_known_name_is_told(toy_cfg):
    with pytest.raises(ValueError, match="none of the 2 names of TEST.VOCABULARY.*'toy_val'"):
        evaluate(toy_cfg("TEST.VOCABULARY zebra,bus"))


def test_evaluation_runs_in_lower_precision_where_asked(toy_cfg, monkeypatch):
    seen = []
    build = Trainer.build_model.__func__

    def watched(cls, cfg):
        model = build(cls, cfg)
        model.head.register_forward_hook(lambda m, i, output: seen.append(output.dtype))
        return model

    monkeypatch.setattr(Trainer, "build_model", classmethod(watched))
    evaluate(toy_cfg("TEST.AMP.ENABLED True"))
    assert set(seen) == {torch.bfloat16}


def test_a_namespace_without_launch_options_is_enough():
    from segplugins.engine import setup_cfg

    assert setup_cfg(Namespace(config_file="", opts=[])).SOLVER.OPTIMIZER == "adamw"
