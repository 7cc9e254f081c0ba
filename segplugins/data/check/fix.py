"""A cleaned copy of an annotation file: what is at fault is left out, what can be mended is.

Faults of the file name the entry where they stand; faults that only the pictures show name the
record and the annotation, segment or region.
"""

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, Set, Tuple

from segplugins.data.check.edits import Edits
from segplugins.data.check.fix_coco import clean_instances, clean_panoptic
from segplugins.data.check.fix_phrases import clean_lines, clean_refs
from segplugins.data.check.load import LoadedSet, Source
from segplugins.data.check.run import Checked
from segplugins.data.check.whole_set import usable_targets
from segplugins.files.json_file import write_new

_CLEANERS: Dict[str, Callable[[Checked, str], Tuple[str, Counter]]] = {
    "instances": clean_instances,
    "panoptic": clean_panoptic,
    "refs": clean_refs,
    "lines": clean_lines,
}


def main_source(loaded: LoadedSet) -> Source:
    """Returns the annotation file that a cleaned copy is made of.

    Raises:
        ValueError: the set is read from folders alone.
    """
    if loaded.source is None:
        raise ValueError(
            f"data set '{loaded.name}' has no annotation file to clean: it is read from folders; "
            "mend or move the files that are named"
        )
    return loaded.source


def check_target(out: Path, original: str) -> None:
    """Checks where a file is to go.

    Args:
        out: the file to write.
        original: annotation file of the set.

    Raises:
        ValueError: over the original.
        FileExistsError: there is a file.
        FileNotFoundError: there is no such folder.
    """
    if os.path.realpath(out) == os.path.realpath(original):
        raise ValueError(
            f"--fix {out} is the original; name another file, it is never written over"
        )
    if out.exists():
        raise FileExistsError(f"--fix {out} is there already; remove it or name another file")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--fix {out}: no folder {out.parent}")


def check_report(out: Path, loaded: LoadedSet) -> None:
    """Checks where a report is to go; an earlier report may be written over, nothing else.

    Args:
        out: the file to write.
        loaded: the set that is reported on.

    Raises:
        ValueError: over a file of the set.
        FileExistsError: there is another file.
        FileNotFoundError: there is no such folder.
    """
    source = loaded.source
    for path in [] if source is None else [source.path, source.regions]:
        if path and os.path.realpath(out) == os.path.realpath(path):
            raise ValueError(f"--json {out} is a file of the data set; name another file")
    if out.exists() and not _is_report(out):
        raise FileExistsError(f"--json {out} is there already and no report; name another file")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--json {out}: no folder {out.parent}")


def _is_report(path: Path) -> bool:
    if not path.is_file():  # a folder, or a device that never ends
        return False
    with path.open("rb") as file:
        return file.read(40).lstrip(b"{ \n").startswith(b'"dataset"')


def write_cleaned(checked: Checked, out: Path) -> Dict[str, int]:
    """Writes the annotation file of a checked data set without its faults.

    Args:
        checked: of `check_dataset`, over all records.
        out: the file; COCO JSON, a JSON list of refs, or JSON lines, as the original is.

    Returns:
        What was left out or mended, by name.

    Raises:
        ValueError: nothing that can be learned would be left; see also `main_source` and
            `check_target`.
        FileExistsError, FileNotFoundError: see `check_target`.
    """
    source = main_source(checked.loaded)
    check_target(out, source.path)
    for fault in checked.faults:
        if fault.kind in ("empty-set", "unreadable-set"):
            raise ValueError(f"--fix {out} is not written, no copy would mend this: {fault}")
    if not _usable_left(checked, source):
        raise ValueError(
            f"--fix {out} is not written: without its {len(checked.faults)} faults nothing that "
            f"can be learned is left of {source.path}; mend what the faults name"
        )
    text, done = _CLEANERS[source.kind](checked, source.path)
    write_new(out, text)
    return {what: number for what, number in done.items() if number}


def _usable_left(checked: Checked, source: Source) -> bool:
    """Whether a target without fault can be learned from; crowds cannot."""
    edits = Edits(checked.findings.faults, source.path)
    left_out: Dict[int, Set[Any]] = defaultdict(set)
    for position, entry in edits.regions:
        left_out[position].add(entry)
    whole = edits.records | left_out.keys() if source.kind == "refs" else edits.records
    return any(
        usable_targets(record, left_out[position])
        for position, record in enumerate(checked.loaded.records)
        if position not in whole
    )
