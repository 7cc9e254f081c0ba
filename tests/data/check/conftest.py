"""A small set of each kind, without a fault, to be broken on purpose."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from segplugins.data import (
    register_instances,
    register_panoptic,
    register_referring,
    register_regions,
)
from segplugins.structures.regions import Task

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[2] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


@pytest.fixture
def content():
    """The parsed annotation file of a set without a fault."""
    return small.coco()


@pytest.fixture
def images(root, save):
    """The images of the small sets."""
    for number in (1, 2, 3):
        save(root / f"images/{number}.png", np.full((8, 10, 3), 40 * number, np.uint8))
    return root / "images"


@pytest.fixture
def instances(root, images):
    """Writes an instance file and registers it as "small"."""

    def write(content, **options):
        (root / "small.json").write_text(json.dumps(content))
        register_instances("small", json_file="small.json", image_root="images", **options)
        return "small"

    return write


@pytest.fixture
def panoptic(root, images, save):
    """Writes a panoptic set of one image, changed by `change`, and registers it as "small"."""

    def write(change=lambda content, ids: None):
        ids = np.zeros((8, 10), np.uint32)
        ids[:4], ids[6:] = 300, 5  # 300 = 44 + 256; rows 4 and 5 are of no segment
        content = {
            "images": small.coco()["images"][:1],
            "categories": [
                {"id": 7, "name": "cat", "isthing": 1},
                {"id": 9, "name": "sky", "isthing": 0},
            ],
            "annotations": [
                {
                    "image_id": 1,
                    "file_name": "1.png",
                    "segments_info": [
                        {"id": 300, "category_id": 9, "area": 40},
                        {"id": 5, "category_id": 7, "area": 20},
                    ],
                }
            ],
        }
        change(content, ids)
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        save(root / "maps/1.png", colours)
        (root / "small.json").write_text(json.dumps(content))
        register_panoptic("small", json_file="small.json", map_root="maps", image_root="images")
        return "small"

    return write


@pytest.fixture
def referring(root, images):
    """Writes refs beside the instance file and registers them as "small"."""

    def write(refs, content=None):
        (root / "instances.json").write_text(json.dumps(content or small.coco()))
        (root / "refs.json").write_text(json.dumps(refs))
        register_referring(
            "small",
            refs_file="refs.json",
            instances_file="instances.json",
            image_root="images",
            split="train",
            sample="object",
        )
        return "small"

    return write


@pytest.fixture
def lines(root, images):
    """Writes region lines and registers them as "small"."""

    def write(*records):
        text = [line if isinstance(line, str) else json.dumps(line) for line in records]
        (root / "small.jsonl").write_text("\n".join(text))
        register_regions("small", lines="small.jsonl", image_root="images", task=Task.REFERRING)
        return "small"

    return write
