"""One small world on disk, wider than high so that no test can swap the sides unnoticed."""

import json

import numpy as np
import pytest
from PIL import Image

from segplugins.drawn_world import WorldOptions, write_drawn_world
from segplugins.drawn_world.observe import VisibleRegion

NUMBERS = {
    "train": 12,
    "val": 5,
    "val_unseen": 9,
    "pairs": 14,
    "clips": 3,
    "val_clips": 2,
    "shard": 8,
    "seed": 3,
}
SIZE = (72, 104)  # height, width


class World:
    """A world on disk and how to read it."""

    def __init__(self, root):
        self.root = root
        self.options = WorldOptions(height=SIZE[0], width=SIZE[1], **NUMBERS)
        self.classes = self.options.class_list

    def json(self, path):
        return json.loads((self.root / path).read_text())

    def pixels(self, path):
        return np.asarray(Image.open(self.root / path))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return World(
        write_drawn_world(tmp_path_factory.mktemp("datasets") / "drawn", size=SIZE, **NUMBERS)
    )


@pytest.fixture
def thing():
    """Makes things to talk about: squares with their centre at (x, y)."""
    return _square


def _square(segment, name="car", colour="red", *, x=50, y=50, side=10, support="road", speed=0):
    half = side // 2
    return VisibleRegion(
        segment=segment,
        name=name,
        colour=colour,
        support=support,
        area=side * side,
        box=(x - half, y - half, x - half + side, y - half + side),
        rle={},
        salience=1,
        speed=speed,
        worded=True,
    )
