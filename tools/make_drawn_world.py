#!/usr/bin/env python3
"""Writes the drawn world: pictures with exact truth for every task, in the standard formats.

    python tools/make_drawn_world.py --out datasets/drawn --train 2000 --val 300 --size 128 --seed 0

What it writes is told in docs/drawn_world.md. A call that was interrupted goes on where it stopped.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import List, Optional, Tuple

from tqdm import tqdm

from segplugins.data.drawn_world import WorldOptions, write_drawn_world
from segplugins.data.drawn_world.generate import total_images
from segplugins.structures import parse_vocabulary


def parse_size(text: str) -> Tuple[int, int]:
    """Returns (height, width) of "128" or "96x128"."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() for side in sides):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no size; write 128, or 96x128 (height x width)"
        )
    return int(sides[0]), int(sides[-1])


def parse_names(text: str) -> Tuple[str, ...]:
    """Returns the names in a file or in a list with commas; "" = none."""
    return parse_vocabulary(text).classes if text.strip() else ()


def build_parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("datasets/drawn"), help="folder to write")
    parser.add_argument("--train", type=int, default=2000, help="training images")
    parser.add_argument("--val", type=int, default=300, help="validation images of seen classes")
    parser.add_argument("--val-unseen", type=int, help="with unseen classes (default: as --val)")
    parser.add_argument("--pairs", type=int, help="image-text pairs (default: as --train)")
    parser.add_argument("--clips", type=int, default=40, help="training clips of 8 frames")
    parser.add_argument("--val-clips", type=int, default=10, help="validation clips of 8 frames")
    parser.add_argument("--size", type=parse_size, default=(128, 128), help="128, or 96x128 (HxW)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another world")
    parser.add_argument(
        "--classes", type=parse_names, help="file, or 'sky, grass, car' (default: all)"
    )
    parser.add_argument(
        "--unseen", type=parse_names, help="classes without training masks; '' = none"
    )
    parser.add_argument("--unseen-pairs", type=parse_names, help="such as 'blue boat, yellow car'")
    parser.add_argument("--shard", type=int, default=250, help="image-text pairs in one tar")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--force", action="store_true", help="replace a world of other options")
    return parser


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the command; returns its exit status."""
    values = vars(build_parser().parse_args(arguments))
    out, size, workers, force = (values.pop(key) for key in ("out", "size", "workers", "force"))
    try:
        total = total_images(WorldOptions(height=size[0], width=size[1], **values))
        with tqdm(total=total, unit="image", desc=str(out)) as bar:
            write_drawn_world(
                out, size=size, workers=workers, force=force, progress=bar.update, **values
            )
    except (ValueError, FileExistsError) as error:
        print(f"make_drawn_world: {error}", file=sys.stderr)
        return 2
    print(
        f"{total} images and all their truth stand in {out}; docs/drawn_world.md tells what is what"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
