"""Measures ours against a named baseline in the same run, outputs compared first.

Each measured part is a module of this package with `run(bench)`: `tools/benchmark.py` finds it and
hands it a `Bench`. Times are the best of several alternating repeats, so that a busy machine slows
both sides alike; memory is what a fresh process adds while the function runs.
"""

import multiprocessing
import platform
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy
import torch
from tabulate import tabulate

_MIB = 2**20
_SAMPLE_SECONDS = 0.002


class Bench:
    """Collects rows and prints each one at once.

    Args:
        quick: asks the measured parts for their smallest sizes, only to show that they run; the
            figures mean nothing.
        device: where models are measured, "cpu" or "cuda".
        show: receives each line of the report, for instance `print`.
    """

    def __init__(self, *, quick: bool, device: str, show: Callable[[str], None]):
        self.quick = quick
        self.device = torch.device(device)
        self._show = show
        self.rows: List[Dict[str, Any]] = []

    def note(self, text: str) -> None:
        """Prints a line that explains the rows around it."""
        self._show(f"  {text}")

    def time(self, fn: Callable[[], Any], *, repeats: int = 3, threads: int = 1) -> float:
        """Returns: seconds of the fastest of `repeats` calls, with `threads` threads on a CPU."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return min(self._once(fn) for _ in range(repeats))
        finally:
            torch.set_num_threads(before)

    def compare(
        self,
        name: str,
        baseline: Callable[[], Any],
        ours: Callable[[], Any],
        *,
        check: Callable[[], None],
        repeats: int = 3,
        threads: int = 1,
        at_least: Optional[float] = None,
        baseline_share: float = 1.0,
    ) -> float:
        """Times ours against the baseline.

        Args:
            name: what the row is called.
            baseline: the same work done the plain way.
            ours: the product's way.
            check: asserts that both give the same result; called first.
            repeats: calls of each, in turns; the fastest counts.
            threads: CPU threads while measuring.
            at_least: the ratio that is claimed; printed beside the one measured.
            baseline_share: the part of the work that the baseline does where all of it would take
                too long, above 0; its time is divided by it.

        Returns:
            Seconds of the baseline by seconds of ours: above 1, ours is faster.
        """
        check()
        slow = fast = float("inf")
        for _ in range(repeats):
            slow = min(slow, self.time(baseline, repeats=1, threads=threads))
            fast = min(fast, self.time(ours, repeats=1, threads=threads))
        slow /= baseline_share
        ratio = slow / fast
        claim = "" if at_least is None else f", claimed at least {at_least:g}x"
        self._add(name, {"baseline s": slow, "ours s": fast, "ratio": ratio})
        self._show(
            f"{name}: baseline {slow:.4g} s, ours {fast:.4g} s, {ratio:.1f}x faster{claim}"
            f" (outputs equal, {threads} thread{'s' * (threads > 1)}"
            f"{f'; baseline measured on {baseline_share:.3g} of it' if baseline_share < 1 else ''})"
        )
        return ratio

    def memory(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        prepare: Optional[Callable[..., Any]] = None,
    ) -> float:
        """Measures the memory that a call adds, in a process of its own.

        Args:
            name: what the row is called.
            fn: a function of a module, since it is sent to a new process.
            args: its arguments.
            prepare: a function of a module; it gets `args`, is not measured, and what it returns is
                then the only argument of `fn`.

        Returns:
            MiB: on CUDA the highest allocated memory, else the growth of anonymous resident memory,
            which leaves memory-mapped files out.

        Raises:
            RuntimeError: the call failed in its process.
        """
        # A clean interpreter, or a fork of one: nothing of this process counts.
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_measured, args=(sender, self.device.type, fn, args, prepare)
        )
        process.start()
        sender.close()
        try:
            answer = receiver.recv()
        except EOFError:
            answer = f"the process ended with exit code {process.exitcode}"
        process.join()
        if isinstance(answer, str):
            raise RuntimeError(f"memory of '{name}' was not measured: {answer}")
        self._add(name, {"MiB": answer})
        self._show(f"{name}: {answer:.0f} MiB")
        return answer

    def cost(
        self,
        name: str,
        fn: Callable[[], Any],
        count: int,
        *,
        repeats: int = 20,
        goal: Optional[float] = None,
    ) -> float:
        """Prints the CPU time of each of `count` things that a call handles, on one thread.

        CPU time of the least of some calls: other work on the machine changes it little.

        Args:
            name: what the row is called.
            fn: a function without arguments.
            count: things that one call handles.
            repeats: calls.
            goal: milliseconds that it should take at most; printed beside the figure.

        Returns:
            Milliseconds.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            value = 1000 * min(_cpu_seconds(fn) for _ in range(repeats)) / count
        finally:
            torch.set_num_threads(threads)
        self._add(name, {"CPU ms": value})
        beside = "" if goal is None else f", goal {goal:g}"
        self._show(f"{name}: {value:.3g} ms of CPU time{beside}")
        return value

    def rate(self, name: str, seconds: float, count: int, unit: str) -> float:
        """Prints `count` things in `seconds` as a rate. Returns: things per second."""
        self._add(name, {f"{unit}/s": count / seconds})
        self._show(f"{name}: {count / seconds:.3g} {unit}/s")
        return count / seconds

    def figure(self, name: str, value: float, unit: str, *, limit: Optional[float] = None) -> float:
        """Prints a figure as it is. Returns: the value.

        Raises:
            AssertionError: it is above the limit that is claimed.
        """
        assert limit is None or value <= limit, f"{name}: {value:.4g} {unit}, claimed {limit:g}"
        self._add(name, {unit: value})
        claim = "" if limit is None else f", claimed at most {limit:g}"
        self._show(f"{name}: {value:.4g} {unit}{claim}")
        return value

    def table(self) -> str:
        """Returns: all rows as one Markdown table."""
        return tabulate(self.rows, headers="keys", tablefmt="github", floatfmt=".4g")

    def _add(self, name: str, figures: Dict[str, float]) -> None:
        self.rows.append({"what": name, **figures})

    def _once(self, fn: Callable[[], Any]) -> float:
        self._synchronize()
        start = time.perf_counter()
        fn()
        self._synchronize()
        return time.perf_counter() - start

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def machine(device: torch.device) -> str:
    """Returns: one line that says what the figures were measured on."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        models = [
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
        ]
        name = f"{len(models)} x {models[0].split(':', 1)[1].strip()}" if models else name
    if device.type == "cuda":
        name += f", {torch.cuda.get_device_name(device)}"
    versions = f"torch {torch.__version__}, numpy {numpy.__version__}"
    return f"{name}; Python {platform.python_version()}, {versions}"


def _measured(
    pipe: Any,
    device: str,
    fn: Callable[..., Any],
    args: tuple,
    prepare: Optional[Callable[..., Any]],
) -> None:
    """Runs in the new process and sends the figure, or what went wrong as text."""
    torch.set_num_threads(1)
    try:
        if prepare is not None:
            args = (prepare(*args),)
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            fn(*args)
            torch.cuda.synchronize()
            pipe.send(torch.cuda.max_memory_allocated() / _MIB)
        else:
            pipe.send(_anonymous_growth(lambda: fn(*args)) / _MIB)
    except Exception as error:  # the parent raises it again with the row's name
        pipe.send(f"{type(error).__name__}: {error}")


def _anonymous_growth(call: Callable[[], Any]) -> int:
    """Bytes of anonymous resident memory that `call` adds at its highest, sampled every 2 ms."""
    start = highest = _anonymous_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(_SAMPLE_SECONDS):
            highest = max(highest, _anonymous_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        call()
    finally:
        highest = max(highest, _anonymous_bytes())
        done.set()
        watcher.join()
    return highest - start


def _cpu_seconds(fn: Callable[[], Any]) -> float:
    start = time.process_time()
    fn()
    return time.process_time() - start


def _anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:", 1)[1].split()[0]) * 1024
