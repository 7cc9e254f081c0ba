#!/usr/bin/env python3
"""Writes a data set in the files of an annotation program: labelme, CVAT, YOLO or COCO.

    python tools/export_dataset.py --dataset streets_train --to labelme --output streets_labelme \\
        DATASETS.REGISTER '["streets.yaml"]'
    python tools/export_dataset.py --dataset streets_val --to yolo --split val --output streets_yolo
    python tools/export_dataset.py --dataset drawn_val_panoptic --to panoptic --output drawn_coco

Any registered data set that says what its pictures show can be written: label maps and panoptic
maps give masks. What a format cannot hold (crowds and scores in YOLO, phrases without a target) is
counted at the end. The pictures stay where they are unless --copy-images is given; a YOLO folder
always holds them. The files are read again as `kind: labelme`, `cvat`, `yolo`, `coco` or
`panoptic` of a data set's YAML, see datasets/README.md.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
from pathlib import Path

from segplugins.engine.command import add_config_arguments, command_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("--dataset", required=True, help="registered name")
    forms = ("coco", "cvat", "labelme", "panoptic", "yolo")
    add("--to", required=True, choices=forms, help="format to write")
    add("--output", type=Path, required=True, help="folder to write; it must be new or empty")
    add(
        "--split",
        choices=("train", "val", "test"),
        default="train",
        help="of YOLO, whose folder holds all splits (default: %(default)s)",
    )
    add("--copy-images", action="store_true", help="copy the pictures into the folder")
    add(
        "--overlap",
        choices=("refuse", "cover"),
        default="refuse",
        help="of panoptic files: whether smaller regions cover larger ones (default: %(default)s)",
    )
    add_config_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Writes the data set and prints what was written."""
    from tqdm import tqdm

    from segplugins.data.export import export_dataset
    from segplugins.engine import setup_cfg
    from segplugins.projects import load_projects

    setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    with tqdm(desc=args.dataset, unit="picture", disable=None) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        done = export_dataset(
            args.dataset,
            args.to,
            args.output,
            split=args.split,
            copy_images=args.copy_images,
            cover=args.overlap == "cover",
            advance=advance,
        )
    parts = ", ".join(f"{number} {what}" for what, number in done.items() if number)
    print(f"{args.output}: {parts or 'nothing'}")


if __name__ == "__main__":
    run_command(main, build_parser())
