"""Spoils a share of a data set's masks, to measure the effect of machine-made masks on training.

    python -m segplugins.projects.unilseg.noisy_masks --dataset drawn_train_referring \\
        --share 0.3 --out output/unilseg/noisy

writes noisy.jsonl (region lines, marked as drawn by a machine) and noisy.yaml, which
DATASETS.REGISTER takes; the set is called <dataset>_noisy. The truth is never touched.
"""

import argparse
import json
import logging
import os
import random
from dataclasses import asdict
from pathlib import Path
from typing import Iterable, Iterator

import numpy as np
import yaml

from segplugins.data import dataset_metadata, load_dataset, read_regions
from segplugins.structures.regions import box_of_mask, encode_mask

logger = logging.getLogger(__name__)

# Score of a region that marks its mask as machine-made: below 1.
_DRAWN_BY_MACHINE = 0.99


def spoiled(mask: np.ndarray, draw: random.Random) -> np.ndarray:
    """Returns a mask (H, W) bool with a fault of machine-made masks: its box, half, or moved."""
    box = box_of_mask(mask)
    if box is None:
        return mask
    x0, y0, x1, y1 = map(int, box)
    kind = draw.choice(("box", "half", "shift"))
    if kind == "shift":
        distances = [max(1, side // 2) for side in (y1 - y0, x1 - x0)]
        shift = [draw.choice((-distance, distance)) for distance in distances]
        return _shifted(mask, *shift)
    changed = np.zeros_like(mask)
    if kind == "box":
        changed[y0:y1, x0:x1] = True
        return changed
    middle = (x0 + x1 - 1) // 2
    changed[:, : middle + 1] = mask[:, : middle + 1]
    return changed


def _shifted(mask: np.ndarray, down: int, right: int) -> np.ndarray:
    """Moves a mask; parts outside the image are lost."""
    height, width = mask.shape
    moved = np.zeros_like(mask)
    y, x = np.nonzero(mask)
    inside = (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
    moved[y[inside] + down, x[inside] + right] = True
    return moved


def noisy_lines(dataset_name: str, share: float, seed: int) -> Iterator[dict]:
    """Yields region lines of a data set, each region spoiled with probability `share`.

    Raises:
        KeyError: no such data set.
        ValueError: a share outside 0-1, or a region without mask.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of spoiled masks must lie in [0, 1], got {share}")
    draw = random.Random(seed)
    metadata = dataset_metadata(dataset_name)
    for number, record in enumerate(load_dataset(dataset_name)):
        size = record["height"], record["width"]
        regions = []
        for region in read_regions(record, metadata):
            mask = region.bitmap(*size)
            if draw.random() < share:
                mask = spoiled(mask, draw)
            line = {**asdict(region), "mask": encode_mask(mask), "box": None}
            regions.append({**line, "score": _DRAWN_BY_MACHINE})
        yield {
            "file_name": os.path.abspath(record["file_name"]).lstrip(os.sep),  # below "images: /"
            "image_id": number,  # of the record: several may show one image
            "height": size[0],
            "width": size[1],
            "task": str(record["task"]),
            "regions": regions,
        }


def write_noisy_set(dataset_name: str, lines: Iterable[dict], out: Path) -> None:
    """Writes noisy.jsonl and noisy.yaml into a folder, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "noisy.jsonl", "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, default=_plain) + "\n")
    description = {
        "kind": "regions",
        "images": "/",  # file names are whole paths without their first slash
        "sets": {f"{dataset_name}_noisy": {"lines": "noisy.jsonl"}},
    }
    (out / "noisy.yaml").write_text(yaml.safe_dump(description))


def _plain(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else str(value)


def main() -> None:
    """Parses and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="registered, of regions with masks")
    parser.add_argument("--share", type=float, default=0.3, help="of masks that are spoiled, 0-1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of what is written")
    args = parser.parse_args()
    write_noisy_set(args.dataset, noisy_lines(args.dataset, args.share, args.seed), args.out)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logger.info("written: %s", args.out / "noisy.yaml")


if __name__ == "__main__":
    main()
