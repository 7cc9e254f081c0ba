"""A claim of a paper as data: what is said, which runs show it, and which figures they leave."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional, Tuple

RESULTS = "results.json"


@dataclass(frozen=True)
class Metric:
    """One column of the table.

    Args:
        title: of the column.
        paths: of the numbers whose mean it is, mostly one; keys joined by "/", in results.json data
            set/task/metric.
        file: JSON file in the folder of a run.
        higher_is_better: direction of the metric.
        scale: factor on the number that the file holds.
    """

    title: str
    paths: Tuple[str, ...]
    file: str = RESULTS
    higher_is_better: bool = True
    scale: float = 1.0


@dataclass(frozen=True)
class Row:
    """One setting, run once a seed.

    Args:
        name: also that of its folder.
        config: config file.
        options: KEY VALUE pairs, as on the command line.
        evaluates: row whose weights it evaluates, training nothing; None = it trains.
        same: "claim/row" of another claim whose runs it takes, "" = it has its own.
    """

    name: str
    config: Optional[Path] = None
    options: Tuple[str, ...] = ()
    evaluates: Optional[str] = None
    same: str = ""


@dataclass(frozen=True)
class Step:
    """What has to be done before the rows: a training, a row of a claim, or a command.

    Args:
        name: also the placeholder "{name}" of its folder in options and commands.
        config: of a training, with `options`.
        options: KEY VALUE pairs.
        claim: name of the claim that has `row`.
        row: the run of the same seed is needed.
        command: a tool of tools/, or -m and a module; then its arguments.
        makes: path below the step's folder that stands when the command has ended.
        each_seed: done once a seed instead of once.
    """

    name: str
    config: Optional[Path] = None
    options: Tuple[str, ...] = ()
    claim: str = ""
    row: str = ""
    command: Tuple[str, ...] = ()
    makes: str = ""
    each_seed: bool = False


@dataclass(frozen=True)
class Claim:
    """A claim and the table of experiments behind it.

    Args:
        name: of its file.
        path: its file.
        title: of the table.
        paper: folder of the paper under projects/.
        says: what the paper says, one sentence.
        seeds: of the repetitions.
        rows: by name, in the order of the file; those that evaluate come last.
        steps: what rows need, by name; a step may need those before it.
        metrics: columns of the table.
        shown: names of the rows of the table, in its order.
    """

    name: str
    path: Path
    title: str
    paper: str
    says: str
    seeds: Tuple[int, ...]
    rows: Dict[str, Row]
    metrics: Tuple[Metric, ...]
    steps: Dict[str, Step] = field(default_factory=dict)
    shown: Tuple[str, ...] = ()
