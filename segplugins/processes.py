"""Child processes that end with their parent, whatever ends it."""

import ctypes
import os
import signal
import sys
import threading
import time

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Makes the kernel send a signal to this process when its parent ends, even by SIGKILL.

    Call it first in a child process. Where the kernel has no such service (not Linux), a thread
    looks once a second whether the parent is still there.

    Args:
        number: the signal; SIGTERM lets a handler tidy up.
    """
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, int(number))
    else:
        threading.Thread(target=_watch, args=(parent, number), daemon=True).start()
    # The parent may have ended before the kernel was told.
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def be_a_worker() -> None:
    """Prepares a pool's worker: it ends with its parent, and leaves Ctrl-C to the parent.

    Pass it as `initializer` of a multiprocessing pool. Without it Ctrl-C prints one traceback per
    worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def _watch(parent: int, number: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), number)
