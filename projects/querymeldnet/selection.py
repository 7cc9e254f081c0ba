"""Which kind of query, learnable or conditional, gives the segments of each class (Sec. 4.1).

Every evaluation on a panoptic set writes selection.csv and selection.png beside its other details.
Counted is every query that keeps pixels in a panoptic result; several queries may share a segment
of stuff. The paper finds that conditional queries give 99.6 % of the things of COCO and learnable
ones 53.3 % of its stuff.
"""

import csv
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from segplugins.evaluation.panoptic import categories_of
from segplugins.pictures.bars import share_bars

KINDS = ("learnable", "conditional")


class SelectionEvaluator(DatasetEvaluator):
    """Counts the kinds of the queries of panoptic segments, class by class.

    Reads of an output: "panoptic_seg", whose segments name their "category_id" and "queries".

    Args:
        names: of the K classes.
        is_thing: per class.
        learnable: number of learnable queries, which stand before the conditional ones.
        output_dir: folder of selection.csv and selection.png; None = none is written.
        distributed: add up over all processes.

    Example:
        >>> evaluator = SelectionEvaluator(("cat", "sky"), (True, False), learnable=3)
        >>> segments = [{"category_id": 0, "queries": [5]}, {"category_id": 1, "queries": [2, 7]}]
        >>> evaluator.process([{}], [{"panoptic_seg": (None, segments)}])
        >>> evaluator.evaluate()["selection"]
        {'things': 1.0, 'things_conditional': 100.0, 'stuff': 2.0, 'stuff_learnable': 50.0}
    """

    def __init__(
        self,
        names: Sequence[str],
        is_thing: Sequence[bool],
        *,
        learnable: int,
        output_dir: Optional[Union[str, Path]] = None,
        distributed: bool = True,
    ):
        self.names = tuple(names)
        self.is_thing = np.array(is_thing, dtype=bool)
        self.learnable = learnable
        self.output_dir = output_dir
        self.distributed = distributed
        self.reset()

    def reset(self) -> None:
        """Forgets what was counted."""
        self.counts = np.zeros((len(self.names), len(KINDS)), dtype=np.int64)

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Counts the queries of each segment.

        Raises:
            ValueError: an output without panoptic segments, or segments that name no queries.
        """
        for model_input, output in zip(inputs, outputs):
            segments = output.get("panoptic_seg", (None, None))[1]
            if segments is None or any("queries" not in segment for segment in segments):
                raise ValueError(
                    f"image {model_input.get('file_name', '?')}: no panoptic segments that name "
                    "their queries; evaluate QueryMeldNet on a panoptic set"
                )
            for segment in segments:
                for query in segment["queries"]:
                    self.counts[segment["category_id"], int(query >= self.learnable)] += 1

    def evaluate(self) -> Optional[Dict[str, Dict[str, float]]]:
        """Returns numbers of things and stuff, and the share of their main kind in percent.

        NaN where nothing was selected; None but on the main process.
        """
        counts = self.counts
        if self.distributed:
            shares = comm.gather(counts)
            if not comm.is_main_process():
                return None
            counts = np.sum(shares, axis=0)
        if self.output_dir is not None:
            write_selection(self.output_dir, self.names, self.is_thing, counts)
        things, stuff = counts[self.is_thing].sum(axis=0), counts[~self.is_thing].sum(axis=0)
        return {
            "selection": {
                "things": float(things.sum()),
                "things_conditional": _percent(things[1], things.sum()),
                "stuff": float(stuff.sum()),
                "stuff_learnable": _percent(stuff[0], stuff.sum()),
            }
        }


def _percent(part: int, total: int) -> float:
    return float("nan") if total == 0 else 100.0 * float(part) / float(total)


def write_selection(
    folder: Union[str, Path], names: Sequence[str], is_thing: Sequence[bool], counts: np.ndarray
) -> None:
    """Writes selection.csv, all classes, and selection.png, those that were selected.

    Args:
        folder: made if need be.
        names: of the K classes.
        is_thing: per class.
        counts: (K, 2), of learnable and of conditional queries.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows: List[Any] = [
        (name, "thing" if thing else "stuff", *map(int, numbers))
        for name, thing, numbers in zip(names, is_thing, counts)
    ]
    with open(folder / "selection.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("class", "kind", *KINDS))
        writer.writerows(rows)
    totals = [
        (f"all {kind}", np.sum([row[2:] for row in rows if row[1] == kind] or [(0, 0)], axis=0))
        for kind in ("thing", "stuff")
    ]
    shown = sorted((row for row in rows if sum(row[2:])), key=lambda row: (row[1] == "stuff", row))
    bars = totals + [(f"{name} · {kind}", numbers) for name, kind, *numbers in shown]
    share_bars(folder / "selection.png", bars, KINDS)


def build_selection(
    dataset_name: str, *, learnable: int, output_dir: Union[str, Path]
) -> Optional[SelectionEvaluator]:
    """Returns the evaluator of a panoptic set; None for sets of other kinds.

    Args:
        dataset_name: registered.
        learnable: number of learnable queries.
        output_dir: folder of the evaluation's details.
    """
    kinds = MetadataCatalog.get(dataset_name).get("evaluator_type") or ()
    if not any("panoptic" in kind for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return None
    names, is_thing = categories_of(dataset_name)
    return SelectionEvaluator(names, is_thing, learnable=learnable, output_dir=output_dir)
