"""How many processes a run starts, with how many threads, and how they tell what ended them."""

import os
import signal
from argparse import Namespace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from segplugins.engine import ConfigError, argument_parser, launch, ranks
from segplugins.engine.command import Stopped
from segplugins.engine.ranks import RankError

HERE = "in this process"


def launched(main, *words):
    launch(main, argument_parser("").parse_args(list(words)))


@pytest.fixture(autouse=True)
def keep_environment(monkeypatch):
    """What launch sets for its processes goes away again."""
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_one_process_runs_here():
    seen = []
    launched(lambda args: seen.append(args.num_gpus), "--num-gpus", "0")
    assert seen == [0]


@pytest.mark.parametrize(
    "words, message",
    [
        ("--num-gpus 99", r"--num-gpus 99, but \d+ CUDA devices are visible"),
        ("--num-gpus 0 --num-machines 2", "--num-machines above 1 needs --dist"),
        ("--num-gpus -1", "--num-gpus is -1, expected 0 or more"),
        ("--num-gpus 0 --num-processes 0", "--num-processes is 0, expected 1 or more"),
        ("--num-gpus 0 --machine-rank 1", r"--machine-rank is 1, expected 0 to 0 \(--num-m"),
    ],
)
def test_what_cannot_be_launched_is_an_error(words, message):
    with pytest.raises(ConfigError, match=message):
        launched(lambda args: None, *words.split())


def fail(args):
    raise ValueError(f"no such thing as {args.opts[0]}")


def test_an_error_of_a_rank_comes_back_as_one_line(monkeypatch):
    forked = partial(torch.multiprocessing.start_processes, start_method="fork")
    monkeypatch.setattr(torch.multiprocessing, "start_processes", forked)
    with pytest.raises(RankError, match="^no such thing as phlogiston$"):
        launched(fail, "--num-gpus", "0", "--num-processes", "2", "phlogiston", "1")


@pytest.fixture
def ranks_of(monkeypatch):
    """Calls launch on a machine of so many GPUs and cores; returns what is to be started."""

    def call(words, gpus=0, cores=8):
        started = []

        def launch_ranks(main, processes, args):
            started.append((processes, args.num_gpus))

        monkeypatch.setattr(ranks.torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(ranks.os, "cpu_count", lambda: cores)
        monkeypatch.setattr(ranks, "_launch_ranks", launch_ranks)
        launched(lambda args: started.append((HERE, args.num_gpus)), *words.split())
        return started[0]

    return call


@pytest.mark.parametrize(
    "words, gpus, started",
    [
        ("", 0, (HERE, 0)),
        ("", 4, (HERE, 1)),  # one GPU is used unless more are asked for
        ("--num-gpus 4", 4, (4, 4)),
        ("--num-gpus 1 --num-processes 3", 4, (HERE, 1)),  # processes are for CPUs
        ("--num-gpus 0 --num-processes 3", 4, (3, 0)),
        ("--num-machines 2 --dist-url tcp://a:1", 1, (1, 1)),  # one of a group is a rank too
    ],
)
def test_a_process_per_gpu_or_as_many_as_are_asked_for_on_cpus(ranks_of, words, gpus, started):
    assert ranks_of(words, gpus) == started
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ("" if started[1] == 0 else "1")


@pytest.mark.parametrize("cores, processes, threads", [(8, 3, "2"), (8, 4, "2"), (2, 3, "1")])
def test_the_cores_are_shared_among_the_processes(ranks_of, monkeypatch, cores, processes, threads):
    words = f"--num-gpus 0 --num-processes {processes}"
    monkeypatch.delenv("OMP_NUM_THREADS")
    ranks_of(words, cores=cores)
    assert os.environ["OMP_NUM_THREADS"] == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    ranks_of(words, cores=cores)
    assert os.environ["OMP_NUM_THREADS"] == "7"  # the user's own number stays
    monkeypatch.delenv("OMP_NUM_THREADS")
    ranks_of("--num-gpus 0", cores=cores)
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize(
    "words, message",
    [
        ("--num-gpus 3", "--num-gpus 3, but 2 CUDA devices are visible"),
        ("--num-gpus 2 --num-machines 0", "--num-machines is 0, expected 1 or more"),
        ("--num-machines 2 --machine-rank 2 --dist-url tcp://a:1", "is 2, expected 0 to 1"),
        ("--num-machines 2 --machine-rank -1 --dist-url tcp://a:1", "is -1, expected 0 to 1"),
    ],
)
def test_each_number_is_checked_at_its_bound(ranks_of, words, message):
    assert ranks_of("--num-gpus 2", gpus=2) == (2, 2)
    with pytest.raises(ConfigError, match=message):
        ranks_of(words, gpus=2)


class Ended(BaseException):
    """In place of os._exit."""


@pytest.mark.parametrize(
    "error, report, status",
    [
        (Stopped("saved", signal.SIGTERM), ("stopped", "saved", signal.SIGTERM), 0),
        (KeyboardInterrupt(), ("stopped", "", signal.SIGINT), 0),
        (ValueError("two\nlines"), ("error", "two lines", 0), 2),
        (KeyError("no set 'a'"), ("error", "no set 'a'", 0), 2),
    ],
)
def test_a_rank_reports_what_ended_it(monkeypatch, error, report, status):
    def end(code):
        raise Ended(code)

    def main(args):
        raise error

    reports, handlers = [], {}
    monkeypatch.setattr(ranks, "end_with_parent", lambda: None)
    monkeypatch.setattr(ranks.os, "_exit", end)
    monkeypatch.setattr(ranks.signal, "signal", lambda number, to: handlers.update({number: to}))
    queue = SimpleNamespace(put=reports.append)
    with pytest.raises(Ended) as ended:
        ranks._Rank(main, queue)(Namespace(debug=False))
    assert reports == [report] and ended.value.args == (status,)
    # While it ends it is not interrupted again.
    assert handlers == dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.SIG_IGN)
    back = ranks._as_error(*report)
    assert type(back) is (RankError if status else Stopped) and str(back).startswith(report[1])


def test_a_fault_of_the_program_leaves_the_rank_with_its_traceback(monkeypatch):
    def main(args):
        raise KeyError("name")

    reports = []
    monkeypatch.setattr(ranks, "end_with_parent", lambda: None)
    monkeypatch.setattr(ranks.signal, "signal", lambda number, to: None)
    with pytest.raises(KeyError, match="name"):
        ranks._Rank(main, SimpleNamespace(put=reports.append))(Namespace())
    assert reports == []


def test_a_signal_is_handed_to_every_child_and_the_handlers_come_back(monkeypatch):
    sent = []
    children = [SimpleNamespace(pid=11), SimpleNamespace(pid=12)]
    monkeypatch.setattr(ranks.multiprocessing, "active_children", lambda: children)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ranks._Forward() as forward:
        assert forward.number is None
        with monkeypatch.context() as patch:
            patch.setattr(ranks.os, "kill", lambda pid, number: sent.append((pid, number)))
            signal.raise_signal(signal.SIGTERM)
    assert sent == [(11, signal.SIGTERM), (12, signal.SIGTERM)]
    assert forward.number == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
