"""Commands in processes that are forked from one prepared interpreter, which has imported torch.

A process of its own, with folder, environment, arguments, output and exit status like one that a
shell starts, without the seven seconds of imports. tests/conftest.py says what is imported.
"""

import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Command:
    """A command that runs.

    Args:
        words: a script and its arguments, or "-c", code and its arguments.
        cwd: folder.
        env: environment variables besides those of the tests.
        forked: fork what the command starts, too; else it starts its processes as it always does.
    """

    def __init__(self, *words, cwd=ROOT, env=None, forked=True):
        words = [str(word) for word in words]
        self._line = shlex.join(words)
        self._folder = tempfile.mkdtemp()
        self._files = [Path(self._folder, name) for name in ("stdout", "stderr")]
        for file in self._files:
            file.touch()
        environment = {**os.environ, **(env or {})}
        self.process = multiprocessing.get_context("forkserver").Process(
            target=_run, args=(words, str(cwd), environment, self._files, forked)
        )
        self.process.start()

    def _written(self):
        return [file.read_text() for file in self._files]

    def wait_for(self, pattern, seconds=100):
        """Returns once standard output shows the pattern."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self._written()[0]):
            assert self.process.is_alive() and time.monotonic() < deadline, self._written()
            time.sleep(0.02)

    def ended(self, seconds=200):
        """Waits for the end; returns what `subprocess.run` does."""
        self.process.join(seconds)
        hangs = self.process.is_alive()
        if hangs:
            self.process.kill()
        written = self._written()
        shutil.rmtree(self._folder)
        if hangs:
            raise subprocess.TimeoutExpired(self._line, seconds, *written)
        return subprocess.CompletedProcess(self._line, self.process.exitcode, *written)


def run_process(*words, seconds=200, **options):
    """Runs a command to its end, see `Command`; returns what `subprocess.run` does."""
    return Command(*words, **options).ended(seconds)


def _run(words, cwd, environment, files, forked):
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout.reconfigure(line_buffering=True)
    if forked:
        contexts = multiprocessing.get_context
        multiprocessing.get_context = lambda method=None: contexts("fork")
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "-c", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
