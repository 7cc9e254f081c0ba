"""Training that is stopped: by signals, by a bad loss, by memory that is used up."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase

from segplugins.engine import Trainer
from segplugins.engine.command import Stopped
from segplugins.engine.steps import OutOfMemory
from segplugins.engine.stopping import StopRequests
from tests.support.commands import Command

TOY = Path(__file__).resolve().parents[1] / "support" / "toy.py"


class After(HookBase):
    """Does something after an iteration."""

    def __init__(self, iteration, action):
        self.iteration, self.action = iteration, action

    def after_step(self):
        if self.trainer.iter == self.iteration:
            self.action()


def trained(cfg, hook=None, *, resume=False):
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    if hook:
        trainer.register_hooks([hook])
    trainer.train()
    return trainer


def interrupt(number=signal.SIGINT):
    return lambda: os.kill(os.getpid(), number)


def weights(cfg):
    return torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth")["model"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_saves_and_the_resumed_run_is_the_uninterrupted_one(toy_cfg, number):
    options = "MODEL.TOY.DROPOUT 0.3 SOLVER.CHECKPOINT_PERIOD 100"
    whole, parts = toy_cfg(options, output="whole"), toy_cfg(options, output="parts")
    trained(whole)
    before = signal.getsignal(number)
    # Noted after the step of iteration 1, so agreed in that of iteration 2.
    with pytest.raises(Stopped, match=r"saved in '.*model_0000002.pth'; go on .*--resume") as stop:
        trained(parts, After(1, interrupt(number)))
    assert stop.value.number == number and signal.getsignal(number) is before
    trainer = trained(parts, resume=True)
    assert trainer.start_iter == 3
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name]), name


def test_a_signal_in_an_evaluation_ends_it_at_once_and_saves(toy_cfg):
    cfg = toy_cfg("TEST.EVAL_PERIOD 2 SOLVER.CHECKPOINT_PERIOD 100")
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    trainer.test = lambda cfg, model: interrupt()()
    with pytest.raises(Stopped, match="saved in '.*model_0000001.pth'"):
        trainer.train()
    assert torch.load(Path(cfg.OUTPUT_DIR) / "model_0000001.pth")["iteration"] == 1


def test_a_signal_after_the_last_step_leaves_the_run_to_end(toy_cfg):
    cfg = toy_cfg("DATASETS.TEST ()")
    trained(cfg, After(5, interrupt()))
    assert weights(cfg)


def test_two_signals_at_once_are_one_and_a_later_one_stops_where_it_arrives(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with StopRequests() as stop:
        interrupt()()
        now[0] += 1
        interrupt(signal.SIGTERM)()
        assert stop.number == signal.SIGINT and not stop.abandoned
        now[0] += 5
        with pytest.raises(Stopped):
            interrupt()()
        assert stop.abandoned


class Spoiled(HookBase):
    """Makes the loss of an iteration NaN, or its memory too little."""

    def __init__(self, iteration, error=None):
        self.iteration, self.error = iteration, error

    def before_step(self):
        def spoil(module, args, output):
            if self.error:
                raise self.error
            return output * float("nan")

        if self.trainer.iter == self.iteration:
            self.handle = self.trainer.model.head.register_forward_hook(spoil)

    def after_step(self):
        if self.trainer.iter == self.iteration:
            self.handle.remove()


@pytest.mark.parametrize(
    "error, kind, message",
    [
        (None, FloatingPointError, r"iteration 4.*images .*/images/train/\d+.png.*before is saved"),
        (torch.OutOfMemoryError("CUDA"), OutOfMemory, r"4 images at once: .*\.png \(\d+ x 12\)"),
    ],
)
def test_a_step_that_fails_leaves_the_one_before_to_resume_from(
    toy_cfg, caplog, error, kind, message
):
    options = "SOLVER.CHECKPOINT_PERIOD 100 TEST.EVAL_PERIOD 0"
    whole, parts = toy_cfg(options, output="whole"), toy_cfg(options, output="parts")
    trained(whole)
    with pytest.raises(kind, match=message):
        trained(parts, Spoiled(4, error))
    assert "Traceback" not in caplog.text
    assert trained(parts, resume=True).start_iter == 4
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name]), name


def test_a_failed_last_step_is_not_evaluated(toy_cfg):
    cfg = toy_cfg("TEST.BEST_METRIC sem_seg/mIoU")
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    trainer.register_hooks([Spoiled(5)])
    trainer.test = lambda cfg, model: pytest.fail("evaluated")
    with pytest.raises(FloatingPointError):
        trainer.train()


def test_half_a_line_of_metrics_does_not_spoil_the_next(toy_cfg):
    cfg = toy_cfg("DATASETS.TEST ()")
    metrics = Path(cfg.OUTPUT_DIR) / "metrics.json"
    metrics.parent.mkdir()
    metrics.write_text('{"note": 1}\n{"itera')
    trained(cfg)
    lines = metrics.read_text().splitlines()
    assert lines[0] == '{"note": 1}' and all(line.startswith("{") for line in lines[1:])
    assert '{"itera{' not in metrics.read_text() and len(lines) > 1


def alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def assert_gone(pids):
    """Within 100 seconds: the machine may be busy."""
    deadline = time.monotonic() + 100
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def children(pid):
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in pids]


def started(world, output, *options):
    """Two processes that train; returns when they do."""
    command = Command(
        TOY, "--world", world, "--num-gpus", "0", "--num-processes", "2",
        *options, "OUTPUT_DIR", output, "SOLVER.MAX_ITER", "1000000",
    )  # fmt: skip
    command.wait_for(r"iter: \d+ .*total_loss")
    return command, children(command.process.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_two_processes_save_and_end_with_their_parent_at_term_and_at_kill(toy_world, tmp_path):
    output = tmp_path / "run"
    parent, ranks = started(toy_world, output)
    assert len(ranks) >= 2
    parent.process.terminate()
    done = parent.ended(100)
    assert done.returncode == 128 + signal.SIGTERM
    assert re.fullmatch(r"stopped: training, saved in '.*model_\d+.pth'; go on .*\n", done.stderr)
    (tag,) = re.findall(r"model_\d+.pth", done.stderr)
    assert (output / "last_checkpoint").read_text() == tag and (output / tag).is_file()
    assert_gone(ranks)

    parent, ranks = started(toy_world, output, "--resume")
    parent.process.kill()
    parent.ended(100)
    assert_gone(ranks)
