#!/usr/bin/env python3
"""Turns COCO's caption files into JSON lines of image-text pairs, for training and curation.

    python datasets/prepare_captions.py coco/annotations/captions_train2017.json coco/pairs

writes shards of 5,000 lines, {"key", "file_name", "captions"}. File names are relative to the
folder of the images, which `register_pairs(..., image_root="coco/train2017")` names, or --images.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Dict, List

from segplugins.engine.command import command_parser, run_command


def parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    parser = command_parser(__doc__)
    parser.add_argument("captions", type=Path, help="captions_*.json")
    parser.add_argument("out", type=Path, help="folder of the shards; made")
    parser.add_argument("--images", default="", help="put in front of the file names")
    parser.add_argument("--shard", type=int, default=5000, help="lines (default: %(default)s)")
    return parser


def main(args: argparse.Namespace) -> None:
    """Writes the shards."""
    from segplugins.files.json_file import read_json
    from segplugins.files.write import write_text

    content = read_json(args.captions)
    captions: Dict[int, List[str]] = defaultdict(list)
    for annotation in content["annotations"]:
        captions[annotation["image_id"]].append(" ".join(annotation["caption"].split()))
    lines = [
        json.dumps(
            {
                "key": Path(image["file_name"]).stem,
                "file_name": str(Path(args.images) / image["file_name"]),
                "captions": captions[image["id"]],
            },
            ensure_ascii=False,
        )
        for image in sorted(content["images"], key=lambda image: image["id"])
        if captions.get(image["id"])
    ]
    for number, start in enumerate(range(0, len(lines), args.shard)):
        part = lines[start : start + args.shard]
        write_text(args.out / f"{args.captions.stem}-{number:05d}.jsonl", "\n".join(part) + "\n")
    print(f"{len(lines)} images with captions are in {args.out}")


if __name__ == "__main__":
    run_command(main, parser())
