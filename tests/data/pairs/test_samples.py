"""Training on image-text sets: shares of the sets, workers, resuming, and faults."""

import json
import re
from itertools import islice

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data import register_semantic
from segplugins.data.pairs import register_pairs
from segplugins.engine.loaders import build_train_loader


def batches(cfg, count, start=0, seed=1):
    loader = build_train_loader(cfg)
    loader.dataset.seek(seed, start)
    return [
        [(record["dataset"], record["key"], record["image"].tolist()) for record in batch]
        for batch in islice(loader, count)
    ]


def keys(found):
    return [key for batch in found for _, key, _ in batch]


@pytest.fixture
def crops(web, tmp_path, pairs_cfg):
    """Builds the config of two sets of 40 and 12 samples with random crops and flips."""
    for name, count in (("a", 20), ("b", 20), ("c", 12)):
        (tmp_path / name).mkdir()
        web.shards(tmp_path / name, [count])
    options = [
        *("INPUT.CROP.ENABLED", "True", "INPUT.CROP.TYPE", "absolute"),
        *("INPUT.CROP.SIZE", "[3, 3]", "INPUT.RANDOM_FLIP", "horizontal"),
    ]
    sets = {"test_pairs_two": ["a/*.tar", "b/*.tar"], "test_pairs_one": "c/*.tar"}
    return lambda *more: pairs_cfg(sets, *options, *more)


def test_a_pass_gives_each_sample_once(crops):
    found = batches(crops("DATASETS.TRAIN", "('test_pairs_one',)"), 6)
    for first in (0, 12):
        assert sorted(keys(found)[first : first + 12]) == [f"{n:06d}" for n in range(12)]


def test_sets_have_the_shares_of_the_config(crops):
    cfg = crops("DATALOADER.MIXING", "[1, 3]")
    names = [name for batch in batches(cfg, 100) for name, _, _ in batch]
    assert names.count("test_pairs_one") == 300 and names.count("test_pairs_two") == 100
    cfg.DATALOADER.ONE_SET_PER_BATCH = True
    assert all(len({name for name, _, _ in batch}) == 1 for batch in batches(cfg, 20))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine's cores
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_samples_of_the_undisturbed_one(crops, workers):
    whole = batches(crops(), 30)
    cfg = crops("DATALOADER.NUM_WORKERS", str(workers))
    assert batches(cfg, 25, start=5 * 4) == whole[5:]
    assert batches(crops(), 30, seed=2) != whole


def test_a_faulty_sample_is_replaced_by_one_of_its_set(web, tmp_path, crops):
    (tmp_path / "d").mkdir()
    (tmp_path / "e").mkdir()
    web.shards(tmp_path / "d", [5])
    bad = web.write_tar(tmp_path / "d" / "bad.tar", [("bad.txt", b"a")])
    cfg = crops("DATALOADER.FAULTS", "skip", "DATALOADER.MIXING", "[1, 1]")
    register_pairs("test_pairs_faulty", ["d/*.tar"])
    try:
        cfg.DATASETS.TRAIN = ("test_pairs_faulty", "test_pairs_one")
        found = batches(cfg, 25)
        names = [name for batch in found for name, _, _ in batch]
        assert names.count("test_pairs_faulty") == 50
        lines = (tmp_path / "run" / "faults.jsonl").read_text().splitlines()
        # One of six samples in 50 draws: eight times, and as often as a replacement met it again.
        assert len(lines) >= 8 and {json.loads(line)["file"] for line in lines} == {bad}
        assert batches(cfg, 10, start=60) == found[15:]
        cfg.DATALOADER.FAULTS = "strict"
        with pytest.raises(ValueError, match=rf"sample 'bad' of {re.escape(bad)} has no image"):
            batches(cfg, 30)
    finally:
        DatasetCatalog.remove("test_pairs_faulty")
        MetadataCatalog.remove("test_pairs_faulty")


def test_a_damaged_shard_stops_before_the_first_sample_or_is_counted(web, tmp_path, crops, caplog):
    (tmp_path / "b" / "9.tar").write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"9\.tar.*not a plain tar"):
        build_train_loader(crops())
    build_train_loader(crops("DATALOADER.FAULTS", "skip"))
    assert "1 shards are damaged or empty" in caplog.text
    with pytest.raises(ValueError, match="DATALOADER.FAULTS is 'ignore', expected one of"):
        build_train_loader(crops("DATALOADER.FAULTS", "ignore"))


def test_images_of_excluded_sets_are_replaced(web, tmp_path, crops):
    # Sample n of a shard is a picture of the colour (n, 2, 3); those of number 0 to 3 are excluded.
    for name in ("images", "labels"):
        (tmp_path / "val" / name).mkdir(parents=True)
    for number in range(4):
        content = web.picture(number)
        (tmp_path / "val" / "images" / f"{number}.png").write_bytes(content)
        (tmp_path / "val" / "labels" / f"{number}.png").write_bytes(content)
    register_semantic(
        "test_pairs_val",
        image_root="val/images",
        label_root="val/labels",
        image_ext="png",
        vocabulary=["thing", "other"],
    )
    try:
        cfg = crops("DATASETS.EXCLUDE", "('test_pairs_val',)")
        cfg.DATASETS.TRAIN = ("test_pairs_one",)
        assert set(keys(batches(cfg, 12))) == {f"{n:06d}" for n in range(4, 12)}
    finally:
        DatasetCatalog.remove("test_pairs_val")
        MetadataCatalog.remove("test_pairs_val")
