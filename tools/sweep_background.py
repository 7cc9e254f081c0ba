#!/usr/bin/env python3
"""Finds the background threshold of a checkpoint: evaluates it at several, and prints one table.

    python tools/sweep_background.py --config-file configs/cocu/eval_voc.yaml \
        --thresholds 0.7,0.8,0.9,0.95 MODEL.WEIGHTS cocu.pth

Thresholds depend on the checkpoint. Choose one on images that are not those you report: on the test
set itself it would be fitted to the answer. Each evaluation is kept in OUTPUT_DIR/threshold_<t>
with all its metrics, and one that is there already is not done again; of other weights or another
config it is refused.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
from typing import Any, Dict, List, Mapping, Optional

from segplugins.engine.command import add_config_arguments, command_parser, run_command


def parse_thresholds(text: str) -> List[float]:
    """Returns the numbers of "0.5,0.9", each once, the lowest first."""
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        values = [-1.0]
    if not all(0 <= value <= 1 for value in values):
        raise argparse.ArgumentTypeError(f"got '{text}', expected numbers from 0 to 1: 0.5,0.9")
    return values


def build_parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    parser = command_parser(__doc__)
    parser.add_argument(
        "--thresholds",
        type=parse_thresholds,
        default="0.3,0.5,0.7,0.8,0.9,0.95",
        metavar="T,T",
        help="between 0 and 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--metric", default="mIoU_union", help="of the table (default: %(default)s)"
    )
    add_config_arguments(parser, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    """Evaluates at each threshold."""
    from detectron2.data import MetadataCatalog
    from tabulate import tabulate

    from segplugins.engine import setup_cfg
    from segplugins.projects import load_projects
    from segplugins.structures.vocabulary import get_vocabulary

    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    for name in cfg.DATASETS.TEST:
        vocabulary = MetadataCatalog.get(name).get("vocabulary")
        if vocabulary is None or get_vocabulary(vocabulary).none_index is None:
            raise ValueError(
                f"'{name}' in DATASETS.TEST has no background class, so there is no threshold"
            )
    rows, folder = [], cfg.OUTPUT_DIR
    for threshold in args.thresholds:
        at = cfg.clone()
        at.defrost()
        at.TEST.BACKGROUND_THRESHOLD = threshold
        at.OUTPUT_DIR = f"{folder}/threshold_{threshold:g}"
        at.freeze()
        metrics = evaluated(at)
        values = [value_of(metrics[name], args.metric, name) for name in cfg.DATASETS.TEST]
        rows.append([threshold, *("-" if each is None else round(each, 2) for each in values)])
    print(tabulate(rows, headers=["threshold", *cfg.DATASETS.TEST]))


def evaluated(cfg: Any) -> Dict[str, Dict[str, Optional[float]]]:
    """Returns data set to metric to value, None where nothing was measured; evaluates once.

    Raises:
        ValueError: the folder holds an evaluation of other weights or of another config.
    """
    import json
    from pathlib import Path

    from segplugins.engine import default_setup, evaluate
    from segplugins.files.write import write_json

    default_setup(cfg, resume=True, evaluation=True)  # it refuses a folder of other weights
    path = Path(cfg.OUTPUT_DIR) / "sweep.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not all(isinstance(kept.get(name), dict) for name in cfg.DATASETS.TEST):
        kept = {
            name: {
                metric: float(value) if value == value else None  # JSON has no NaN
                for metric, value in result["sem_seg"].items()
            }
            for name, result in evaluate(cfg).items()
        }
        write_json(path, kept)
    return kept


def value_of(metrics: Mapping[str, Optional[float]], metric: str, name: str) -> Optional[float]:
    """Returns one metric of a data set.

    Raises:
        ValueError: it was not measured; the message tells what was.
    """
    if metric not in metrics:
        known = sorted(each for each in metrics if "-" not in each)  # without those of each class
        raise ValueError(f"--metric '{metric}' is not measured on '{name}'; known are {known}")
    return metrics[metric]


if __name__ == "__main__":
    run_command(
        main, build_parser(), kept="finished evaluations are kept; the same command goes on"
    )
