"""Files that are whole or absent: written under a temporary name, flushed to disk, renamed."""

import errno
import json
import os
import re
import shutil
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Union

PathLike = Union[str, Path]

_MARK = ".part"
_TEMPORARY = re.compile(rf"\..*\.\d+-\d+\{_MARK}(\.[^.]*)?")
_NUMBERS = count()


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is written there becomes `path` at the end.

    The temporary file ends like `path`, because many libraries choose the format by it. If the body
    raises, the file of before stays as it was and the temporary one is removed. If the process is
    killed, `remove_stale` finds what is left.

    Args:
        path: the file to write; its folder is made if need be.

    Example:
        >>> with replacing("weights.pth") as temporary:
        ...     torch.save(tensors, temporary)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(
        f".{path.stem[:100]}.{os.getpid()}-{next(_NUMBERS)}{_MARK}{path.suffix}"
    )
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def write_bytes(path: PathLike, content: bytes) -> None:
    """Writes a file whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: PathLike, text: str) -> None:
    """Writes a UTF-8 text file whole or not at all; see `replacing`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: PathLike, value: Any) -> None:
    """Writes a JSON file with an indent of 1 whole or not at all; see `replacing`.

    Raises:
        ValueError: the value holds NaN or infinity, for which JSON has no word.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def is_temporary(path: PathLike) -> bool:
    """Returns whether a path is one that `replacing` gives."""
    return _TEMPORARY.fullmatch(Path(path).name) is not None


def remove_stale(folder: PathLike) -> List[Path]:
    """Removes the temporary files of processes that were killed, in a folder and below it.

    The caller makes sure that no process writes there, for example by a lock.

    Returns:
        The files removed.
    """
    stale = [path for path in Path(folder).rglob(f"*{_MARK}*") if is_temporary(path)]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def remove_stale_of(path: PathLike) -> List[Path]:
    """Removes what killed processes left of one file; other processes may write its neighbours.

    The caller makes sure that no process writes this file.

    Returns:
        The files removed.
    """
    path = Path(path)
    name = re.compile(rf"\.{re.escape(path.stem[:100])}\.\d+-\d+{re.escape(_MARK + path.suffix)}")
    if not path.parent.is_dir():
        return []
    stale = [each for each in path.parent.iterdir() if name.fullmatch(each.name)]
    for each in stale:
        each.unlink(missing_ok=True)
    return stale


def end_whole_lines(path: PathLike) -> int:
    """Cuts the last line off a text file of lines if it does not end in a line break.

    A process that was killed while it appended leaves such a line, to which the next one would be
    joined.

    Returns:
        The bytes cut off; 0 where there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        return 0
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            line_break = file.read(end - start).rfind(b"\n")
            if line_break >= 0:
                end = start + line_break + 1
                break
            end = start
        if end < size:
            file.truncate(end)
    return size - end


def probe_folder(folder: PathLike) -> None:
    """Makes a folder and a file there for a moment, and leaves neither behind.

    Raises:
        OSError: it cannot be made or written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder", str(folder))
    made = absent_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}-{next(_NUMBERS)}{_MARK}"
        probe.touch()
        probe.unlink()
    finally:
        remove_empty(made)


def absent_folders(folder: PathLike) -> List[Path]:
    """Returns those of a folder and the folders above it that are not there, the innermost first.

    Raises:
        OSError: one of them cannot be looked at.
    """
    folder = Path(folder).absolute()
    absent = []
    for each in (folder, *folder.parents):
        try:
            os.stat(each)
            break
        except FileNotFoundError:
            absent.append(each)
    return absent


def remove_empty(folders: Iterable[PathLike]) -> None:
    """Removes folders that are empty or gone, in their order, up to the first that is neither."""
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError:
            if os.path.exists(folder):  # somebody else has written there
                return


def free_bytes(folder: PathLike) -> int:
    """Returns the free space of the disk that holds a folder, or that would hold it."""
    absent = absent_folders(folder)
    return shutil.disk_usage(absent[-1].parent if absent else folder).free


def _flush(path: Path) -> None:
    """Waits until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if path.is_file():  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(handle)
