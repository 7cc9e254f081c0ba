"""Tars whose members of one sample stand together and share a name up to the first dot."""

import io
import tarfile
from dataclasses import replace
from typing import Dict, List, Optional, Tuple

from segplugins.data.shards.sample import (
    IMAGE_BYTES,
    IMAGES,
    TEXT_BYTES,
    Entry,
    FaultySample,
    Sample,
    caption_text,
    parse_json,
    read_span,
)

SAMPLE_BYTES = 2 * IMAGE_BYTES


def read_member(entry: Entry) -> Sample:
    """Returns a sample of a tar."""
    content = read_span(entry, SAMPLE_BYTES)
    # Two blocks of zeros end a tar; the first of them may have to fill the last block of content.
    ended = content + bytes(-len(content) % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
    members: Dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(ended), mode="r:") as archive:
            for member in archive:
                name = _sample_name(member)
                if name is None:
                    continue
                entry = replace(entry, key=name[0])
                limit = IMAGE_BYTES if name[1] in IMAGES else TEXT_BYTES
                if member.size > limit and name[1] in (*IMAGES, "txt", "json"):
                    raise FaultySample(
                        f"{entry}: its {name[1]} has {member.size} bytes, more than the {limit} "
                        "allowed"
                    )
                part = content[member.offset_data : member.offset_data + member.size]
                if len(part) < member.size:
                    raise FaultySample(
                        f"{entry}: its {name[1]} is cut off after {len(part)} of {member.size} "
                        "bytes"
                    )
                if members.setdefault(name[1], part) is not part:
                    raise FaultySample(f"{entry} has two .{name[1]}: are two samples called alike?")
    except tarfile.TarError as error:
        raise FaultySample(f"{entry} is not where the index has it ({error})") from error
    kind = next((kind for kind in IMAGES if kind in members), None)
    if kind is None:
        raise FaultySample(f"{entry} has no image, only {sorted(members)}")
    return Sample(
        key=entry.key,
        image=members[kind],
        text=caption_text(members.get("txt", b"")),
        data=parse_json(members["json"], entry) if members.get("json") else {},
    )


def _sample_name(member: tarfile.TarInfo) -> Optional[Tuple[str, str]]:
    """Returns the key and the kind of a member; None where it is part of no sample."""
    folder, _, name = member.name.rpartition("/")
    if not member.isreg() or name.startswith("."):
        return None
    stem, _, kind = name.partition(".")
    return (f"{folder}/{stem}" if folder else stem), kind.lower()


def index_tar(shard: str) -> Tuple[List[Entry], Optional[str]]:
    """Returns the samples, and what is wrong with the tar or None."""
    entries: List[Entry] = []
    fault = None
    try:
        with tarfile.open(shard, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # or tarfile keeps every header of the shard
                name = _sample_name(member)
                if name is None:
                    continue
                end = member.offset_data + member.size
                if entries and entries[-1].key == name[0]:
                    last = entries[-1]
                    entries[-1] = replace(last, size=end - last.offset)
                else:
                    entries.append(Entry(shard, member.offset, end - member.offset, name[0]))
            # tarfile takes a damaged header for the end; the end is a block of zeros or of nothing
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
                fault = f"{shard} is damaged after byte {archive.offset}"
    except (tarfile.TarError, ValueError, ArithmeticError, MemoryError) as error:
        # Sizes in damaged headers are beyond what a file can be asked for.
        reason = str(error) or type(error).__name__
        fault = f"{shard} is not a plain tar, or is cut off ({reason})"
    return entries, fault
