"""Trains a paper's model, or with --eval-only evaluates it.

    python tools/train_net.py --config-file configs/sed/tiny.yaml
    python tools/train_net.py --config-file configs/sed/convnext_b.yaml --num-gpus 4 --resume
    python tools/train_net.py --config-file configs/sed/tiny.yaml --num-gpus 0 --num-processes 2 \\
        SOLVER.MAX_ITER 100 OUTPUT_DIR output/try

--dry-run tries a config: all checks, a few steps and one batch of evaluation; it shows sizes, time,
memory and the first pictures as the model gets them. Options go first, then config keys with their
values. Without a GPU everything runs on the CPU.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse

from segplugins.engine.command import argument_parser, run_command


def main(args: argparse.Namespace) -> None:
    """Runs in every process."""
    from segplugins.engine import check_names, default_setup, evaluate, setup_cfg, train
    from segplugins.projects import load_projects

    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    # Before OUTPUT_DIR is made: a wrong name leaves nothing behind.
    check_names(cfg, training=not args.eval_only, random_weights=args.random_weights)
    default_setup(cfg, resume=args.resume, evaluation=args.eval_only)
    if args.eval_only:
        evaluate(cfg, random_weights=args.random_weights)
    else:
        train(cfg, resume=args.resume)


def launched(args: argparse.Namespace) -> None:
    """Starts the processes."""
    if args.dry_run:
        try_config(args)
        return
    from segplugins.engine import launch

    launch(main, args)


def try_config(args: argparse.Namespace) -> None:
    """Prints what a run would be like."""
    from segplugins.engine import setup_cfg
    from segplugins.engine.dry_run import dry_run
    from segplugins.projects import load_projects

    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    for line in dry_run(cfg):
        print(line, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="try the config on one process, and train nothing"
    )
    return parser


if __name__ == "__main__":
    run_command(launched, build_parser())
