"""Region lines: a file with one JSON record per line, the form that our own tools write."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from segplugins.data.faults import sift
from segplugins.files.faults import STRICT, Fault, FaultError, FaultPolicy
from segplugins.structures.regions import Region, Task, check_box
from segplugins.structures.vocabulary import Vocabulary

_REGION_KEYS = ("text", "box", "mask", "class_index", "is_thing", "score", "extra")


def region_records(
    path: Path,
    image_root: Path,
    *,
    task: Task,
    vocabulary: Optional[Vocabulary] = None,
    policy: FaultPolicy = STRICT,
) -> List[dict]:
    """Reads region lines.

    A line is {"file_name", "height", "width", "regions": [{"text", "box" XYXY, "mask" RLE or
    polygons, "is_thing", "score", "extra"}]} and what else the source knows, which is kept. A line
    with "error" stands for an image that could not be annotated and is passed over.

    Args:
        path: JSON lines.
        image_root: folder that file names are relative to.
        task: of lines that name none.
        vocabulary: the regions' texts are its classes; None: texts are free.

    Raises:
        ValueError: a line is no record; the message gives its number.
    """
    index = {} if vocabulary is None else {n: i for i, n in enumerate(vocabulary.classes)}
    sift(policy, "lines", None, path, image_root=image_root)
    records = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                place = (str(path), number, policy)
                record = _record(json.loads(line), image_root, task, index, vocabulary, place)
            except FaultError:
                raise
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                what, record = _message(error), None
                fault = Fault("line", what, str(path), field=f"line {number}", entry=number)
                policy.report(fault)
            if record is not None:
                records.append(record)
    return records


def _message(error: Exception) -> str:
    return f"key {error} is missing" if isinstance(error, KeyError) else str(error)


def _record(
    line: Mapping[str, Any],
    image_root: Path,
    task: Task,
    index: Mapping[str, int],
    vocabulary: Optional[Vocabulary],
    place: Tuple[str, int, FaultPolicy],
) -> Optional[dict]:
    if not isinstance(line, Mapping):
        raise ValueError(f"expected a record in braces, got {line!r:.60}")
    if "error" in line:
        return None
    record: Dict[str, Any] = dict(line)
    record["file_name"] = str(image_root / line["file_name"])
    record.setdefault("image_id", line["file_name"])
    record["task"] = Task(line.get("task", task))
    record["vocabulary"] = None if vocabulary is None else vocabulary.name
    record["regions"] = _regions(line["regions"], index, vocabulary, place)
    return record


def _regions(
    entries: List[Any],
    index: Mapping[str, int],
    vocabulary: Optional[Vocabulary],
    place: Tuple[str, int, FaultPolicy],
) -> List[Region]:
    regions = []
    for number, entry in enumerate(entries):
        try:
            regions.append(_region(entry, index, vocabulary))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            field = f"line {place[1]}, regions[{number}]"
            fault = Fault(
                "region", _message(error), place[0], field=field, entry=(*place[:2], number)
            )
            place[2].report(fault)
    return regions


def _region(
    entry: Mapping[str, Any], index: Mapping[str, int], vocabulary: Optional[Vocabulary]
) -> Region:
    unknown = sorted(set(entry) - set(_REGION_KEYS))
    if unknown:
        raise ValueError(f"a region has the keys {unknown}; known are {_REGION_KEYS}")
    text = entry["text"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"a region has the text {text!r}")
    if vocabulary is not None and text not in index:
        raise ValueError(f"region '{text}' is no class of vocabulary '{vocabulary.name}'")
    box = entry.get("box")
    if box is not None:
        check_box(box)
    return Region(
        text=text,
        box=None if box is None else tuple(map(float, box)),
        mask=entry.get("mask"),
        class_index=index.get(text, -1),
        is_thing=bool(entry.get("is_thing", True)),
        score=float(entry.get("score", 1.0)),
        extra=entry.get("extra") or {},
    )
