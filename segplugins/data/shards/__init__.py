"""Shards of image-text samples: where each sample lies in a file, and its bytes.

    tars.py     a plain tar whose members of one sample stand together and share a name up to the
                first dot (000017.jpg, 000017.txt, 000017.json: the WebDataset layout)
    lines.py    JSON lines
    lists.py    CSV and TSV of pictures and captions
    folders.py  a folder of pictures with a .txt or .json of the same name
    sample.py   what they have in common

Nothing is extracted to disk, links in tars are not followed, and no size in a header is believed
beyond a limit.
"""

from pathlib import Path
from typing import List, Optional, Tuple

from segplugins.data.shards.folders import index_folder, read_file, sample_folders
from segplugins.data.shards.lines import index_lines, read_line
from segplugins.data.shards.lists import index_list, read_row
from segplugins.data.shards.sample import Entry, FaultySample, Sample
from segplugins.data.shards.tars import index_tar, read_member
from segplugins.files.plain_files import check_plain_file

__all__ = [
    "ENDINGS",
    "Entry",
    "FaultySample",
    "Sample",
    "has_captions_of_its_own",
    "index_shard",
    "read_sample",
    "sample_folders",
]

_LINES = (".jsonl", ".ndjson")
_LISTS = (".csv", ".tsv")
ENDINGS = (".tar", *_LINES, *_LISTS)


def has_captions_of_its_own(shard: str) -> bool:
    """Returns whether captions stand in a .txt beside the .json; of lines they are one."""
    return not shard.lower().endswith((*_LINES, *_LISTS))


def index_shard(shard: str) -> Tuple[List[Entry], Optional[str]]:
    """Finds the samples of a shard by reading headers, line ends or names of files alone.

    Returns:
        The samples in their order, and what is wrong with the shard as a whole, or None.
    """
    try:
        check_plain_file(shard)
        if Path(shard).is_dir():
            return index_folder(shard)
        if shard.lower().endswith(_LINES):
            return index_lines(shard), None
        return index_list(shard) if shard.lower().endswith(_LISTS) else index_tar(shard)
    except OSError as error:
        return [], f"{shard} cannot be read: {error.strerror or error}"


def read_sample(entry: Entry, image_root: Optional[Path] = None) -> Sample:
    """Reads the bytes of a sample, in one piece.

    Args:
        entry: from `index_shard`; its key may be empty.
        image_root: folder that the file names of lines and lists start from; None = that of the
            file.

    Raises:
        FaultySample: a part is missing, too large, cut off or no JSON; a file name that leaves the
            folder; the shard has changed since it was indexed.
    """
    shard = entry.shard.lower()
    if shard.endswith(_LINES):
        return read_line(entry, image_root)
    if shard.endswith(_LISTS):
        return read_row(entry, image_root)
    return read_file(entry) if Path(entry.shard).is_dir() else read_member(entry)
