"""A lock on an output folder: one process at a time, and none is left by a process that dies."""

import fcntl
import os
import platform
import time
from pathlib import Path
from typing import IO, Dict

NAME = "run.lock"

# A second claim by the same process, such as an evaluation after a training, is no second run.
_HELD: Dict[Path, IO[str]] = {}


class FolderInUse(ValueError):
    """An output folder holds another run, finished or under way."""


def lock_folder(folder: Path) -> None:
    """Locks a folder until this process ends, whatever ends it.

    The operating system holds the lock, on run.lock in the folder, where the owner is written for
    people to read. Children that are forked do not inherit it.

    Raises:
        FolderInUse: another process has it; the message names that.
    """
    path = (folder / NAME).resolve()
    if path in _HELD:
        return
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or "an unknown process"
        file.close()
        raise FolderInUse(
            f"OUTPUT_DIR '{folder}' is in use by another run ({owner}); wait for it, or choose "
            "another OUTPUT_DIR"
        ) from error
    file.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    file.write(f"process {os.getpid()} on {platform.node()} since {since}\n")
    file.flush()
    _HELD[path] = file


def unlock_folder(folder: Path) -> None:
    """Gives a folder back before the process ends; no harm if this process does not hold it."""
    file = _HELD.pop((folder / NAME).resolve(), None)
    if file is not None:
        file.close()
