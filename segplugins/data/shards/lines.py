"""Files of JSON lines: {"file_name", "captions", "tags", "regions"}."""

from pathlib import Path
from typing import List, Optional

from segplugins.data.shards.sample import (
    TEXT_BYTES,
    Entry,
    Sample,
    image_path,
    parse_json,
    read_span,
)


def read_line(entry: Entry, image_root: Optional[Path]) -> Sample:
    """Returns a sample of JSON lines."""
    data = parse_json(read_span(entry, TEXT_BYTES), entry)
    root = Path(entry.shard).parent if image_root is None else image_root
    key = entry.key or f"byte {entry.offset}"
    return Sample(key, image=image_path(data.get("file_name"), root, entry), text="", data=data)


def index_lines(shard: str) -> List[Entry]:
    """Returns the samples: all lines that are not blank."""
    entries = []
    with open(shard, "rb") as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                entries.append(Entry(shard, offset, len(line), f"line {number}"))
            offset += len(line)
    return entries
