"""Segments your pictures by your words.

    python tools/demo.py --config-file configs/sed/quickstart.yaml --input shots/ \\
        --vocabulary "red car, tree|shrub, sky" MODEL.WEIGHTS output/sed/model_final.pth

Input is an image, a folder, a quoted pattern or a video. For every picture three files are written:
<name>.overlay.jpg to look at, <name>.labels.png (pixel = index of the class) and <name>.json.
"""

import argparse
from pathlib import Path

from segplugins.engine import setup_cfg
from segplugins.engine.media import find_media
from segplugins.engine.predict import Predictor, segment_files
from segplugins.projects import load_projects
from segplugins.structures import parse_vocabulary


def main() -> None:
    """Parses, builds the model once and segments everything found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config of the trained model")
    parser.add_argument("--input", required=True, help="image, folder, quoted pattern or video")
    parser.add_argument(
        "--vocabulary",
        required=True,
        help='names "a, b|synonym, c", a .txt/.json/.yaml file, or a registered vocabulary',
    )
    parser.add_argument("--output", default="output/demo", help="folder of the results")
    parser.add_argument("--batch-size", type=int, default=4, help="pictures at once")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config changes: KEY VALUE ...")
    args = parser.parse_args()
    files = find_media(args.input)  # before the model is built: a wrong path should not cost time
    papers = load_projects()
    vocabulary = parse_vocabulary(args.vocabulary)
    cfg = setup_cfg(args, [paper.add_config for paper in papers.values()])
    predictor = Predictor.from_config(cfg, vocabulary)
    done = segment_files(predictor, files, Path(args.output), batch_size=args.batch_size)
    print(
        f"{done['written']} pictures segmented into {args.output}"
        + (f", {done['kept']} stood there already" if done["kept"] else "")
    )


if __name__ == "__main__":
    main()
