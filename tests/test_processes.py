"""Child processes end with their parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

PARENT = """
import multiprocessing, os, time
from segplugins.processes import be_a_worker, end_with_parent
def child(start):
    start()
    os.write(1, b"up\\n")  # whole lines: two children write at once
    time.sleep(60)
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(f,)) for f in (be_a_worker, end_with_parent)]
    for process in children:
        process.start()
    os.write(1, (" ".join(str(process.pid) for process in children) + "\\n").encode())
    time.sleep(60)
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_their_parent_whatever_ends_it(number):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines = [parent.stdout.readline() for _ in range(3)]
    children = [int(pid) for line in lines if line != "up\n" for pid in line.split()]
    assert len(children) == 2 and all(map(alive, children))
    os.kill(parent.pid, number)
    deadline = time.monotonic() + 20
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, children))
    assert parent.communicate()[1] == ""
