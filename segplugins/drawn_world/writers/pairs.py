"""Pairs: image-text tars as web-scale data comes in them: <key>.png, <key>.txt, <key>.json."""

import io
import json
import os
import tarfile
from pathlib import Path

from ..options import WorldOptions
from ..splits import draw
from .files import png_bytes
from .regions import region_record


def write_shard(path: Path, options: WorldOptions, start: int, stop: int) -> None:
    """Writes the pairs `start` to `stop` - 1 into one tar, whole or not at all.

    <key>.txt holds the caption of the salient concepts alone; <key>.json also the full caption,
    the tags and the regions as boxes with captions. No masks.
    """
    temporary = path.with_name(path.name + ".part")
    with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in range(start, stop):
            drawing = draw(options, "pairs", index)
            record = region_record(drawing, options, masks=False)
            key = f"drawn_{drawing.stem}"
            _add(tar, f"{key}.png", png_bytes(drawing.picture.image))
            _add(tar, f"{key}.txt", str(record["caption"]).encode())
            _add(tar, f"{key}.json", json.dumps({"key": key, **record}).encode())
    os.replace(temporary, path)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no owner, no time: the same bytes on every machine
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
