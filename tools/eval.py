"""Evaluates one checkpoint on many data sets, each under its own vocabulary or under yours.

    python tools/eval.py --config-file configs/sed/tiny.yaml MODEL.WEIGHTS output/model_final.pth \\
        DATASETS.TEST "('drawn_val_sem_seg', 'drawn_val_unseen_sem_seg')"
    python tools/eval.py --config-file configs/sed/tiny.yaml --vocabulary "house, car, sky" \\
        MODEL.WEIGHTS output/model_final.pth

It ends with one table and leaves results and protocol in OUTPUT_DIR.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse

from segplugins.engine.command import argument_parser, run_command


def main(args: argparse.Namespace) -> None:
    """Runs in every process."""
    from segplugins.engine import check_names, default_setup, evaluate, setup_cfg
    from segplugins.projects import load_projects

    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    # Before OUTPUT_DIR is made: a wrong name leaves nothing behind.
    check_names(cfg, training=False, random_weights=args.random_weights)
    default_setup(cfg, resume=args.resume, evaluation=True)
    evaluate(cfg, random_weights=args.random_weights)


def launched(args: argparse.Namespace) -> None:
    """Starts the processes."""
    from segplugins.engine import launch

    launch(main, args)


if __name__ == "__main__":
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--vocabulary",
        default="",
        help='evaluate under these names instead of the data sets\' own: "a, b|synonym, c", a '
        ".txt/.json/.yaml file, or a registered vocabulary",
    )
    run_command(launched, parser)
