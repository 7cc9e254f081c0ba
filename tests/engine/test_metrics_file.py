"""metrics.json names every iteration once, whatever happened to the run before."""

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase

from segplugins.engine import Trainer
from segplugins.engine.metrics_file import LateWriter, cut_metrics


def write_lines(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def line(iteration, **values):
    return json.dumps({"iteration": iteration, **values})


def test_lines_from_the_first_iteration_on_are_removed_and_counted(tmp_path, caplog):
    lines = [line(19, total_loss=2.0), line(39, total_loss=1.5), line(40, total_loss=1.4)]
    path = write_lines(tmp_path / "metrics.json", *lines)
    with caplog.at_level(logging.INFO, logger="segplugins"):
        assert cut_metrics(path, 39) == 2
    assert path.read_text() == lines[0] + "\n"
    (message,) = caplog.messages
    assert message.startswith("2 lines of ") and "starts at iteration 39" in message


def test_a_file_with_nothing_to_remove_is_not_written_again(tmp_path, caplog):
    path = write_lines(tmp_path / "metrics.json", line(19), line(38))
    os.utime(path, ns=(10**9, 10**9))
    with caplog.at_level(logging.INFO, logger="segplugins"):
        assert cut_metrics(path, 39) == 0
    assert path.stat().st_mtime_ns == 10**9 and not caplog.messages


def test_a_missing_and_an_empty_file_have_nothing_to_remove(tmp_path):
    assert cut_metrics(tmp_path / "metrics.json", 0) == 0
    assert not (tmp_path / "metrics.json").exists()
    (tmp_path / "metrics.json").touch()
    assert cut_metrics(tmp_path / "metrics.json", 0) == 0


@pytest.mark.parametrize("keep, left", [(False, [3]), (True, [3, 4])])
def test_the_last_evaluation_of_a_whole_run_stands_under_the_next_iteration(tmp_path, keep, left):
    path = write_lines(tmp_path / "metrics.json", line(3), line(4, mIoU=50.0), line(5))
    cut_metrics(path, 4, keep_last_evaluation=keep)
    assert [json.loads(text)["iteration"] for text in path.read_text().splitlines()] == left


def test_half_a_line_goes_and_lines_without_an_iteration_stay(tmp_path):
    others = ["no json", "[1]", '{"note": "by hand"}', '{"iteration": "9"}']
    path = write_lines(tmp_path / "metrics.json", *others, line(7, loss=float("nan")))
    with path.open("a") as file:
        file.write('{"iteration": 2, "total')
    assert cut_metrics(path, 5) == 1
    assert path.read_text().splitlines() == others


class Killed(Exception):
    """What a power cut is to this test."""


class WriteThenDie(HookBase):
    """Writes metrics after every step, and ends the process, as it were, after one."""

    def __init__(self, last):
        self.last = last

    def after_step(self):
        next(hook for hook in self.trainer._hooks if isinstance(hook, LateWriter)).write()
        if self.trainer.iter == self.last:
            raise Killed


def train_until(cfg, last, resume):
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    trainer.register_hooks([WriteThenDie(last)])
    trainer.train()


def iterations(cfg):
    lines = Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()
    return [json.loads(each)["iteration"] for each in lines]


def test_a_resumed_run_and_one_that_starts_again_write_each_iteration_once(toy_cfg):
    cfg = toy_cfg("DATASETS.TEST ()")  # a checkpoint after iterations 2 and 5
    with pytest.raises(Killed):
        train_until(cfg, 1, resume=False)
    assert iterations(cfg) == [0, 1]
    with pytest.raises(Killed):  # no checkpoint was written: from the beginning
        train_until(cfg, 4, resume=True)
    assert iterations(cfg) == [0, 1, 2, 3, 4]
    train_until(cfg, None, resume=True)
    assert iterations(cfg) == [0, 1, 2, 3, 4, 5]


def test_a_run_that_stops_where_it_has_just_written_writes_no_second_time(toy_cfg):
    with pytest.raises(Killed):
        train_until(toy_cfg("DATASETS.TEST ()"), 0, resume=False)
    assert iterations(toy_cfg()) == [0]


def test_a_run_that_is_prolonged_keeps_its_last_evaluation(toy_cfg):
    train_until(toy_cfg("SOLVER.MAX_ITER 3"), None, resume=False)
    longer = toy_cfg("SOLVER.MAX_ITER 5")
    train_until(longer, None, resume=True)
    lines = map(json.loads, Path(longer.OUTPUT_DIR, "metrics.json").read_text().splitlines())
    lines = list(lines)
    assert [each["iteration"] for each in lines if "sem_seg/mIoU" in each] == [3, 5]
    assert [each["iteration"] for each in lines if "total_loss" in each] == [0, 1, 2, 3, 4]
