"""Runs one after the other: skipped, failed, stopped, refused."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segplugins.claims import Run, Stage, State, run_all
from segplugins.claims.execute import ChildProcess, wait_for
from segplugins.claims.state import read_record
from segplugins.engine.command import Stopped
from segplugins.engine.stopping import StopRequests


class Fakes:
    """Runs that finish at once, and what was told of them."""

    def __init__(self, finished=(), others=(), failing=(), stopping=()):
        self.finished, self.others = set(finished), set(others)
        self.failing, self.stopping = failing, stopping
        self.started, self.told = [], []

    def state(self, run):
        stage = Stage.FINISHED if run.title in self.finished else Stage.NEW
        return State(stage, "SEED is 1, was 2" if run.title in self.others else "", 60.0)

    def start(self, run):
        self.started.append(run.title)
        if run.title in self.stopping:
            raise Stopped(number=signal.SIGTERM)
        if run.title in self.failing:
            (run.folder / "claim_console.txt").write_text("a\nerror: no data\n\n")
            return 2
        self.finished.add(run.title)
        return 0

    def run(self, runs):
        return run_all(runs, self.state, self.start, tell=self.told.append, again="python x")


@pytest.fixture
def three(tmp_path):
    """A training, its evaluation, and another training."""

    def run(title, **rest):
        (tmp_path / title).mkdir()
        return Run(title, tmp_path / title, "train_net.py", (), **rest)

    first = run("first")
    return [first, run("second", requires=(first,), weights=Path("w")), run("third")]


def test_what_is_finished_is_skipped_and_progress_says_how_much_is_left(three):
    fakes = Fakes(finished=["first", "second"])
    assert fakes.run(three).failed == {}
    assert fakes.started == ["third"]
    assert fakes.told == [
        "2 of 3 runs are finished already", "run 1 of 1: third, about 1 min left",
    ]  # fmt: skip
    assert fakes.run(three).failed == {} and fakes.started == ["third"]


def test_an_evaluation_of_weights_that_change_is_done_again(three):
    fakes = Fakes(finished=["second", "third"])
    fakes.run(three)
    assert fakes.started == ["first", "second"]


def test_a_failure_is_told_costs_what_needs_it_and_the_others_go_on(three):
    fakes = Fakes(failing=["first"])
    failed = fakes.run(three).failed
    assert fakes.started == ["first", "third"]
    assert failed["first"].startswith("exit status 2: error: no data (")
    assert failed["second"] == "needs 'first', which did not end well"


def test_a_run_without_results_has_failed_whatever_its_exit_status(three):
    fakes = Fakes()
    fakes.start = lambda run: 0
    assert "it ended without its results" in fakes.run(three).failed["third"]


def test_a_folder_of_another_run_is_refused_before_any_starts(three):
    fakes = Fakes(others=["third"])
    with pytest.raises(ValueError, match="third' holds another run than third: SEED is 1, was 2"):
        fakes.run(three)
    assert fakes.started == []


def test_a_stop_says_which_run_goes_on_and_how(three):
    fakes = Fakes(stopping=["second"])
    with pytest.raises(Stopped, match="second; finished runs are kept .*: python x") as stop:
        fakes.run(three)
    assert stop.value.number == signal.SIGTERM and fakes.started == ["first", "second"]
    assert read_record(three[1].folder)["ended"] is False
    assert read_record(three[0].folder)["ended"] is True


def test_a_child_writes_its_lines_and_gets_the_options_of_the_machine(tmp_path):
    (tmp_path / "echo.py").write_text("import sys; print(*sys.argv[1:]); sys.exit(3)")
    start = ChildProcess(tmp_path, ["--num-gpus", "0"])
    config = Run("a", tmp_path / "out", "echo.py", ("--resume",), Path("c.yaml"), ("KEY", "1"))
    assert start(config) == 3
    text = (tmp_path / "out/claim_console.txt").read_text()
    assert text == "--num-gpus 0 --resume KEY 1\n"
    command = start.command(Run("a", tmp_path, "-m", ("json.tool", "x")))
    assert command == [sys.executable, "-m", "json.tool", "x"]


def test_a_stop_is_handed_on_once_and_the_child_may_save(tmp_path):
    saving = (
        "import os, signal, sys, time\n"
        "signal.signal(15, lambda *a: (time.sleep(0.3), print('saved', flush=True), sys.exit(9)))\n"
        "os.kill(os.getppid(), 15); os.kill(os.getppid(), 15); time.sleep(60)"  # twice is once
    )
    (tmp_path / "save.py").write_text(saving)
    with pytest.raises(Stopped) as stop:
        ChildProcess(tmp_path)(Run("a", tmp_path / "out", "save.py", ()))
    assert stop.value.number == signal.SIGTERM
    assert (tmp_path / "out/claim_console.txt").read_text() == "saved\n"


def test_a_child_that_does_not_end_when_asked_is_ended():
    deaf = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    child.stdout.readline()
    stop = StopRequests()
    stop.number = signal.SIGINT
    assert wait_for(child, stop, seconds=0.1) == -signal.SIGKILL
    child.stdout.close()
