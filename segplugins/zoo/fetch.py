"""Files of the zoo: fetched once, in parts if need be, checked, and kept in a cache."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional

from tqdm import tqdm

from .entries import Entry

CACHE_VARIABLE = "SEGPLUGINS_CACHE"
_CHUNK = 2**20
_TIMEOUT = 30  # seconds without a byte
_TRIES = 4


def cache_folder() -> Path:
    """Returns the folder of fetched files: $SEGPLUGINS_CACHE, or ~/.cache/segplugins."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "segplugins"


def fetch(entry: Entry) -> Path:
    """Returns the file of an entry in the cache, as the authors published it.

    A download that was interrupted goes on where it stopped.

    Raises:
        ValueError: the file is not the one published, by its size or SHA-256, or is a web page.
        OSError: it cannot be fetched; the message says what to put where.
    """
    path = cache_folder() / entry.name / entry.file
    if path.is_file():
        return path
    if entry.address is None:
        raise OSError(_by_hand(entry, path, "its authors give out a page, not an address"))
    partial = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    reason: Optional[Exception] = None
    for _ in range(_TRIES):
        before = partial.stat().st_size if partial.is_file() else 0
        try:
            _download(entry.address, partial, entry.name)
            break
        except (OSError, http.client.HTTPException) as error:
            reason = error
            after = partial.stat().st_size if partial.is_file() else 0
            if after <= before:  # a server that gives nothing more is not asked again
                raise OSError(_by_hand(entry, path, _short(error))) from error
    else:
        raise OSError(_by_hand(entry, path, _short(reason))) from reason
    check_file(partial, entry)
    os.replace(partial, path)
    return path


def check_file(path: Path, entry: Entry) -> None:
    """Raises ValueError where a file is not the one published; it is removed then."""
    fault = _fault(path, entry)
    if fault is not None:
        path.unlink()
        raise ValueError(
            f"'{entry.address}' gave another file than the one published: {fault}. Nothing of it "
            f"is kept; fetch it by hand from {entry.page}"
        )


def _fault(path: Path, entry: Entry) -> Optional[str]:
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"{size} bytes, expected {entry.size}"
    with path.open("rb") as file:
        begin = file.read(512).lstrip().lower()
        if begin.startswith((b"<!doctype html", b"<html")):
            return "a web page"
        file.seek(0)
        if entry.sha256 is not None:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry.sha256:
                return f"SHA-256 {digest}, expected {entry.sha256}"
    return None


def _download(address: str, partial: Path, name: str) -> None:
    """Appends what is missing of an address to a file."""
    start = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing is missing
            return
        raise
    with response:
        if start and response.status != 206:  # the server begins anew, and so do we
            start = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with (
            partial.open("ab" if start else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and partial.stat().st_size != total:
            raise OSError(f"the connection ended at byte {partial.stat().st_size} of {total}")


def _by_hand(entry: Entry, path: Path, reason: str) -> str:
    return (
        f"the weights '{entry.name}' cannot be fetched ({reason}); where there is a network, get "
        f"{entry.file} from {entry.page} and put it at '{path}' (${CACHE_VARIABLE} names another "
        "cache folder)"
    )


def _short(error: Optional[Exception]) -> str:
    return " ".join(str(error).split())[:120]
