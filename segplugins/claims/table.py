"""Mean and spread of a claim's figures over its seeds."""

import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from tabulate import tabulate

from segplugins.claims.claim import RESULTS, Claim, Metric
from segplugins.claims.plan import Plan, Run
from segplugins.claims.state import Stage, State


@dataclass(frozen=True)
class Figures:
    """The figures of one run.

    Args:
        seed: of the run.
        stage: how far it is; only a finished run has values.
        values: title of a metric to its number, None where the run did not measure it.
        note: what a reader must know of this run.
        seconds: that the run has taken, where that is known.
    """

    seed: int
    stage: Stage
    values: Dict[str, Optional[float]] = field(default_factory=dict)
    note: str = ""
    seconds: Optional[float] = None


@dataclass(frozen=True)
class ClaimTable:
    """A claim with its figures.

    Args:
        claim: the claim.
        rows: name of a row to the figures of its runs, by seed.
    """

    claim: Claim
    rows: Dict[str, List[Figures]]

    def numbers(self, row: str, metric: str) -> List[float]:
        """Returns the single figures of a row, of its finished runs."""
        values = (figures.values.get(metric) for figures in self.rows[row])
        return [value for value in values if value is not None]


def measure(claim: Claim, plan: Plan, state_of: Callable[[Run], State]) -> ClaimTable:
    """Reads the figures of a claim from the folders of its runs; trains nothing.

    Args:
        claim: whose table it is.
        plan: with the runs of this claim.
        state_of: how far a run is.
    """
    rows: Dict[str, List[Figures]] = {}
    for (name, row, seed), run in plan.cells.items():
        if name == claim.name:
            rows.setdefault(row, []).append(_figures(claim.metrics, run, seed, state_of(run)))
    return ClaimTable(claim, {name: rows[name] for name in claim.rows if name in rows})


def _figures(metrics: Sequence[Metric], run: Run, seed: int, state: State) -> Figures:
    other = state.other and f"another config: {state.other}"
    if state.stage is not Stage.FINISHED:
        return Figures(seed, state.stage, {}, other, state.seconds)
    values = {metric.title: _value(run.folder, metric) for metric in metrics}
    notes = [other] if other else []
    for metric in metrics:
        if values[metric.title] is None and not _is_of_others(run.folder, metric):
            notes.append(f"no '{metric.title}' ({', '.join(metric.paths)} in {metric.file})")
    return Figures(seed, state.stage, values, "; ".join(notes), state.seconds)


def _is_of_others(folder: Path, metric: Metric) -> bool:
    """Whether a metric is of a data set that this run was not to evaluate."""
    if metric.file != RESULTS:
        return False
    content = json.loads((folder / metric.file).read_text(encoding="utf-8"))
    return all(path.split("/")[0] not in content.get("results", {}) for path in metric.paths)


def _value(folder: Path, metric: Metric) -> Optional[float]:
    """Returns the figure of a metric in a run's folder, None where a number of it is missing."""
    try:
        content = json.loads((folder / metric.file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    numbers = [_number(content, path) for path in metric.paths]
    if any(number is None for number in numbers):
        return None
    return statistics.fmean(numbers) * metric.scale


def _number(content: Any, path: str) -> Optional[float]:
    """Returns the finite number at "key/key" of a file's content, None where there is none."""
    node = content.get("results", content) if isinstance(content, dict) else content
    for key in path.split("/"):
        node = node.get(key) if isinstance(node, dict) else None
    is_number = isinstance(node, (int, float)) and not isinstance(node, bool)
    return float(node) if is_number and math.isfinite(node) else None


def mean_and_spread(numbers: Sequence[float]) -> Tuple[Optional[float], Optional[float]]:
    """Returns mean and sample standard deviation (n - 1); None where there are too few numbers."""
    mean = statistics.fmean(numbers) if numbers else None
    return mean, statistics.stdev(numbers) if len(numbers) > 1 else None


def _cell(numbers: Sequence[float], expected: int) -> str:
    """Returns "61.2 ± 0.4 (3)"; of fewer runs than expected "61.2 ± 0.4 (2 of 3)"."""
    mean, spread = mean_and_spread(numbers)
    if mean is None:
        return "-"
    count = f"{len(numbers)}" if len(numbers) == expected else f"{len(numbers)} of {expected}"
    return (
        f"{_short(mean)} ({count})"
        if spread is None
        else (f"{_short(mean)} ± {_short(spread, like=mean)} ({count})")
    )


def _short(value: float, like: Optional[float] = None) -> str:
    size = abs(value if like is None else like)
    return f"{value:.{0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def _best(table: ClaimTable, metric: Metric) -> Optional[str]:
    """Returns the row with the best mean; None while a run of the table is unfinished."""
    means = {
        name: statistics.fmean(table.numbers(name, metric.title))
        for name in table.rows
        if len(table.numbers(name, metric.title)) == len(table.rows[name])
    }
    if len(means) < len(table.rows) or len(means) < 2:
        return None
    return (max if metric.higher_is_better else min)(means, key=lambda name: means[name])


def lines_of(table: ClaimTable, *, markdown: bool = False) -> str:
    """Returns the table as text, what is unfinished or not measured under it.

    Args:
        table: of a claim.
        markdown: a table of Markdown, with the best mean of a column in bold where all runs of the
            table are finished.
    """
    metrics = table.claim.metrics
    headers = ["", *(f"{m.title} {'↑' if m.higher_is_better else '↓'}" for m in metrics)]
    best = {metric.title: _best(table, metric) for metric in metrics}
    body = []
    for name, figures in table.rows.items():
        cells = [_cell(table.numbers(name, m.title), len(figures)) for m in metrics]
        if markdown:
            cells = [
                f"**{cell}**" if best[m.title] == name else cell for m, cell in zip(metrics, cells)
            ]
        body.append([name, *cells])
    style = "github" if markdown else "simple"
    text = tabulate(body, headers, style, disable_numparse=True)
    notes = _notes(table)
    if markdown:
        text = f"# {table.claim.title}\n\n{table.claim.says}\n\n{text}"
        notes = [f"- {note}" for note in notes]
    explained = "mean ± standard deviation over seeds (number of runs)"
    return "\n".join([text, "", explained, *([""] if markdown and notes else []), *notes])


def _notes(table: ClaimTable) -> List[str]:
    """Returns "row, seeds 1, 2: not started": what a reader must know, equal notes together."""
    lines = []
    for name, row in table.rows.items():
        seeds: Dict[str, List[str]] = {}
        for figures in row:
            stage = "" if figures.stage is Stage.FINISHED else figures.stage.value
            note = "; ".join(text for text in (stage, figures.note) if text)
            if note:
                seeds.setdefault(note, []).append(str(figures.seed))
        for note, those in seeds.items():
            lines.append(f"{name}, seed{'s' if len(those) > 1 else ''} {', '.join(those)}: {note}")
    return lines
