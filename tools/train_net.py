"""Trains a paper's model, or with --eval-only evaluates it.

    python tools/train_net.py --config-file configs/sed/tiny.yaml
    python tools/train_net.py --config-file configs/sed/convnext_b.yaml --num-gpus 4 --resume
    python tools/train_net.py --config-file configs/sed/tiny.yaml --num-gpus 0 --num-processes 2 \\
        SOLVER.MAX_ITER 100 OUTPUT_DIR output/try

Options go first, then config keys with their values. Without a GPU everything runs on the CPU.
"""

import argparse

from segplugins.engine import argument_parser, default_setup, evaluate, launch, setup_cfg, train
from segplugins.projects import load_projects


def main(args: argparse.Namespace) -> None:
    """Runs in every process."""
    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    default_setup(cfg)
    if args.eval_only:
        evaluate(cfg)
    else:
        train(cfg, resume=args.resume)


if __name__ == "__main__":
    launch(main, argument_parser(__doc__).parse_args())
