"""Digests of files: what tells one checkpoint from another."""

import hashlib
from pathlib import Path
from typing import Union


def file_digest(path: Union[str, Path]) -> str:
    """Returns the SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_digest(path: Union[str, Path]) -> str:
    """Returns 16 hex digits that change with the names and contents of a file or of a folder.

    Hidden files of a folder are passed over.
    """
    path = Path(path)
    if path.is_file():
        return file_digest(path)[:16]
    digest = hashlib.sha256()
    for each in sorted(p for p in path.rglob("*") if p.is_file()):
        name = each.relative_to(path).as_posix()
        if not any(part.startswith(".") for part in name.split("/")):
            digest.update(f"{name}\0{file_digest(each)}\0".encode())
    return digest.hexdigest()[:16]
