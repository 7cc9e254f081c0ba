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
    least_kept: float = 0.0,
    policy: FaultPolicy = STRICT,
) -> List[dict]:
    """Returns one record per line; what else a line says is kept.

    With a vocabulary, "not_exhaustive" of a line becomes "not_exhaustive_classes", class indices.

    Args:
        path: JSON lines, Parquet or a folder of shards, see `read_region_lines`.
        image_root: folder that file names are relative to.
        task: of lines that name none.
        vocabulary: the regions' texts are its classes; None: texts are free.
        least_kept: lines of which a smaller share of the regions was kept are left out, see
            `kept_share`.
        policy: receives the faults of lines and regions.

    Raises:
        FileNotFoundError, ValueError: see `read_region_lines`; also where no line is left.
    """
    entries = read_region_lines(
        path, policy, task=task, image_root=image_root, vocabulary=vocabulary
    )
    left = [entry for entry in entries if kept_share(entry) >= least_kept]
    if entries and not left:
        raise ValueError(
            f"{path}: of no image the share {least_kept} of the regions was kept, the highest is "
            f"{max(map(kept_share, entries)):.2f}; lower `least_kept` of the data set"
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


def kept_share(entry: LineEntry) -> float:
    """Returns the share of an image's regions that no filter dropped; 1 where there were none.

    Dropped are those in "set_aside", but at least one for each text of "not_exhaustive".
    """
    kept = sum(region.has_target for region in entry.regions)
    aside = entry.more.get("set_aside")
    dropped = len(aside) if isinstance(aside, (list, tuple)) else 0
    dropped = max(dropped, len(entry.not_exhaustive))
    return kept / (kept + dropped) if kept + dropped else 1.0


def _not_exhaustive(entry: LineEntry, vocabulary: Optional[Vocabulary]) -> Dict[str, list]:
    """Returns the key of a record that tells of which texts objects may stand unannotated."""
    if not entry.not_exhaustive:
        return {}
    if vocabulary is None:
        return {"not_exhaustive": list(entry.not_exhaustive)}
    return {"not_exhaustive_classes": [vocabulary.classes.index(t) for t in entry.not_exhaustive]}
