"""Visual Genome: objects and region descriptions to region lines (boxes with names or phrases).

Reads visual_genome/{image_data,objects,region_descriptions}.json and object_alias.txt, writes
visual_genome/{objects,region_descriptions}.jsonl and names.json, how often each name occurs.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none
from prepare_options import parse_arguments

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from tqdm import tqdm

from segplugins.data.prepare import logger, require, run

EXPECTED = 108_077
_NO_LETTER = re.compile(r"[^a-z0-9' -]+")

Box = Tuple[float, float, float, float]


def clean_name(name: str, aliases: Mapping[str, str]) -> str:
    """Returns a name in lower case, without punctuation, under its first alias."""
    name = " ".join(_NO_LETTER.sub(" ", name.lower()).split()).strip("' -")
    return aliases.get(name, name)


def read_aliases(path: Path) -> Dict[str, str]:
    """Reads "name,other,third" lines: the first stands for all of a line."""
    aliases: Dict[str, str] = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            first, *others = [part.strip().lower() for part in line.split(",")]
            aliases.update(dict.fromkeys(others, first))
    return aliases


def clipped(x: float, y: float, width: float, height: float, image: Mapping) -> Optional[Box]:
    """Returns the box cut at the border of its image; None where less than a pixel is left."""
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, image["width"]), min(y + height, image["height"])
    return (x0, y0, x1, y1) if x1 - x0 >= 1 and y1 - y0 >= 1 else None


def objects_of(entry: Mapping[str, Any], aliases: Mapping[str, str]) -> Iterator[Tuple[str, Any]]:
    """Yields (name, box x, y, width, height) of an entry of objects.json."""
    for thing in entry["objects"]:
        yield clean_name(thing["names"][0], aliases), (*(thing[k] for k in "xywh"),)


def descriptions_of(entry: Mapping[str, Any]) -> Iterator[Tuple[str, Any]]:
    """Yields (phrase, box) of an entry of region_descriptions.json."""
    for region in entry["regions"]:
        box = (region["x"], region["y"], region["width"], region["height"])
        yield " ".join(region["phrase"].split()), box


def line_of(image: Mapping[str, Any], said: Iterable[Tuple[str, Any]]) -> Tuple[dict, int]:
    """Returns the record of an image, and how many boxes were left out.

    Args:
        image: its entry in image_data.json.
        said: (text, box) of what it shows.
    """
    regions, left_out = [], 0
    for text, box in said:
        inside = clipped(*box, image)
        if inside is None or not text:
            left_out += 1
        else:
            regions.append({"text": text, "box": inside})
    record = {
        "file_name": "/".join(image["url"].split("/")[-2:]),  # VG_100K/2.jpg or VG_100K_2/1.jpg
        "height": image["height"],
        "width": image["width"],
        "image_id": image["image_id"],
        "coco_id": image["coco_id"],
        "regions": regions,
    }
    return record, left_out


def write_lines(
    source: Path,
    target: Path,
    images: Mapping[int, Mapping],
    said: Callable[[Mapping], Iterable[Tuple[str, Any]]],
) -> Counter:
    """Writes a line per image, whole or not at all; returns how often each text occurs."""
    counts: Counter = Counter()
    left_out = 0
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    entries: List[dict] = json.loads(source.read_text())
    with open(unfinished, "w", encoding="utf-8") as file:
        for entry in tqdm(entries, desc=source.name, unit="image"):
            number = entry.get("image_id", entry.get("id"))
            record, skipped = line_of(images[number], said(entry))
            counts.update(region["text"] for region in record["regions"])
            left_out += skipped
            file.write(json.dumps(record) + "\n")
    os.replace(unfinished, target)
    logger.info("%s: %d regions, %d under 1 pixel", target.name, counts.total(), left_out)
    return counts


def main() -> None:
    """Converts both files; what stands already is left as it is."""
    arguments = parse_arguments(__doc__, "visual_genome")
    root = arguments.root
    data = json.loads(require(root / "image_data.json", "the images of Visual Genome").read_text())
    if len(data) != EXPECTED and not arguments.partial:
        raise ValueError(f"image_data.json lists {len(data)} images, expected {EXPECTED}")
    images = {image["image_id"]: image for image in data}
    aliases = read_aliases(root / "object_alias.txt")
    if not (root / "names.json").exists():
        source = require(root / "objects.json", "the objects of Visual Genome")
        counts = write_lines(
            source, root / "objects.jsonl", images, lambda entry: objects_of(entry, aliases)
        )
        (root / "names.json").write_text(json.dumps(dict(counts.most_common())))
    if not (root / "region_descriptions.jsonl").exists():
        source = require(root / "region_descriptions.json", "its region descriptions")
        write_lines(source, root / "region_descriptions.jsonl", images, descriptions_of)


if __name__ == "__main__":
    run(main)
