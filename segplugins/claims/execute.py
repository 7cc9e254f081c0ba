"""Runs of a plan one after the other, each in a process of its own; what is finished is skipped."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from segplugins.claims.plan import Run
from segplugins.claims.state import Stage, State, write_record
from segplugins.engine.command import Stopped
from segplugins.engine.stopping import StopRequests

CONSOLE = "claim_console.txt"
_SECONDS_TO_END = 300.0  # that a stopped child has to save its weights
_LOOK_SECONDS = 0.2  # between two looks at the child

Start = Callable[[Run], int]  # runs to the end and returns the exit status
Tell = Callable[[str], None]


class Outcome(NamedTuple):
    """What has become of a plan.

    Args:
        failed: title of a run to why it did not end well.
    """

    failed: Dict[str, str]


class ChildProcess:
    """Starts runs as child processes.

    Args:
        tools: folder of the tools.
        launch: options that depend on the machine: ["--num-gpus", "0"].
    """

    def __init__(self, tools: Path, launch: Sequence[str] = ()) -> None:
        self.tools = tools
        self.launch = list(launch)

    def command(self, run: Run) -> List[str]:
        """Returns the command line of a run."""
        launch = self.launch if run.config else []
        # "-m" runs a module, any other word is a file of tools/.
        tool = run.tool if run.tool == "-m" else str(self.tools / Path(run.tool).name)
        return [sys.executable, tool, *launch, *run.arguments, *run.options]

    def __call__(self, run: Run) -> int:
        """Runs to the end; what the child prints is added to claim_console.txt in its folder.

        Raises:
            Stopped: this process was asked to stop; the child has saved its work and ended.
        """
        run.folder.mkdir(parents=True, exist_ok=True)
        with (run.folder / CONSOLE).open("a", encoding="utf-8") as console, StopRequests() as stop:
            child = subprocess.Popen(self.command(run), stdout=console, stderr=subprocess.STDOUT)
            status = wait_for(child, stop)
        if stop.number is not None:
            raise Stopped(number=stop.number)
        return status


def wait_for(
    child: "subprocess.Popen[bytes]", stop: StopRequests, seconds: float = _SECONDS_TO_END
) -> int:
    """Returns the exit status of a child; a request to stop is handed on to it.

    It then has time to save its work. It is killed where it does not end in that time, or at a
    second request.

    Args:
        child: that runs.
        stop: entered; notes the requests.
        seconds: that the child has after a request.
    """
    end = float("inf")
    try:
        while time.monotonic() < end:
            try:
                return child.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                if stop.number is not None and end == float("inf"):
                    end = time.monotonic() + seconds
                    child.terminate()
    except Stopped:
        pass
    child.kill()
    return child.wait()


def run_all(
    runs: Sequence[Run],
    state_of: Callable[[Run], State],
    start: Start,
    *,
    tell: Tell,
    again: str,
) -> Outcome:
    """Runs what is not finished; a run that fails is told and the others go on without it.

    Args:
        runs: of a plan, what is needed first.
        state_of: how far a run is; asked of all runs before the first is started.
        start: runs one.
        tell: gets lines of progress.
        again: the command that goes on after a stop.

    Raises:
        ValueError: a folder holds another run.
        Stopped: at Ctrl-C or SIGTERM; its text says how to go on.
    """
    states = {run.folder: state_of(run) for run in runs}
    _check_same(runs, states)
    open_runs = _open(runs, states)
    finished = len(runs) - len(open_runs)
    if finished:
        tell(f"{finished} of {len(runs)} runs are finished already")
    took = [state.seconds for state in states.values() if state.seconds] if finished else []
    failed: Dict[str, str] = {}
    lost: Set[Path] = set()
    for number, run in enumerate(open_runs, start=1):
        missing = [needed.title for needed in run.requires if needed.folder in lost]
        if missing:
            problem = f"needs '{missing[0]}', which did not end well"
        else:
            goes_on = ", goes on" if states[run.folder].stage is Stage.STARTED else ""
            left = _left(took, number, open_runs)
            tell(f"run {number} of {len(open_runs)}: {run.title}{goes_on}{left}")
            seconds, problem = _timed(run, start, again)
            took.append(seconds)
            if not problem and state_of(run).stage is not Stage.FINISHED:
                problem = f"it ended without its results; see {run.folder / CONSOLE}"
        if problem:
            lost.add(run.folder)
            failed[run.title] = problem
            tell(f"    failed, {problem}")
    return Outcome(failed)


def _check_same(runs: Sequence[Run], states: Mapping[Path, State]) -> None:
    for run in runs:
        if states[run.folder].other:
            raise ValueError(
                f"'{run.folder}' holds another run than {run.title}: {states[run.folder].other}; "
                "remove the folder, or choose another --output (--only-table reads it as it is)"
            )


def _open(runs: Sequence[Run], states: Mapping[Path, State]) -> List[Run]:
    """Returns the runs that are not finished; an evaluation too if its weights may change."""
    folders: Set[Path] = set()
    for run in runs:
        unfinished = states[run.folder].stage is not Stage.FINISHED
        if unfinished or (run.weights and any(each.folder in folders for each in run.requires)):
            folders.add(run.folder)
    return [run for run in runs if run.folder in folders]


def _timed(run: Run, start: Start, again: str) -> Tuple[float, str]:
    """Returns the seconds that a run took, and why it did not end well, "" where it did."""
    began = time.monotonic()
    try:
        status = start(run)
    except KeyboardInterrupt as stop:
        write_record(run, time.monotonic() - began, ended=False)
        raise Stopped(
            f"{run.title}; finished runs are kept and this one goes on: {again}",
            getattr(stop, "number", signal.SIGINT),
        ) from stop
    seconds = time.monotonic() - began
    write_record(run, seconds, ended=status == 0)
    return seconds, "" if status == 0 else f"exit status {status}: {last_line(run.folder)}"


def _left(took: Sequence[float], number: int, runs: Sequence[Run]) -> str:
    """Returns ", about 14 min left", from the mean of the runs so far; "" before there is one."""
    if not took:
        return ""
    minutes = sum(took) / len(took) * (len(runs) - number + 1) / 60
    return f", about {max(1, round(minutes))} min left"


def last_line(folder: Path) -> str:
    """Returns the last line that a run has printed, with the place of all of them."""
    path = folder / CONSOLE
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    line = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"{line[:300]} ({path})"
