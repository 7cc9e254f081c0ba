"""Folders of pictures, each with its captions in a .txt, or a .json, of the same name."""

import os
import zlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from segplugins.data.shards.sample import (
    IMAGES,
    TEXT_BYTES,
    Entry,
    FaultySample,
    Sample,
    caption_text,
    parse_json,
)
from segplugins.files.plain_files import read_plain_file

_ENDINGS = tuple(f".{kind}" for kind in IMAGES)
_OPEN = 64  # folders whose names a process keeps
_HOLDING = (".tar", ".jsonl", ".ndjson")


def sample_folders(folder: Path) -> List[str]:
    """Returns the shards that a folder stands for, sorted.

    Where it holds tars or JSON lines it stands for these; else for the pictures in it and in the
    folders below it, each folder one shard.
    """
    shards: List[str] = []
    for root, folders, names in os.walk(folder, followlinks=False):
        holding = [name for name in names if name.lower().endswith(_HOLDING) and name[0] != "."]
        if holding:
            shards += [os.path.join(root, name) for name in holding]
            folders.clear()  # their pictures may lie below
        elif any(map(_is_picture, names)):
            shards.append(root)
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__MACOSX")
    return sorted(shards)


def index_folder(shard: str) -> Tuple[List[Entry], Optional[str]]:
    """Returns the samples of a folder by name, and what is wrong with it or None."""
    names = _pictures(shard, os.stat(shard).st_mtime_ns)
    entries = [
        Entry(shard, number, _check(name), Path(name).stem) for number, name in enumerate(names)
    ]
    first: Dict[str, str] = {}
    for name in names:
        other = first.setdefault(Path(name).stem, name)
        if other != name:
            return [], f"{shard}: '{other}' and '{name}' would share one text; rename one of them"
    return entries, None


def read_file(entry: Entry) -> Sample:
    """Returns a sample of a folder; its entry holds the number of the picture and a check of it."""
    folder = Path(entry.shard)
    names = _pictures(entry.shard, os.stat(folder).st_mtime_ns)
    if entry.offset >= len(names) or _check(names[entry.offset]) != entry.size:
        raise FaultySample(
            f"picture {entry.offset + 1} of {folder}: pictures have come or gone since the run "
            "began; start it again"
        )
    path = folder / names[entry.offset]
    entry = replace(entry, key=path.stem)
    text = _content(path.with_suffix(".txt"), entry)
    data: Mapping[str, Any] = {}
    if content := _content(path.with_suffix(".json"), entry):
        data = parse_json(content, entry)
    return Sample(entry.key, image=path, text=caption_text(text), data=data)


def _content(path: Path, entry: Entry) -> bytes:
    """Returns the content of a file beside a picture, nothing where there is none."""
    try:
        if not path.exists():
            return b""
        if path.stat().st_size > TEXT_BYTES:
            raise FaultySample(f"{entry}: {path} has more than the {TEXT_BYTES} bytes allowed")
        return read_plain_file(path)
    except OSError as error:
        raise FaultySample(f"{entry}: {path} cannot be read ({error.strerror or error})") from error


@lru_cache(maxsize=_OPEN)
def _pictures(folder: str, version: int) -> Tuple[str, ...]:
    """Returns the names of the pictures of a folder in this version, sorted."""
    return tuple(sorted(filter(_is_picture, os.listdir(folder))))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(_ENDINGS) and not name.startswith(".")


def _check(name: str) -> int:
    return zlib.crc32(os.fsencode(name))
