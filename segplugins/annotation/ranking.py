"""Which images are most worth a person's look: those about which filters and verifiers disagree."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple, Union

import numpy as np

from segplugins.annotation.pipeline import decisions_of, image_decisions, records_of
from segplugins.files.region_shards import writing_records

# Stages whose values say how good a region is; the others drop for reasons that are no fault.
_JUDGES = (
    "filter_score",
    "gate_masks",
    "filter_clip",
    "filter_jitter",
    "verify_mask",
    "verify_existence",
)
REVIEW = "review.jsonl"


@dataclass(frozen=True)
class Doubt:
    """How doubtful the annotations of an image are; see `rank_images`.

    Args:
        image_id: of the image.
        file_name: of the image.
        value: 0-1.
        regions: number of regions that were judged.
    """

    image_id: str
    file_name: str
    value: float
    regions: int


def rank_images(folder: Union[str, Path]) -> List[Doubt]:
    """Returns all images of an output folder that were judged, the most doubtful first.

    A verdict is turned into a probability p that the region is right: the logistic function of its
    distance from the threshold, in standard deviations of that stage. With p_k of the verdicts on a
    region its doubt is 1 - |2 mean(p_k) - 1|: 0 where all surely agree, 1 where they cancel out. An
    image has the mean doubt of its regions.
    """
    scales = _scales(folder)
    ranked = []
    for image_id, decisions in image_decisions(folder):
        chances: Dict[Any, List[float]] = defaultdict(list)
        for decision in filter(_is_verdict, decisions):
            distance = _distance(decision) / scales[_key(decision)]
            chances[decision["region_id"]].append(1 / (1 + float(np.exp(-distance))))
        if chances:
            doubts = [1 - abs(2 * float(np.mean(p)) - 1) for p in chances.values()]
            name = decisions[0]["file_name"]
            ranked.append(Doubt(image_id, name, float(np.mean(doubts)), len(doubts)))
    return sorted(ranked, key=lambda doubt: (-doubt.value, doubt.file_name))


def _scales(folder: Union[str, Path]) -> Mapping[Tuple[str, str], float]:
    """Returns the standard deviation of each stage's values, without keeping them."""
    sums: Dict[Tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(3))
    for decision in filter(_is_verdict, decisions_of(folder)):
        value = _distance(decision)
        sums[_key(decision)] += (1, value, value * value)
    scales = {}
    for key, (count, total, squares) in sums.items():
        variance = squares / count - (total / count) ** 2
        scales[key] = float(np.sqrt(max(variance, 0.0))) or 1.0
    return scales


def _key(decision: Mapping[str, Any]) -> Tuple[str, str]:
    return decision["stage"], decision.get("note", "")


def _distance(decision: Mapping[str, Any]) -> float:
    return decision["value"] - decision["threshold"]


def _is_verdict(decision: Mapping[str, Any]) -> bool:
    named = decision["stage"].rpartition(" ")[2] in _JUDGES
    return named and None not in (decision["region_id"], decision["value"], decision["threshold"])


def write_review(
    folder: Union[str, Path], ranked: Sequence[Doubt], count: int
) -> Tuple[Path, List[Doubt]]:
    """Writes review.jsonl: the records of the most doubtful images with "doubt" and "rank".

    They are region lines, so that `tools/export_dataset.py` writes them for an annotation program.
    What stages dropped is among the regions again: a person decides.

    Args:
        folder: output folder.
        ranked: of `rank_images`.
        count: most images in it.

    Returns:
        The file, and the images in it.
    """
    chosen = {doubt.image_id: rank for rank, doubt in enumerate(ranked[:count], 1)}
    records: Dict[int, Dict[str, Any]] = {}
    for record in records_of(folder):
        rank = chosen.get(record.get("image_id", ""))
        if rank is not None:
            doubt = round(ranked[rank - 1].value, 5)
            records[rank] = {**to_review(record), "rank": rank, "doubt": doubt}
    path = Path(folder) / REVIEW
    with writing_records(path) as add:
        for rank in sorted(records):
            add(records[rank])
    return path, list(ranked[:count])


def to_review(record: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns a record whose regions are joined by those set aside, as a person completes them.

    A line holds masks or mere boxes: a box beside masks becomes a rectangle of a mask.
    """
    joined = [*record["regions"], *record.get("set_aside", [])]
    if any("mask" in region for region in joined):
        joined = [_with_rectangle(region) for region in joined]
    # After a person's look all objects are annotated.
    return {k: v for k, v in record.items() if k != "not_exhaustive"} | {"regions": joined}


def _with_rectangle(region: Dict[str, Any]) -> Dict[str, Any]:
    if "mask" in region or "box" not in region:
        return region
    x0, y0, x1, y1 = region["box"]
    return {**region, "mask": [[x0, y0, x1, y0, x1, y1, x0, y1]]}


def review_lines(folder: Union[str, Path]) -> Iterator[Dict[str, Any]]:
    """Yields the records of review.jsonl, the most doubtful first."""
    with (Path(folder) / REVIEW).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
