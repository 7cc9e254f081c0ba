#!/usr/bin/env python3
"""Tries the claims of a paper: runs a table of experiments, and writes mean and spread over seeds.

    python tools/claims.py --list
    python tools/claims.py sed_rejection --num-gpus 0
    python tools/claims.py querymeldnet --rows meld,learnable --seeds 0,1
    python tools/claims.py querymeldnet --only-table
    python tools/claims.py sed_skip --output output/short SOLVER.MAX_ITER 300

A claim is a file of configs/claims: rows of config changes, each trained (or evaluated) once a
seed, and the metrics that are compared (docs/claims.md). The name of a paper stands for all its
claims.
What is finished is skipped and what was begun goes on, so a table may grow over many nights. A
folder that holds a run of another config is refused.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from segplugins.engine.command import command_parser, run_command, whole_number

TOOLS = Path(__file__).resolve().parent
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")
CLAIMS = TOOLS.parent / "configs" / "claims"


def name_list(text: str) -> List[str]:
    """Returns the names of "meld,learnable"."""
    return [name.strip() for name in text.split(",") if name.strip()]


def seed_list(text: str) -> List[int]:
    """Returns the numbers of "0,1,2", each once."""
    return list(dict.fromkeys(whole_number(0)(part) for part in text.split(",")))


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    add = parser.add_argument
    add(
        "words",
        nargs="*",
        metavar="NAME",
        help="claims, papers, or .yaml files of your own; then KEY VALUE pairs that change every "
        "run, into another --output",
    )
    add("--list", action="store_true", help="show the claims, of the names given or all, and end")
    add("--rows", type=name_list, default=[], metavar="ROW,ROW", help="these rows alone")
    add("--seeds", type=seed_list, default=[], metavar="N,N", help="these seeds alone")
    add("--only-table", action="store_true", help="run nothing: tables of what is there")
    add(
        "--output",
        default="output/claims",
        metavar="DIR",
        help="OUTPUT/<claim>/<row>/seed<n> are the runs (default: %(default)s)",
    )
    add("--num-gpus", type=whole_number(0), metavar="N", help="as of tools/train_net.py")
    add("--num-processes", type=whole_number(1), metavar="N", help="as of tools/train_net.py")
    # Names before the options and KEY VALUE behind them are both positional.
    parser.parse_args = parser.parse_intermixed_args
    return parser


def main(args: argparse.Namespace) -> Optional[int]:
    """Runs and shows the tables; 1 where a run did not end well."""
    from segplugins.claims import (
        find_claims,
        measure,
        plan_runs,
        read_claim,
        run_all,
        write_table,
    )
    from segplugins.claims.execute import ChildProcess
    from segplugins.claims.table import lines_of

    if args.list:
        return list_claims(args.words)
    names, options = names_and_options(args.words)
    claims = find_claims(names, CLAIMS)
    output = Path(args.output)
    plan = plan_runs(
        claims,
        output,
        lambda name: read_claim(CLAIMS / f"{name}.yaml"),
        rows=args.rows,
        seeds=args.seeds,
        options=options,
    )
    state_of = state_reader(claims, plan)
    failed = {}
    if not args.only_table:
        start = ChildProcess(TOOLS, launch_options(args))
        again = shlex.join(["python", *sys.argv])
        failed = run_all(plan.runs, state_of, start, tell=tell, again=again).failed
    for claim in claims:
        table = measure(claim, plan, state_of)
        written = write_table(table, output / claim.name)
        print(f"\n{claim.title}\n{claim.says}\n\n{lines_of(table)}")
        print(f"in {output / claim.name}: {', '.join(written)}")
    for title, problem in failed.items():
        print(f"failed: {title}: {problem}")
    return 1 if failed else 0


def names_and_options(words: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Returns the names of claims, and the KEY VALUE pairs behind them.

    Raises:
        ValueError: no claim is named, or a key has no value.
    """
    # Keys are in capitals; no claim, paper or file is.
    first = next((n for n, word in enumerate(words) if _KEY.fullmatch(word)), len(words))
    names, options = list(words[:first]), list(words[first:])
    if not names:
        raise ValueError("no claim is named; --list shows them: python tools/claims.py --list")
    if len(options) % 2:
        raise ValueError(f"'{options[-1]}' has no value; write KEY VALUE pairs after the claims")
    return names, options


def tell(line: str) -> None:
    """Prints a line of progress at once."""
    print(line, flush=True)


def list_claims(names: Sequence[str]) -> None:
    """Prints name, rows and sentence of the claims that are named, of all without a name."""
    from tabulate import tabulate

    from segplugins.claims import find_claims

    rows = [
        [claim.name, claim.paper, len(claim.shown), len(claim.seeds), claim.title]
        for claim in find_claims(names, CLAIMS)
    ]
    print(tabulate(rows, ["claim", "paper", "rows", "seeds", ""]))


def launch_options(args: argparse.Namespace) -> List[str]:
    """Returns the options that every training and evaluation gets."""
    options: List[str] = []
    for name in ("num_gpus", "num_processes"):
        if getattr(args, name) is not None:
            options += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return options


def state_reader(claims: Sequence[Any], plan: Any) -> Any:
    """Returns what reads the state of a run, after a look at every config.

    Raises:
        ConfigError, ValueError: an option or a metric that no run can have.
    """
    from functools import partial

    from segplugins.claims.configs import check_metrics, config_reader
    from segplugins.claims.state import state_of
    from segplugins.projects import load_projects

    config_of = config_reader([paper.add_config for paper in load_projects().values()])
    check_metrics(claims, plan, config_of)
    return partial(state_of, config_of=config_of)


if __name__ == "__main__":
    run_command(main, build_parser(), kept="finished runs are kept; the same command goes on")
