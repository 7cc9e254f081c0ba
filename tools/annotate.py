"""Annotates images by a recipe: boxes, masks, tags and captions, filtered and verified.

    python tools/annotate.py --recipe configs/annotation/drawn.yaml \\
        --input datasets/drawn/images/val --output output/annotated
    python tools/annotate.py --recipe configs/annotation/unilseg_boxes.yaml \\
        --input refcoco_unc_train --output output/refcoco --set models.segmenter.folder=weights/sam

Input is a folder of images, region lines (with --images), or the name of a data set (--register
reads the YAML files that describe yours). The output folder gets shards of region lines, an audit
of every decision, data.yaml for DATASETS.REGISTER, report.html, and review.jsonl with the images
that are most worth a look. Stopped or killed, the same command goes on where it was; several
may run at once on one folder. docs/annotation.md tells the rest.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
from pathlib import Path
from typing import Any, List

from segplugins.engine.command import command_parser, run_command, whole_number

KEPT = "finished shards are kept; the same command goes on with the others"


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("--recipe", type=Path, required=True, help="YAML file, such as configs/annotation/*.yaml")
    add("--input", required=True, help="folder of images, region lines, or name of a data set")
    add("--images", type=Path, help="folder that the file names of region lines are relative to")
    add(
        "--register",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file that describes data sets; repeat for more",
    )
    add("--output", type=Path, required=True, help="folder of the output")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change of the recipe, such as models.scorer.weights=clip.pt or "
        "stages.3.filter_clip.threshold=0.25; repeat for more",
    )
    add("--vocabulary", help="a file or a registered name, instead of the recipe's")
    add("--format", choices=("jsonl", "parquet"), default="jsonl", help="default: %(default)s")
    add("--shard-size", type=int, default=1000, help="images of a shard (default: %(default)s)")
    add(
        "--processes",
        type=whole_number(1),
        default=1,
        help="that work at once (default: %(default)s)",
    )
    add("--review", type=int, default=100, help="images in review.jsonl (default: %(default)s)")
    add(
        "--ray",
        action="store_true",
        help="--processes are actors of a Ray cluster (RAY_ADDRESS), else of one on this machine",
    )
    add(
        "--device",
        action="append",
        metavar="DEVICE",
        help="cpu, cuda:0, ...; repeated, processes take turns (default: a GPU where there is one)",
    )
    return parser


def main(args: argparse.Namespace) -> int:
    """Runs the recipe. Returns 1 where images were left out, else 0."""
    # After the command line is read, so that --help takes no second.
    from tqdm import tqdm

    from segplugins.annotation.adapters import KINDS
    from segplugins.annotation.pipeline import Annotator
    from segplugins.annotation.ray_backend import ray_parts
    from segplugins.annotation.recipe import read_recipe
    from segplugins.prediction import annotation

    if args.review < 0:
        raise ValueError(f"--review is {args.review}, expected 0 or more images")
    if args.ray:
        ray_parts()
    kinds = {**KINDS, **annotation.KINDS}
    recipe = read_recipe(args.recipe, kinds, args.set, vocabulary=args.vocabulary)
    recipe.check_models()
    annotator = Annotator(
        recipe,
        _inputs(args),
        args.output,
        shard_size=args.shard_size,
        ending=f".{args.format}",
    )
    images, _ = annotator.finished()
    with tqdm(
        total=annotator.plan.images, initial=images, unit="image", desc=str(args.output)
    ) as bar:
        outcome = annotator.run(
            processes=args.processes,
            devices=_devices(args),
            ray=args.ray,
            progress=bar.update,
        )
    return _finish(args, annotator, outcome)


def _inputs(args: argparse.Namespace) -> Any:
    from segplugins.annotation.inputs import FolderInputs, LineInputs
    from segplugins.data.register_yaml import register_from_yaml
    from segplugins.prediction.annotation import dataset_inputs

    for path in args.register:
        register_from_yaml(path)
    source = Path(args.input)
    if source.suffix in (".jsonl", ".parquet") or (args.images and source.exists()):
        if args.images is None:
            raise ValueError(f"--images names the folder of the images of '{source}'")
        return LineInputs(source, args.images)
    if args.images is not None:
        raise ValueError(f"--images goes with region lines, and there are none '{source}'")
    if source.is_dir():
        return FolderInputs(source)
    try:
        return dataset_inputs(args.input)
    except KeyError as error:
        raise ValueError(
            f"--input {source}: no such folder of images, and no data set has that name; "
            "--register FILE reads the YAML file that describes sets of your own"
        ) from error


def _devices(args: argparse.Namespace) -> List[str]:
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    for name in args.device or ():
        if name not in ("cpu", "cuda", *gpus):
            raise ValueError(f"--device {name}: expected one of {', '.join(['cpu', *gpus])}")
    return args.device or gpus or ["cpu"]


def _finish(args: argparse.Namespace, annotator: Any, outcome: Any) -> int:
    from segplugins.annotation.report import write_report

    folder = annotator.job.folder
    if outcome.unfinished:
        print(f"{outcome.unfinished} shards are being made by another process on '{folder}'")
        return 0
    files = write_report(folder, annotator.inputs.root, review=args.review)
    print(f"{outcome.images - len(outcome.failures)} images annotated in {folder}")
    print(f"look at {files['report']}; {files['review']} has the images most worth it")
    for failure in outcome.failures[:10]:
        print(f"left out: {failure.file_name}: {failure.error}")
    if outcome.failures:
        print(f"{len(outcome.failures)} images were left out; {folder}/regions names all of them")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    run_command(main, build_parser(), kept=KEPT)
