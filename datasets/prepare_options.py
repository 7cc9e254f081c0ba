"""The options of the scripts beside it; --help is shown before they import anything heavy."""

import argparse
import logging
import os
import sys
from pathlib import Path


def options(description: str) -> argparse.ArgumentParser:
    """Returns the parser that all scripts share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root",
        type=Path,
        help="folder of the source (default: that of the tree in datasets/README.md, in "
        "$DETECTRON2_DATASETS)",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)"
    )
    parser.add_argument(
        "--partial", action="store_true", help="convert what is there; do not check the counts"
    )
    return parser


def parse_arguments(description: str, folder: str) -> argparse.Namespace:
    """Returns "root", the folder of the source; "workers"; and "partial".

    Args:
        description: of the script.
        folder: of the source, relative to $DETECTRON2_DATASETS, where --root names none.
    """
    from segplugins.data.catalog import dataset_root

    arguments = options(description).parse_args()
    if arguments.workers < 1:
        sys.exit(f"error: --workers is {arguments.workers}, expected 1 or more")
    if arguments.root is None:
        arguments.root = dataset_root() / folder
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    return arguments


_IS_OF_A_SCRIPT = Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent
if _IS_OF_A_SCRIPT and {"-h", "--help"} & set(sys.argv[1:]):
    options(sys.modules["__main__"].__doc__ or "").parse_args(["--help"])
