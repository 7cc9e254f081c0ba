"""How good filters and verifiers are where the truth is known: precision and recall."""

from dataclasses import dataclass
from typing import Callable, Dict, List, Sequence, Tuple

from segplugins.annotation.filters import FILTERS
from segplugins.annotation.sample import REGION_ID, Sample
from segplugins.annotation.stage import Stage
from segplugins.annotation.verify import VERIFIERS

Key = Tuple[str, int]


@dataclass
class FilterQuality:
    """What a stage did to right and wrong regions.

    Args:
        stage: its title.
        judged: regions that it decided about.
        wrong: of these, those that are wrong.
        dropped: regions that it rejected.
        dropped_wrong: of these, those that are wrong.
    """

    stage: str
    judged: int = 0
    wrong: int = 0
    dropped: int = 0
    dropped_wrong: int = 0

    @property
    def precision(self) -> float:
        """Share of the rejected regions that are wrong; NaN where none was."""
        return self.dropped_wrong / self.dropped if self.dropped else float("nan")

    @property
    def recall(self) -> float:
        """Share of the wrong regions that were rejected; NaN where none is wrong."""
        return self.dropped_wrong / self.wrong if self.wrong else float("nan")

    def row(self) -> Dict[str, object]:
        """Returns it as a row of a table."""
        return {
            "stage": self.stage,
            "judged": self.judged,
            "wrong %": 100 * self.wrong / max(self.judged, 1),
            "dropped": self.dropped,
            "precision %": 100 * self.precision,
            "recall %": 100 * self.recall,
        }


def filter_quality(
    stages: Sequence[Stage],
    batches: Sequence[Sequence[Sample]],
    is_right: Callable[[Sample, int], bool],
) -> List[FilterQuality]:
    """Runs stages and measures each filter and verifier among them.

    Args:
        stages: with their models.
        batches: samples, which the stages change.
        is_right: whether the region at a position of a sample is right, see
            `adapters.truth.is_true`.

    Returns:
        One entry per filter and verifier, in order, and last "what is left": regions at the end,
        of which `wrong` are wrong; what all stages together dropped is `dropped`.
    """
    rows = [
        FilterQuality(stage.title) for stage in stages if stage.name in {**FILTERS, **VERIFIERS}
    ]
    by_title = {row.stage: row for row in rows}
    left = FilterQuality("what is left")
    for samples in batches:
        for stage in stages:
            right = _verdicts(samples, is_right)
            counts = [len(sample.decisions) for sample in samples]
            stage(samples)
            if stage.title in by_title:
                _count(by_title[stage.title], samples, counts, right)
        for sample in samples:
            targets = sample.targets()
            left.judged += len(targets)
            left.wrong += sum(not is_right(sample, index) for index in targets)
    dropping = {stage.title for stage in stages if getattr(stage, "drop", True)}
    for row in (row for row in rows if row.stage in dropping):
        left.dropped += row.dropped
        left.dropped_wrong += row.dropped_wrong
    return [*rows, left]


def _verdicts(
    samples: Sequence[Sample], is_right: Callable[[Sample, int], bool]
) -> Dict[Key, bool]:
    return {
        (sample.image_id, sample.regions[index].extra[REGION_ID]): is_right(sample, index)
        for sample in samples
        for index in sample.targets()
    }


def _count(
    row: FilterQuality, samples: Sequence[Sample], counts: Sequence[int], right: Dict[Key, bool]
) -> None:
    for sample, count in zip(samples, counts):
        # A stage may check a region several times; it is rejected if one check fails.
        kept: Dict[int, bool] = {}
        for decision in sample.decisions[count:]:
            if decision.region_id is not None and (sample.image_id, decision.region_id) in right:
                before = kept.get(decision.region_id, True)
                kept[decision.region_id] = before and decision.kept
        for number, passes in kept.items():
            is_wrong = not right[sample.image_id, number]
            row.judged += 1
            row.wrong += is_wrong
            row.dropped += not passes
            row.dropped_wrong += is_wrong and not passes
