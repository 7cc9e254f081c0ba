"""Catalog records of region lines."""

from pathlib import Path
from typing import Dict, List, Optional

from segplugins.files.faults import STRICT, FaultPolicy
from segplugins.files.lines import LineEntry, read_region_lines
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary


def region_records(
    path: Path,
    image_root: Path,
    *,
    task: Task,
    vocabulary: Optional[Vocabulary] = None,
    complete: bool = False,
    policy: FaultPolicy = STRICT,
) -> List[dict]:
    """Returns one record per line; what else a line says is kept.

    With a vocabulary, "not_exhaustive" of a line becomes "not_exhaustive_classes", class indices.

    Args:
        path: JSON lines, Parquet or a folder of shards, see `read_region_lines`.
        image_root: folder that file names are relative to.
        task: of lines that name none.
        vocabulary: the regions' texts are its classes; None: texts are free.
        complete: leave out the lines with "not_exhaustive".
        policy: receives the faults of lines and regions.

    Raises:
        FileNotFoundError, ValueError: see `read_region_lines`; also where no line is complete.
    """
    entries = read_region_lines(
        path, policy, task=task, image_root=image_root, vocabulary=vocabulary
    )
    left = [entry for entry in entries if not (complete and entry.not_exhaustive)]
    if complete and not left and entries:
        raise ValueError(
            f"{path}: each of the {len(entries)} images has 'not_exhaustive', so `complete: true` "
            "leaves none; remove that key of the data set"
        )
    return [
        {
            **entry.more,
            **_not_exhaustive(entry, vocabulary),
            "file_name": str(image_root / entry.file_name),
            "height": entry.height,
            "width": entry.width,
            "image_id": entry.image_id,
            "task": entry.task,
            "vocabulary": None if vocabulary is None else vocabulary.name,
            "regions": entry.regions,
        }
        for entry in left
    ]


def _not_exhaustive(entry: LineEntry, vocabulary: Optional[Vocabulary]) -> Dict[str, list]:
    """Returns the key of a record that tells of which texts objects may stand unannotated."""
    if not entry.not_exhaustive:
        return {}
    if vocabulary is None:
        return {"not_exhaustive": list(entry.not_exhaustive)}
    return {"not_exhaustive_classes": [vocabulary.classes.index(t) for t in entry.not_exhaustive]}
