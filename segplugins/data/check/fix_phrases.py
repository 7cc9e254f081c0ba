"""Cleaned copies of lists of refs and of region lines."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

from segplugins.data.check.edits import Edits, without_arrays
from segplugins.data.check.run import Checked
from segplugins.files.faults import Collect
from segplugins.files.json_file import dump_json, parse_json
from segplugins.files.lines import LineEntry, read_region_lines
from segplugins.files.refs import load_refs
from segplugins.files.region_shards import numbered_records
from segplugins.files.values import as_id
from segplugins.structures.regions import Task


def clean_refs(checked: Checked, path: str) -> Tuple[str, Counter]:
    """Cleans a list of refs; refs that mean a faulty annotation are left out.

    Args:
        checked: the set.
        path: of the refs.

    Returns:
        JSON text, and what was left out.
    """
    refs = without_arrays(load_refs(Path(path)))
    edits = Edits(checked.findings.faults, path)
    records = checked.loaded.records
    annotations = {entry for _, entry in edits.regions}
    faulty = [records[position] for position in edits.records]
    numbers = {record["ref_id"] for record in faulty if "ref_id" in record}
    images = {record["image_id"] for record in faulty if "ref_id" not in record}
    done = edits.count()
    kept = []
    for position, ref in edits.apply(refs):
        target = ref.get("ann_id")
        targets = {as_id(each) for each in (target if isinstance(target, list) else [target])}
        if as_id(ref["ref_id"]) in numbers or as_id(ref["image_id"]) in images:
            continue
        if annotations & targets:
            continue
        if isinstance(ref["sentences"], list):
            sentences = [
                sentence
                for index, sentence in enumerate(ref["sentences"])
                if (position, "sentences", index) not in edits.left_out
            ]
            done["sentences left out"] += len(ref["sentences"]) - len(sentences)
            ref = {**ref, "sentences": sentences}
        kept.append(ref)
    done["refs left out"] = len(refs) - len(kept)
    return dump_json(kept), done


def clean_lines(checked: Checked, path: str) -> Tuple[str, Counter]:
    """Cleans region lines.

    Args:
        checked: the set.
        path: of the lines.

    Returns:
        JSON lines, and what was left out.
    """
    edits = Edits(checked.findings.faults, path)
    positions, regions_out = _of_lines(checked, edits, path)
    done = edits.count()
    kept: List[str] = []
    for number, text in numbered_records(path):
        if (number,) in edits.left_out or number in positions:
            done["lines left out"] += 1
            continue
        is_text = isinstance(text, str)
        record = parse_json(text.encode(), f"line {number}") if is_text else text
        if "error" not in record:
            listed = record["regions"]
            regions = [
                region
                for index, region in edits.apply(listed, number, "regions")
                if (number, index) not in regions_out
            ]
            done["regions left out"] += len(listed) - len(regions)
            record = {**record, "regions": regions}
        kept.append(dump_json(record))
    return "\n".join(kept) + "\n", done


def _of_lines(checked: Checked, edits: Edits, path: str) -> Tuple[Set[int], Set[Tuple[int, int]]]:
    """Returns the lines and the (line, region) that faults of records mean."""
    if not edits.records and not edits.regions:
        return set(), set()
    root = checked.loaded.source.image_root
    image_root = Path(root) if root else None  # for lines without a size
    entries: Dict[Any, LineEntry] = {
        entry.image_id: entry
        for entry in read_region_lines(path, Collect(), task=Task.REFERRING, image_root=image_root)
    }
    records = checked.loaded.records
    lines = {entries[records[p]["image_id"]].line for p in edits.records}
    regions = set()
    for position, given in edits.regions:
        entry = entries[records[position]["image_id"]]
        numbers = [region.extra.get("id") for region in entry.regions]
        index = numbers.index(given) if given in numbers else given
        regions.add((entry.line, entry.positions[index]))
    return lines, regions
