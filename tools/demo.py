"""Segments your pictures by your words.

    python tools/demo.py --config-file configs/sed/quickstart.yaml --input shots/ \\
        --vocabulary "red car, tree|shrub, sky" MODEL.WEIGHTS output/sed/model_final.pth
    python tools/demo.py --config-file configs/unilseg/unilseg_20.yaml --input drive.mp4 \\
        --prompt "the red car left of the tree" --prompt "all windows" MODEL.WEIGHTS unilseg.pth

Input is an image, a folder, a quoted pattern or a video. For every picture <name>.overlay.jpg to
look at and <name>.json are written; with a vocabulary <name>.labels.png (pixel = index of the
class), with prompts <name>.mask0.png and so on, one per prompt (255 = what it says). Models for
classes take --vocabulary, models for phrases both.
"""

import argparse
import sys
from pathlib import Path

from segplugins.engine import setup_cfg
from segplugins.engine.media import find_media
from segplugins.engine.predict import Predictor, segment_files
from segplugins.engine.predict_labels import LabelMaps
from segplugins.engine.predict_phrases import PhraseMasks
from segplugins.projects import load_projects
from segplugins.structures import parse_vocabulary


def arguments() -> argparse.Namespace:
    """Returns: the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config of the trained model")
    parser.add_argument("--input", required=True, help="image, folder, quoted pattern or video")
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument(
        "--vocabulary",
        help='names "a, b|synonym, c", a .txt/.json/.yaml file, or a registered vocabulary',
    )
    words.add_argument(
        "--prompt", action="append", help="phrase that gets a mask of its own; repeat for more"
    )
    parser.add_argument("--output", default="output/demo", help="folder of the results")
    parser.add_argument("--batch-size", type=int, default=4, help="pictures at once")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config changes: KEY VALUE ...")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Builds the model once and segments everything found."""
    # Before the model is built: a wrong path or an empty prompt should not cost time.
    files = find_media(args.input)
    papers = load_projects()
    question = (
        PhraseMasks(args.prompt)
        if args.vocabulary is None
        else LabelMaps(parse_vocabulary(args.vocabulary))
    )
    cfg = setup_cfg(args, [paper.add_config for paper in papers.values()])
    predictor = Predictor.from_config(cfg, question)
    done = segment_files(predictor, files, Path(args.output), batch_size=args.batch_size)
    print(
        f"{done['written']} pictures segmented into {args.output}"
        + (f", {done['kept']} stood there already" if done["kept"] else "")
    )


def main() -> None:
    """Runs; what a user can put right ends in one line."""
    try:
        run(arguments())
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
