#!/usr/bin/env python3
"""Writes the drawn world: pictures with exact truth for every task, in the standard formats.

    python tools/make_drawn_world.py --out datasets/drawn --train 2000 --val 300 --size 128 --seed 0

What it writes is told in docs/drawn_world.md; contact_sheet.png in the folder shows some of it. A
call that was interrupted goes on where it stopped.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
from tqdm import tqdm

from segplugins.drawn_world import WorldOptions, draw, write_drawn_world
from segplugins.drawn_world.clips import film
from segplugins.drawn_world.dice import Dice
from segplugins.drawn_world.generate import total_images
from segplugins.drawn_world.observe import outstanding
from segplugins.drawn_world.phrases import unique_phrases
from segplugins.drawn_world.splits import Drawing
from segplugins.drawn_world.writers.labels import part_map, salient_map, semantic_map
from segplugins.pictures import Style, draw_label_map, enlarged, save_picture, sheet
from segplugins.structures import parse_vocabulary

_COLUMNS = 6
_SIDE = 160  # pixels of a picture on the contact sheet


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
    if not text.strip():
        return ()
    try:
        words = parse_vocabulary(text)
    except (ValueError, FileNotFoundError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    renamed = [texts for name, texts in zip(words.classes, words.synonyms) if texts != (name,)]
    if renamed:
        raise argparse.ArgumentTypeError(
            f"{list(renamed[0])} are synonyms; a class to draw has one name, see the page's list"
        )
    return words.classes


def build_parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("datasets/drawn"), help="folder to write")
    add("--train", type=int, default=2000, help="training images")
    add("--val", type=int, default=300, help="validation images of seen classes")
    add("--val-unseen", type=int, help="with unseen classes or pairs (default: as --val)")
    add("--pairs", type=int, help="image-text pairs (default: as --train)")
    add("--clips", type=int, default=40, help="training clips of 8 frames")
    add("--val-clips", type=int, default=10, help="validation clips of 8 frames")
    add("--size", type=parse_size, default=(128, 128), help="128, or 96x128 (height x width)")
    add("--seed", type=int, default=0, help="another seed, another world")
    add("--classes", type=parse_names, help="a file, or 'sky, grass, car' (default: all)")
    add("--unseen", type=parse_names, help="classes without training masks; '' = none")
    add("--unseen-pairs", type=parse_names, help="such as 'blue boat, yellow car'; '' = none")
    add("--shard", type=int, default=250, help="image-text pairs in one tar")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    add("--force", action="store_true", help="remove a world of other options that stands there")
    return parser


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the command; returns its exit status."""
    values = vars(build_parser().parse_args(arguments))
    out, size, workers, force = (values.pop(key) for key in ("out", "size", "workers", "force"))
    try:
        options = WorldOptions(height=size[0], width=size[1], **values)
        total = total_images(options)
        with tqdm(total=total, unit="image", desc=str(out)) as bar:
            write_drawn_world(
                out, size=size, workers=workers, force=force, progress=bar.update, **values
            )
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        print(f"make_drawn_world: {error}", file=sys.stderr)
        return 2
    save_picture(out / "contact_sheet.png", contact_sheet(options))
    print(f"{total} images with all their truth stand in {out}; see {out}/contact_sheet.png")
    return 0


def contact_sheet(options: WorldOptions) -> np.ndarray:
    """Draws pictures of several splits, one picture with its truth, and a clip.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    splits = ["train", "val_unseen" if options.class_list.unseen else "val", "pairs"]
    drawings = [draw(options, split, i) for split in splits for i in range(_COLUMNS)]
    pictures = [enlarged(drawing.picture.image, _SIDE) for drawing in drawings]
    titles = [drawing.split if drawing.index == 0 else "" for drawing in drawings]
    shown = max(
        drawings[:_COLUMNS], key=lambda one: (bool(outstanding(one.things)), len(one.things))
    )
    truth = _truth(shown, options)
    clips = [film(options, "clips_train", i) for i in range(4)]
    clip = max(clips, key=lambda one: sum(bool(thing.speed) for thing in one.scene.things))
    frames = [
        (f"clip, frame {i}", enlarged(one.image, _SIDE))
        for i, one in enumerate(clip.pictures[:_COLUMNS])
    ]
    rows = [*zip(titles, pictures), *truth, *frames]
    return sheet([one for _, one in rows], columns=_COLUMNS, titles=[title for title, _ in rows])


def _truth(drawing: Drawing, options: WorldOptions) -> List[Tuple[str, np.ndarray]]:
    """One picture, and what is known of it: title and overlay each."""
    classes, image = options.class_list, drawing.picture.image
    segments = drawing.picture.segments.astype(int)
    parts = part_map(drawing, classes).astype(int)
    salient = salient_map(drawing, outstanding(drawing.things)) > 0
    dice, width = Dice(options.seed, 0, 0), image.shape[1]
    target = max(drawing.things, key=lambda seen: (seen.worded, seen.area))
    phrases = unique_phrases(dice, target, drawing.things, width)
    part_names = [" ".join(part) for part in classes.parts]
    maps = [
        ("classes", semantic_map(drawing, classes).astype(int), classes.names),
        ("instances", np.where(segments >= 16, segments - 16, -1), [str(i) for i in range(240)]),
        ("parts", np.where(parts < len(classes.parts), parts, -1), part_names),
        ("salient", np.where(salient, 0, -1), ["salient"]),
        (
            min([phrase.text for phrase in phrases], key=len, default=""),
            np.where(segments == target.segment, 0, -1),
            ["phrase"],
        ),
    ]
    style = Style(legend=False, plates=False, short_side=_SIDE)
    overlays = [
        (title, draw_label_map(image, labels, names, style=style)) for title, labels, names in maps
    ]
    return [("picture", enlarged(image, _SIDE)), *overlays]


if __name__ == "__main__":
    sys.exit(main())
