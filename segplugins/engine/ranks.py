"""Starts the processes of a run on this machine, and ends with them."""

import argparse
import logging
import multiprocessing
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from typing import Any, Callable, NoReturn, Optional

import torch
from detectron2.engine import launch as launch_processes

from segplugins.engine.command import Stopped, error_line, is_user_error
from segplugins.engine.read_config import ConfigError
from segplugins.processes import end_with_parent

Main = Callable[[argparse.Namespace], Any]


class RankError(ValueError):
    """What a process of the run has raised, as one line for the user."""


def launch(main: Main, args: argparse.Namespace) -> None:
    """Runs `main(args)` in every process that the arguments ask for, on this machine.

    Ctrl-C and SIGTERM reach every process, and this one waits for them. They end with this one,
    whatever ends it.

    Args:
        main: a function of a module, so that a new process can import it.
        args: of `argument_parser`.

    Raises:
        ConfigError: more GPUs than there are, or machines without an address.
        RankError: a process ended with an error of the user.
        Stopped: a signal has stopped the run.
    """
    visible = torch.cuda.device_count()
    if args.num_gpus is None:
        args.num_gpus = 1 if visible else 0
    _check(args, visible)
    if args.num_gpus == 0:
        # detectron2 takes NCCL as soon as a process sees a GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    processes = args.num_gpus or args.num_processes
    if processes > 1 and args.num_gpus == 0:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // processes)))
    if processes * args.num_machines == 1:
        main(args)
    else:
        _launch_ranks(main, processes, args)


def _check(args: argparse.Namespace, visible: int) -> None:
    for name, least in (("num_gpus", 0), ("num_processes", 1), ("num_machines", 1)):
        value = getattr(args, name)
        if value < least:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} is {value}, expected {least} or more")
    if args.num_gpus > visible:
        raise ConfigError(
            f"--num-gpus {args.num_gpus}, but {visible} CUDA devices are visible; on CPUs use "
            "--num-gpus 0 --num-processes N"
        )
    if not 0 <= args.machine_rank < args.num_machines:
        raise ConfigError(
            f"--machine-rank is {args.machine_rank}, expected 0 to {args.num_machines - 1} "
            f"(--num-machines {args.num_machines})"
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise ConfigError(
            "--num-machines above 1 needs --dist-url tcp://<address of machine 0>:<free port>"
        )


def _launch_ranks(main: Main, processes: int, args: argparse.Namespace) -> None:
    reports = multiprocessing.get_context("spawn").SimpleQueue()
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    forward = _Forward()
    try:
        with forward:
            launch_processes(
                _Rank(main, reports),
                processes,
                num_machines=args.num_machines,
                machine_rank=args.machine_rank,
                dist_url=args.dist_url,
                args=(args,),
            )
    except torch.multiprocessing.ProcessExitedException:
        if reports.empty():  # killed, or a fault of the program, whose traceback stands above
            raise
    if not reports.empty():
        raise _as_error(*reports.get())
    if forward.number is not None:
        raise Stopped(number=forward.number)


def _as_error(kind: str, text: str, number: int) -> BaseException:
    return Stopped(text, number) if kind == "stopped" else RankError(text)


class _Forward:
    """Hands SIGINT and SIGTERM to the children of this process instead of acting on them."""

    def __init__(self) -> None:
        self.number: Optional[int] = None

    def __enter__(self) -> "_Forward":
        self._before = {
            number: signal.signal(number, self._hand_on)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hand_on(self, number: int, frame: Any) -> None:
        # At Ctrl-C the terminal has told the children too: they take two signals at once as one.
        self.number = number
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)


@dataclass
class _Rank:
    """The main function as a child process runs it; it can be pickled if the function can."""

    main: Main
    reports: SimpleQueue

    def __call__(self, args: argparse.Namespace) -> None:
        end_with_parent()
        signal.signal(signal.SIGTERM, _stop)
        try:
            self.main(args)
        except KeyboardInterrupt as stop:
            self._end("stopped", str(stop), getattr(stop, "number", signal.SIGINT))
        except Exception as error:
            if not is_user_error(error):
                raise
            if getattr(args, "debug", False):
                traceback.print_exc()
            self._end("error", error_line(error), 0)

    def _end(self, kind: str, text: str, number: int) -> NoReturn:
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, signal.SIG_IGN)
        self.reports.put((kind, text, number))
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: the clean-up of a process group waits for ranks that hang in a collective.
        # With 0 the ranks that still save are left in peace.
        os._exit(0 if kind == "stopped" else 2)


def _stop(number: int, frame: Any) -> NoReturn:
    raise Stopped(number=number)
