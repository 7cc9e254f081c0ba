#!/usr/bin/env python3
"""Writes the drawn world: pictures with exact truth for every task, in the standard formats.

    python tools/make_drawn_world.py --out datasets/drawn --train 2000 --val 300 --size 128 --seed 0
    python tools/make_drawn_world.py --out small --train 20 --val 5 --classes "sky, grass, car"

docs/drawn_world.md describes what it writes; contact_sheet.png in the folder shows some of it. An
interrupted call goes on where it stopped when it is repeated.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, List, Tuple

from segplugins.engine.command import command_parser, run_command

# Heavy packages are imported where they are used, so that --help takes no second.
if TYPE_CHECKING:
    import numpy as np

    from segplugins.drawn_world import WorldOptions
    from segplugins.drawn_world.splits import Drawing

_COLUMNS = 6
_SIDE = 160  # pixels of a picture on the contact sheet


def parse_size(text: str) -> Tuple[int, int]:
    """Returns (height, width) of "128" or "96x128"."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no size; write 128, or 96x128 (height x width)"
        )
    return int(sides[0]), int(sides[-1])


def parse_names(text: str) -> Tuple[str, ...]:
    """Returns the names in a file or in a list with commas; "" = none."""
    if not text.strip():
        return ()
    from segplugins.files.vocabularies import parse_vocabulary

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
    parser = command_parser(__doc__)
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=Path("datasets/drawn"),
        help="folder to write (default: %(default)s)",
    )
    add("--train", type=int, default=2000, help="training images (default: %(default)s)")
    add(
        "--val",
        type=int,
        default=300,
        help="validation images of seen classes (default: %(default)s)",
    )
    add("--val-unseen", type=int, help="with unseen classes or pairs (default: as --val)")
    add("--pairs", type=int, help="image-text pairs (default: as --train)")
    add("--clips", type=int, default=40, help="training clips of 8 frames (default: %(default)s)")
    add(
        "--val-clips",
        type=int,
        default=10,
        help="validation clips of 8 frames (default: %(default)s)",
    )
    add(
        "--size",
        type=parse_size,
        default=(128, 128),
        help="128, or 96x128 (height x width; default: 128)",
    )
    add("--seed", type=int, default=0, help="another seed, another world (default: %(default)s)")
    add("--classes", type=parse_names, help="a file, or 'sky, grass, car' (default: all)")
    add(
        "--unseen",
        type=parse_names,
        help="classes without training masks; '' = none (default: four)",
    )
    add("--unseen-pairs", type=parse_names, help="such as 'blue boat, yellow car'; '' = none")
    add("--shard", type=int, default=250, help="image-text pairs in one tar (default: %(default)s)")
    add(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes (default: %(default)s, one per core)",
    )
    add("--force", action="store_true", help="remove a world of other options that is there")
    return parser


def main(args: argparse.Namespace) -> None:
    """Writes the world and its contact sheet."""
    from tqdm import tqdm

    from segplugins.drawn_world import WorldOptions, write_drawn_world
    from segplugins.drawn_world.generate import total_images
    from segplugins.pictures import save_picture

    values = {key: value for key, value in vars(args).items() if key != "debug"}
    out, size, workers, force = (values.pop(key) for key in ("out", "size", "workers", "force"))
    options = WorldOptions(height=size[0], width=size[1], **values)
    total = total_images(options)
    with tqdm(total=total, unit="image", desc=str(out), disable=None) as bar:
        write_drawn_world(
            out, size=size, workers=workers, force=force, progress=bar.update, **values
        )
    save_picture(out / "contact_sheet.png", contact_sheet(options))
    print(f"{total} images with all their truth are in {out}; see {out}/contact_sheet.png")


def contact_sheet(options: "WorldOptions") -> "np.ndarray":
    """Draws pictures of several splits, one picture with its truth, and a clip.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    from segplugins.drawn_world import draw
    from segplugins.drawn_world.clips import draw_clip
    from segplugins.drawn_world.observe import outstanding
    from segplugins.pictures import enlarged, sheet

    splits = ["train", "val_unseen" if options.class_list.unseen else "val", "pairs"]
    drawings = [draw(options, split, i) for split in splits for i in range(_COLUMNS)]
    pictures = [enlarged(drawing.picture.image, _SIDE) for drawing in drawings]
    titles = [drawing.split if drawing.index == 0 else "" for drawing in drawings]
    shown = max(
        drawings[:_COLUMNS],
        key=lambda drawing: (bool(outstanding(drawing.things)), len(drawing.things)),
    )
    truth = _truth(shown, options)
    clips = [draw_clip(options, "clips_train", i) for i in range(4)]
    clip = max(clips, key=lambda clip: sum(bool(thing.speed) for thing in clip.scene.things))
    frames = [
        (f"clip, frame {i}", enlarged(frame.image, _SIDE))
        for i, frame in enumerate(clip.pictures[:_COLUMNS])
    ]
    rows = [*zip(titles, pictures), *truth, *frames]
    return sheet(
        [picture for _, picture in rows], columns=_COLUMNS, titles=[title for title, _ in rows]
    )


def _truth(drawing: "Drawing", options: "WorldOptions") -> List[Tuple[str, "np.ndarray"]]:
    """Returns titles and pictures: one drawing, and overlays of its truth."""
    import numpy as np

    from segplugins.drawn_world.dice import Dice
    from segplugins.drawn_world.observe import outstanding
    from segplugins.drawn_world.phrases import unique_phrases
    from segplugins.drawn_world.writers.labels import part_map, salient_map, semantic_map
    from segplugins.pictures import Style, draw_label_map, enlarged

    classes, image = options.class_list, drawing.picture.image
    segments = drawing.picture.segments.astype(int)
    parts = part_map(drawing, classes).astype(int)
    salient = salient_map(drawing, outstanding(drawing.things)) > 0
    dice, width = Dice(options.seed, 0, 0), image.shape[1]
    target = max(drawing.things, key=lambda thing: (thing.worded, thing.area))
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
    run_command(
        main,
        build_parser(),
        kept="what is drawn is kept; the same command goes on there",
    )
