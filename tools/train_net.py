"""Trains a paper's model, or with --eval-only evaluates it.

    python tools/train_net.py --config-file configs/sed/tiny.yaml
    python tools/train_net.py --config-file configs/sed/convnext_b.yaml --num-gpus 4 --resume
    python tools/train_net.py --config-file configs/sed/tiny.yaml --num-gpus 0 --num-processes 2 \\
        SOLVER.MAX_ITER 100 OUTPUT_DIR output/try

Options go first, then config keys with their values. Without a GPU everything runs on the CPU.
"""

import argparse

from segplugins.engine.command import argument_parser, run_command


def main(args: argparse.Namespace) -> None:
    """Runs in every process."""
    from segplugins.engine import default_setup, evaluate, setup_cfg, train
    from segplugins.projects import load_projects

    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    default_setup(cfg, resume=args.resume, evaluation=args.eval_only)
    if args.eval_only:
        evaluate(cfg, random_weights=args.random_weights)
    else:
        train(cfg, resume=args.resume)


def launched(args: argparse.Namespace) -> None:
    """Starts the processes."""
    from segplugins.engine import launch

    launch(main, args)


if __name__ == "__main__":
    run_command(launched, argument_parser(__doc__))
