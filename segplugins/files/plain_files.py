"""Files that can be read to an end: no pipes, sockets or devices, which block or never end."""

import os
import stat
from pathlib import Path
from typing import Union

__all__ = ["check_plain_file", "read_plain_file"]

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_plain_file(path: Union[str, Path]) -> bytes:
    """Returns the content of a file.

    Raises:
        OSError: it cannot be read, or is no plain file.
    """
    check_plain_file(path)
    return Path(path).read_bytes()


def check_plain_file(path: Union[str, Path]) -> None:
    """Raises OSError for what only looks like a file. Folders and missing files pass.

    A pipe without a writer would stop the process for ever, and /dev/zero would fill its memory;
    both come in archives of strangers, also behind links.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # opening it says what is wrong
        return
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise OSError(f"{path} is {name}, expected a plain file")
