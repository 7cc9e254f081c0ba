#!/usr/bin/env python3
"""Makes a data set with few labels: the truth of some pictures, machine-made labels of others.

    python tools/make_drawn_world.py --out datasets/drawn --train 800 --val 100
    python tools/make_pseudo_labels.py --world datasets/drawn --out datasets/drawn_pseudo

The pictures without truth are annotated by a recipe whose model looks answers up and spoils a
share of them: once as its models answer ("noisy"), once with all filters and verifiers
("filtered"). sets.yaml in the output registers pseudo_labelled, pseudo_noisy, pseudo_filtered,
pseudo_kept (the pictures of which filters kept half of the regions), pseudo_all (the truth of all),
pseudo_val and pseudo_phrases (its names as phrases). Stopped, the same command goes on where it
was; a folder that was made by another recipe is refused.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
from pathlib import Path

from segplugins.engine.command import command_parser, run_command, whole_number

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "annotation" / "drawn.yaml"


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("--world", type=Path, help="the drawn world (default: $DETECTRON2_DATASETS/drawn)")
    add("--out", type=Path, required=True, help="folder of the output")
    add(
        "--labelled",
        type=whole_number(1),
        default=100,
        help="training pictures whose truth is used (default: %(default)s)",
    )
    add("--recipe", type=Path, default=RECIPE, help="its model is called 'looker'")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change of the recipe, such as models.looker.noisy_images=0.6; repeat for more",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Splits the world, annotates the part without truth twice, and says what came of it."""
    from tabulate import tabulate

    from segplugins.annotation.pseudo_labels import (
        agreement,
        annotator_of,
        mapping_of_counts,
        noisy_and_filtered,
        write_parts,
    )
    from segplugins.annotation.report import write_report
    from segplugins.data.catalog import dataset_root

    world = args.world or dataset_root() / "drawn"
    truth = world / "regions" / "train.jsonl"
    write_parts(world, args.out, args.labelled)
    counts = {}
    for name, recipe in noisy_and_filtered(args.recipe, truth, args.set).items():
        annotator = annotator_of(recipe, world, args.out, name)
        annotator.run()
        write_report(args.out / name, annotator.inputs.root)
        counts[name] = agreement(args.out / name, args.out / "unlabelled.jsonl")
    print(tabulate(mapping_of_counts(counts), headers="keys", floatfmt=".1f"))
    print(f"DATASETS.REGISTER '[\"{args.out / 'sets.yaml'}\"]'")


if __name__ == "__main__":
    run_command(main, build_parser(), kept="the same command goes on")
