"""A job of many output files: each is made by one process, once, and a changed job is refused.

Any number of processes may work on one job, on one machine or on several that share its folder.
A process that is killed leaves no claim and no half-written file that would pass for a whole one:

    job = JobFolder(folder, identity={"model": digest, "recipe": recipe})
    for name in names:
        with job.claim(name) as is_ours:
            if is_ours:
                write_text(job.path(name), ...)      # whole or absent: files/write.py
"""

import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Union

from segplugins.files.write import free_bytes, probe_folder, remove_stale_of, write_json

MANIFEST = "manifest.json"
_CLAIMS = ".claims"
_SHOWN = 3


class OtherJob(ValueError):
    """A folder holds the output of another job."""


class JobFolder:
    """The output folder of a job.

    Args:
        folder: made if need be.
        identity: what decides every byte of the output, as JSON: digests of models, options, the
            list of inputs. It is written to manifest.json and compared when the job goes on.
        room: bytes that the output will take at least, as far as that can be estimated.

    Raises:
        OtherJob: the folder was begun with another identity; the message names the keys.
        OSError: it cannot be written, or its disk has less room.
        ValueError: the manifest is damaged.
    """

    def __init__(
        self, folder: Union[str, Path], identity: Mapping[str, Any], *, room: int = 0
    ) -> None:
        self.folder = Path(folder)
        self.identity = json.loads(json.dumps(identity))
        try:
            probe_folder(self.folder / _CLAIMS)
        except OSError as error:
            raise type(error)(
                error.errno, f"the output folder cannot be written ({error.strerror})", str(folder)
            ) from error
        self._check_room(room)
        (self.folder / _CLAIMS).mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / _CLAIMS / MANIFEST, wait=True):
            self._open()

    def _check_room(self, room: int) -> None:
        free = free_bytes(self.folder)
        if free < room:
            raise OSError(
                f"the disk of the output folder '{self.folder}' has {free / 1e6:.1f} MB free and "
                f"the output takes about {room / 1e6:.1f} MB; make room, or choose another folder"
            )

    def _open(self) -> None:
        path = self.path(MANIFEST)
        if not path.is_file():
            others = [entry.name for entry in self.folder.iterdir() if entry.name != _CLAIMS]
            if others:
                raise OtherJob(
                    f"'{self.folder}' holds {sorted(others)[0]} and no {MANIFEST}, so it is no "
                    "folder of such a job; choose an empty or a new folder"
                )
            write_json(path, self.identity)
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError("it holds no mapping")
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); choose another folder") from error
        changes = differences(before, self.identity)
        if changes:
            more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
            raise OtherJob(
                f"'{self.folder}' was begun by another job: {'; '.join(changes[:_SHOWN])}{more}. "
                "Go on with the former, choose another folder, or remove this one"
            )

    def path(self, name: str) -> Path:
        """Returns the path of an output file."""
        return self.folder / name

    def is_finished(self, name: str) -> bool:
        """Returns whether an output file stands."""
        return self.path(name).exists()

    def unfinished(self, names: Sequence[str]) -> List[str]:
        """Returns the names of output files that are not there yet, in order."""
        return [name for name in names if not self.is_finished(name)]

    @contextmanager
    def claim(self, name: str, *beside: str) -> Iterator[bool]:
        """Gives True to one process, which then makes the file of that name.

        It is False where the file stands already or another process is making it. The claim ends
        with the block or with the process, whatever ends it; what a killed process left of this
        file is removed.

        Args:
            name: of an output file, below the folder; the last that the block writes.
            beside: names of other files that the block writes.
        """
        if self.is_finished(name):
            yield False
            return
        with _locked(self.folder / _CLAIMS / name.replace("/", "%2F"), wait=False) as has_lock:
            # It may have been finished between the look and the lock.
            is_ours = has_lock and not self.is_finished(name)
            if is_ours:
                for each in (name, *beside):
                    remove_stale_of(self.path(each))
            yield is_ours
            if has_lock and self.is_finished(name):
                # Safe now: who opened the file before finds the output finished.
                (self.folder / _CLAIMS / name.replace("/", "%2F")).unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Gives whether this block has the lock of a file; the system frees it when a process ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> List[str]:
    """Returns what differs between two identities, a text such as "seed is 1, was 0" each."""
    old, new = _flat(before), _flat(now)
    changes = []
    for key in {**old, **new}:
        if key not in new:
            changes.append(f"{key} is gone, was {_short(old[key])}")
        elif key not in old:
            changes.append(f"{key} is {_short(new[key])}, was not there")
        elif old[key] != new[key]:
            changes.append(f"{key} is {_short(new[key])}, was {_short(old[key])}")
    return changes


def _flat(node: Any, prefix: str = "") -> Dict[str, Any]:
    if isinstance(node, Mapping):
        entries = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, list) and any(isinstance(each, (Mapping, list)) for each in node):
        entries = [(str(number), value) for number, value in enumerate(node)]
    else:
        return {prefix.removesuffix("."): node}
    flat: Dict[str, Any] = {}
    for key, value in entries:
        flat.update(_flat(value, f"{prefix}{key}."))
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
