"""Shards of image-text samples for the tests of this folder."""

import io
import tarfile
from types import SimpleNamespace

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from segplugins.config import add_shared_config
from segplugins.data.pairs import register_pairs


def picture(number=0, size=(8, 6)):
    """Returns PNG bytes of one colour that tells the number."""
    file = io.BytesIO()
    Image.new("RGB", size, (number, 2, 3)).save(file, format="PNG")
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def shards(folder, counts):
    """Writes tars of so many samples each, numbered through."""
    paths, number = [], 0
    for shard, count in enumerate(counts):
        members = []
        for _ in range(count):
            members.append((f"{number:06d}.png", picture(number)))
            members.append((f"{number:06d}.txt", f"caption {number}".encode()))
            number += 1
        paths.append(write_tar(folder / f"{shard}.tar", members))
    return paths


@pytest.fixture
def web():
    """The functions above."""
    return SimpleNamespace(picture=picture, write_tar=write_tar, shards=shards)


@pytest.fixture
def pairs_cfg(tmp_path, monkeypatch):
    """Registers image-text sets of given shards and builds the config that trains on them."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    names = set()

    def build(sets, *options):
        for name, patterns in sets.items():
            register_pairs(name, patterns)
            names.add(name)
        cfg = get_cfg()
        add_shared_config(cfg)
        cfg.MODEL.DEVICE = "cpu"
        cfg.DATASETS.TRAIN = tuple(sets)
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.INPUT.MIN_SIZE_TRAIN = (12,)
        cfg.INPUT.RANDOM_FLIP = "none"
        cfg.SOLVER.IMS_PER_BATCH = 4
        cfg.SEED = 1
        cfg.OUTPUT_DIR = str(tmp_path / "run")
        cfg.merge_from_list(list(options))
        return cfg

    yield build
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
