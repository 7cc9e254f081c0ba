"""Configs of runs, merged as the run itself will merge them, and whether they give the metrics."""

from functools import cache
from pathlib import Path
from typing import Callable, Dict, Sequence, Tuple

from detectron2.config import CfgNode

from segplugins.claims.claim import RESULTS, Claim
from segplugins.claims.plan import Plan
from segplugins.engine.run import merged_cfg

ConfigOf = Callable[[Path, Sequence[str]], CfgNode]


def config_reader(add_configs: Sequence[Callable[[CfgNode], None]]) -> ConfigOf:
    """Returns a call that merges a config file and options, each pair once.

    Args:
        add_configs: what adds the papers' nodes.
    """

    @cache
    def merged(path: Path, options: Tuple[str, ...]) -> CfgNode:
        cfg = merged_cfg(path, options, add_configs)
        cfg.freeze()
        return cfg

    return lambda path, options: merged(Path(path), tuple(options))


def check_metrics(claims: Sequence[Claim], plan: Plan, config_of: ConfigOf) -> None:
    """Merges the config of every run, and looks whether it evaluates what the claim compares.

    Raises:
        ConfigError: an option that the config does not have.
        ValueError: a metric of a data set that no row evaluates, or a row without any metric.
    """
    tested: Dict[Path, Sequence[str]] = {}
    for run in plan.runs:
        if run.config is not None:
            tested[run.folder] = config_of(run.config, run.options).DATASETS.TEST
    for claim in claims:
        of_rows = {
            row: tested[run.folder]
            for (name, row, _), run in plan.cells.items()
            if name == claim.name
        }
        read = [p.split("/")[0] for m in claim.metrics if m.file == RESULTS for p in m.paths]
        evaluated = {dataset for datasets in of_rows.values() for dataset in datasets}
        for dataset in read:
            if len(of_rows) == len(claim.shown) and dataset not in evaluated:
                raise ValueError(
                    f"claim file {claim.path}: a metric is of '{dataset}', which no row evaluates; "
                    f"DATASETS.TEST of the rows are {sorted(evaluated)}"
                )
        for row, datasets in of_rows.items():
            if read and not set(read) & set(datasets):
                raise ValueError(
                    f"claim file {claim.path}: row '{row}' evaluates {list(datasets)}, of which no "
                    f"metric is; metrics are of {sorted(set(read))}"
                )
