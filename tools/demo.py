"""Segments your pictures by your words.

    python tools/demo.py --config-file configs/sed/quickstart.yaml --input shots/ \\
        --vocabulary "red car, tree|shrub, sky" MODEL.WEIGHTS output/quickstart/sed/model_final.pth
    python tools/demo.py --config-file configs/unilseg/unilseg_20.yaml --input drive.mp4 \\
        --prompt "the red car left of the tree" --prompt "all windows" MODEL.WEIGHTS unilseg.pth

    python tools/demo.py --config-file configs/umg_clip/drawn_clip.yaml --input shots/ \\
        --similarity "dog, grass" MODEL.WEIGHTS output/clip/drawn/model_final.pth

Input is an image, a folder, a quoted pattern or a video. For every picture <name>.overlay.jpg to
look at and <name>.json are written; with a vocabulary <name>.labels.png (pixel = index of the
class), with prompts <name>.mask0.png and so on, one per prompt (255 = what it says). A video also
gets <name>.overlay.mp4. Models for classes take --vocabulary, models for phrases both. With
--similarity, <name>.similarity.png shows for every word how alike the places of the picture are to
it, as the model's CLIP tower sees them, undecoded.

A file that cannot be read is skipped and named at the end; the exit status is then 1. Stopped, the
same command goes on where it was. The device is a GPU where there is one; MODEL.DEVICE cpu, cuda
or cuda:1 at the end of the line chooses another.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from segplugins.engine.command import (
    add_config_arguments,
    command_parser,
    run_command,
    share,
    whole_number,
)

if TYPE_CHECKING:
    from segplugins.prediction.folder import Outcome

KEPT = "pictures whose <name>.json stands are finished; the same command goes on with the others"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    parser.add_argument("--input", required=True, help="image, folder, quoted pattern or video")
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument(
        "--vocabulary",
        help='names "a, b|synonym, c", a file, a registered vocabulary or data set',
    )
    words.add_argument(
        "--prompt", action="append", help="phrase that gets a mask of its own; repeat for more"
    )
    words.add_argument(
        "--similarity",
        metavar="WORDS",
        help="names as above: paints how alike each place is to each, for models with a CLIP tower",
    )
    parser.add_argument(
        "--task",
        choices=("semantic", "instance", "panoptic", "part"),
        default="semantic",
        help="how a vocabulary is answered, as the model allows (default: %(default)s)",
    )
    parser.add_argument(
        "--output", default="output/demo", help="folder of the results (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=4,
        metavar="N",
        help="pictures at once (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=share,
        metavar="SHARE",
        help="0-1: what has a lower score is none of the names (default: off, the best name "
        "wins; instances below 0.25 stand in the JSON, unpainted)",
    )
    parser.add_argument(
        "--windows",
        action="store_true",
        help="look at large pictures part by part, at full resolution; slower",
    )
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="a model without weights, to see that it runs: it paints noise",
    )
    add_config_arguments(parser, required=True)
    return parser


def main(args: argparse.Namespace) -> int:
    """Builds the model once and segments everything found. Returns the exit status."""
    # After the command line is read, so that --help takes no second.
    from segplugins.engine.media import find_media
    from segplugins.engine.preflight import architecture
    from segplugins.prediction.folder import check_writable, open_folder, segment_files
    from segplugins.prediction.loading import check_named_weights, load, read_config
    from segplugins.prediction.questions import ask_classes, ask_phrases, check_answered
    from segplugins.prediction.segmenter import check_options
    from segplugins.prediction.similarity import paint_similarity
    from segplugins.prediction.words import read_vocabulary

    # Before the model is built: a wrong path or an empty prompt should not cost time.
    files = find_media(args.input)
    cfg = read_config(args.config_file, args.opts)
    names = args.similarity if args.vocabulary is None else args.vocabulary
    if names is None:
        question = ask_phrases(args.prompt)
    else:
        question = ask_classes(read_vocabulary(names), args.task)
    check_options(question, windows=args.windows)
    answers = getattr(architecture(cfg), "answers", None)
    if answers is not None and args.similarity is None:
        check_answered(question, answers)
    check_named_weights(cfg, random_weights=args.random_weights)
    output = Path(args.output)
    check_writable(output)
    model = load(cfg, random_weights=args.random_weights)
    if args.similarity is not None:
        done = paint_similarity(model, model.ask(names), files, output)
        print(f"{done.written} pictures of similarity painted into {output}")
        return _report_skipped(done, files)
    if args.vocabulary is None:
        question = model.ask(prompts=args.prompt)
    else:
        question = model.ask(args.vocabulary, task=args.task)
    options = {"threshold": args.threshold, "windows": args.windows}
    open_folder(output, model, question, **options)
    done = segment_files(model, question, files, output, batch_size=args.batch_size, **options)
    kept = f", {done.kept} stood there already" if done.kept else ""
    print(f"{done.written} pictures segmented into {output}{kept}")
    return _report_skipped(done, files)


def _report_skipped(done: "Outcome", files: Sequence[Path]) -> int:
    """Names the files that were skipped. Returns the exit status."""
    if done.skipped:
        print(f"{len(done.skipped)} of {len(files)} files skipped:", file=sys.stderr)
        for file, reason in done.skipped:
            print(f"  {file}: {reason}", file=sys.stderr)
    return 1 if done.skipped else 0


if __name__ == "__main__":
    run_command(main, parser(), kept=KEPT)
