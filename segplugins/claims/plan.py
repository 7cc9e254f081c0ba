"""A claim to its single runs, each with a folder and a command, what is needed first."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from segplugins.claims.claim import Claim, Step

WEIGHTS = "model_final.pth"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_MOST_STEPS = 20  # of steps that need steps; more is a circle


@dataclass(frozen=True)
class Run:
    """One process: a training, an evaluation or a command.

    Args:
        title: for people: "sed_skip: with, seed 0".
        folder: where it leaves its results.
        tool: file of tools/ that is run.
        arguments: of the tool, without those that depend on the machine.
        config: config file of a training or evaluation.
        options: KEY VALUE pairs of it.
        weights: file that an evaluation evaluates.
        makes: path that stands when a command has ended.
        requires: runs that come first.
    """

    title: str
    folder: Path
    tool: str
    arguments: Tuple[str, ...]
    config: Optional[Path] = None
    options: Tuple[str, ...] = ()
    weights: Optional[Path] = None
    makes: Optional[Path] = None
    requires: Tuple["Run", ...] = ()


class Plan(NamedTuple):
    """The runs of some claims.

    Args:
        runs: each once, what is needed first.
        cells: (claim, row, seed) to its run.
    """

    runs: List[Run]
    cells: Dict[Tuple[str, str, int], Run]


class Planner:
    """Makes runs from claims, each folder once.

    Args:
        output: folder of all claims' folders.
        claim_of: name to claim, for rows of other claims.
        options: KEY VALUE pairs on top of those of every training and evaluation.
    """

    def __init__(
        self, output: Path, claim_of: Callable[[str], Claim], options: Sequence[str] = ()
    ) -> None:
        self.output = output
        self.claim_of = claim_of
        self.options = list(options)
        self._runs: Dict[Path, Run] = {}

    def row(self, claim: Claim, name: str, seed: int, depth: int = 0) -> Run:
        """Returns the run of a row with one seed.

        Raises:
            ValueError: no such row, a placeholder without a step, or rows that need each other.
        """
        if depth > _MOST_STEPS:
            raise ValueError(f"claim file {claim.path}: '{name}' needs itself in the end")
        if name not in claim.rows:
            nearest = get_close_matches(name, claim.rows, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"claim file {claim.path} has no row '{name}', the nearest is '{nearest}'"
            )
        row = claim.rows[name]
        if row.same:
            return self._row_named(claim, row.same, seed, depth + 1)
        folder = self.output / claim.name / row.name / f"seed{seed}"
        if folder in self._runs:
            return self._runs[folder]
        requires: List[Run] = []
        options = self._filled(claim, row.options, seed, requires, depth) + self.options
        weights = None
        if row.evaluates:
            trained = self.row(claim, row.evaluates, seed, depth + 1)
            requires.append(trained)
            weights = trained.folder / WEIGHTS
            options += ["MODEL.WEIGHTS", str(weights)]
        options += ["SEED", str(seed), "OUTPUT_DIR", str(folder)]
        title = f"{claim.name}: {row.name}, seed {seed}"
        run = _config_run(title, folder, row.config, options, requires, weights=weights)
        return self._runs.setdefault(folder, run)

    def _row_named(self, claim: Claim, path: str, seed: int, depth: int) -> Run:
        """Returns the run of "claim/row"."""
        other, name = path.split("/")
        return self.row(claim if other == claim.name else self.claim_of(other), name, seed, depth)

    def _step(self, claim: Claim, step: Step, seed: int, depth: int) -> Run:
        if step.row:
            return self._row_named(claim, f"{step.claim}/{step.row}", seed, depth)
        folder = self.output / claim.name / "needs" / step.name
        folder = folder / f"seed{seed}" if step.each_seed else folder
        if folder in self._runs:
            return self._runs[folder]
        title = f"{claim.name}: {step.name}" + (f", seed {seed}" if step.each_seed else "")
        requires: List[Run] = []
        if step.config:
            options = self._filled(claim, step.options, seed, requires, depth) + self.options
            options += ["SEED", str(seed)] if step.each_seed else []
            options += ["OUTPUT_DIR", str(folder)]
            run = _config_run(title, folder, step.config, options, requires)
        else:
            tool, *words = self._filled(claim, step.command, seed, requires, depth, out=folder)
            first = tuple(dict.fromkeys(requires))
            makes = folder / step.makes
            run = Run(title, folder, tool, tuple(words), makes=makes, requires=first)
        return self._runs.setdefault(folder, run)

    def _filled(
        self,
        claim: Claim,
        words: Sequence[str],
        seed: int,
        requires: List[Run],
        depth: int,
        out: Optional[Path] = None,
    ) -> List[str]:
        """Returns the words with folders for placeholders; adds the runs that make these."""

        def folder(match: "re.Match[str]") -> str:
            name = match[1]
            if name == "seed":
                return str(seed)
            if name == "out" and out is not None:
                return str(out)
            if name not in claim.steps:
                raise ValueError(
                    f"claim file {claim.path}: '{match[0]}' stands for no step of needs; they are "
                    f"{sorted(claim.steps)}"
                )
            run = self._step(claim, claim.steps[name], seed, depth + 1)
            requires.append(run)
            return str(run.folder)

        if depth > _MOST_STEPS:
            raise ValueError(f"claim file {claim.path}: steps of needs need each other")
        return [_PLACEHOLDER.sub(folder, word) for word in words]


def _config_run(
    title: str,
    folder: Path,
    config: Optional[Path],
    options: Sequence[str],
    requires: Sequence[Run],
    *,
    weights: Optional[Path] = None,
) -> Run:
    return Run(
        title,
        folder,
        "eval.py" if weights else "train_net.py",
        ("--config-file", str(config), "--resume"),
        config=config,
        options=tuple(options),
        weights=weights,
        requires=tuple(dict.fromkeys(requires)),
    )


def plan_runs(
    claims: Sequence[Claim],
    output: Path,
    claim_of: Callable[[str], Claim],
    *,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = (),
    options: Sequence[str] = (),
) -> Plan:
    """Returns the runs of claims: seed by seed, so that all rows have as many.

    Args:
        claims: to run.
        output: folder of all claims' folders.
        claim_of: name to claim.
        rows: names; none = those that the tables show.
        seeds: none = those of each claim.
        options: KEY VALUE pairs on top of all others.

    Raises:
        ValueError: no claim has such a row; or see `Planner.row`.
    """
    names = {name for claim in claims for name in claim.rows}
    for row in rows:
        if row not in names:
            nearest = get_close_matches(row, names, n=1, cutoff=0.0)[0]
            raise ValueError(f"--rows: no row '{row}', the nearest is '{nearest}'")
    planner = Planner(output, claim_of, options)
    ordered: Dict[Path, Run] = {}
    cells: Dict[Tuple[str, str, int], Run] = {}
    for claim in claims:
        for seed in seeds or claim.seeds:
            for name in rows or claim.shown:
                if name in claim.rows:
                    cells[claim.name, name, seed] = planner.row(claim, name, seed)
                    _add(cells[claim.name, name, seed], ordered)
    return Plan(list(ordered.values()), cells)


def _add(run: Run, ordered: Dict[Path, Run]) -> None:
    for needed in run.requires:
        _add(needed, ordered)
    ordered.setdefault(run.folder, run)
