#!/usr/bin/env python3
"""Makes a memory of labelled embeddings, which votes beside the texts at test.

    python tools/build_memory.py --config-file configs/sed/quickstart.yaml \
        --data drawn_train_sem_seg --out output/memory MODEL.WEIGHTS output/sed.pth
    python tools/eval.py --config-file configs/sed/quickstart.yaml \
        MODEL.WEIGHTS output/sed.pth MODEL.MEMORY.FOLDER output/memory MODEL.MEMORY.WEIGHT 0.1

Label maps say what each cell of an image shows. The memory belongs to this checkpoint and to the
names of this data set; with another of either it is refused.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
from pathlib import Path

from segplugins.engine.command import add_config_arguments, command_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("--data", required=True, metavar="SET", help="a registered set with label maps")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the memory")
    add(
        "--rows",
        choices=("region", "cell"),
        default="region",
        help="a row for each class of an image, or for each cell (default: %(default)s)",
    )
    add(
        "--images",
        type=int,
        default=0,
        metavar="N",
        help="take N images, drawn by SEED (default: all)",
    )
    add_config_arguments(parser, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    """Builds the model, embeds the images, writes the memory."""
    from segplugins.engine import setup_cfg
    from segplugins.engine.remember import build_memory
    from segplugins.prediction.loading import load
    from segplugins.projects import load_projects

    if args.images < 0:
        raise ValueError(f"--images is {args.images}, expected a number, or 0 for all")
    if (args.out / "memory.json").exists():
        raise FileExistsError(f"--out '{args.out}' holds a memory; choose another folder")
    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()]).clone()
    cfg.defrost()
    cfg.MODEL.MEMORY.WEIGHT = 0.0
    model = load(cfg).model
    memory = build_memory(cfg, model, args.data, kind=args.rows, images=args.images)
    memory.save(args.out)
    counts = memory.labels.bincount(minlength=len(memory.classes)).tolist()
    print(f"{args.out}: {len(memory)} rows of {memory.source}")
    print(", ".join(f"{name} {count}" for name, count in zip(memory.classes, counts)))


if __name__ == "__main__":
    run_command(main, build_parser())
