#!/usr/bin/env python3
"""Turns COCO's caption files into JSON lines of image-text pairs, for training and curation.

    python datasets/prepare_captions.py coco/annotations/captions_train2017.json coco/pairs
    python datasets/prepare_captions.py coco/annotations/captions_train2017.json coco/regions \\
        --instances coco/annotations/instances_train2017.json

writes shards of 5,000 lines, {"key", "file_name", "captions"}; with --instances also "tags", the
names of the classes that an image shows, and "regions", its boxes with their names, which CLIPs
learn places from. File names are relative to the folder of the images: `images` of a data set of
`kind: pairs` (datasets/README.md), or --images.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, List

from segplugins.engine.command import command_parser, run_command


def parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    parser = command_parser(__doc__)
    parser.add_argument("captions", type=Path, help="captions_*.json")
    parser.add_argument("out", type=Path, help="folder of the shards; made")
    parser.add_argument("--instances", type=Path, help="instances_*.json of the same images")
    parser.add_argument("--images", default="", help="put in front of the file names")
    parser.add_argument("--shard", type=int, default=5000, help="lines (default: %(default)s)")
    return parser


def main(args: argparse.Namespace) -> None:
    """Writes the shards."""
    from segplugins.files.json_file import read_json
    from segplugins.files.write import write_text

    content = read_json(args.captions, "images", "annotations")
    captions: Dict[int, List[str]] = defaultdict(list)
    for annotation in content["annotations"]:
        captions[annotation["image_id"]].append(" ".join(annotation["caption"].split()))
    images = {image["id"]: image["file_name"] for image in content["images"]}
    boxes = read_boxes(args.instances, images) if args.instances else {}
    lines = []
    for number, name in sorted(images.items()):
        line: Dict[str, Any] = {
            "key": Path(name).stem,
            "file_name": str(Path(args.images) / name),
            "captions": captions.get(number, []),
        }
        if boxes.get(number):
            line["tags"] = list(dict.fromkeys(box["text"] for box in boxes[number]))
            line["regions"] = boxes[number]
        if line["captions"] or boxes.get(number):
            lines.append(json.dumps(line, ensure_ascii=False))
    for number, start in enumerate(range(0, len(lines), args.shard)):
        part = lines[start : start + args.shard]
        write_text(args.out / f"{args.captions.stem}-{number:05d}.jsonl", "\n".join(part) + "\n")
    regions = f" and {sum(map(len, boxes.values()))} boxes" if args.instances else ""
    print(f"{len(lines)} images with captions{regions} are in {args.out}")


def read_boxes(path: Path, images: Dict[int, str]) -> Dict[int, List[dict]]:
    """Returns image id to the named boxes of a COCO instance file; crowds are left out.

    Args:
        path: of the file.
        images: id to file name; images that it lacks are added.

    Raises:
        FaultError: a fault of the file.
    """
    from segplugins.files.coco import read_instances
    from segplugins.files.faults import STRICT

    file = read_instances(path, STRICT, boxes_only=True)
    names = {category.id: category.name for category in file.categories}
    boxes: Dict[int, List[dict]] = {}
    for number, image in file.images.items():
        images.setdefault(number, image.file_name)
    for entry in file.annotations:
        if not entry.iscrowd and entry.bbox is not None:
            x, y, width, height = entry.bbox
            box = {"text": names[entry.category_id], "box": [x, y, x + width, y + height]}
            boxes.setdefault(entry.image_id, []).append(box)
    return boxes


if __name__ == "__main__":
    run_command(main, parser())
