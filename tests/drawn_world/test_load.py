"""The world in the catalog: every registered name, read by the library's own mapper."""

import json

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.config import add_shared_config
from segplugins.data.catalog import load_dataset
from segplugins.data.datasets.drawn import register_drawn_world
from segplugins.data.mapper import SegMapper
from segplugins.data.pairs import PairMapper
from segplugins.data.shards import index_shard
from segplugins.drawn_world import write_drawn_world
from segplugins.structures import get_vocabulary

SPLITS = ("train", "val", "val_unseen")
KINDS = ("sem_seg", "attributes", "parts", "instance", "panoptic", "referring", "grefer", "salient")


@pytest.fixture
def at_home(world, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(world.root.parent))
    return world


def mapper(name, targets):
    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.TARGETS = targets
    cfg.INPUT.MIN_SIZE_TRAIN = (72,)
    cfg.DATASETS.TRAIN = (name,)
    return SegMapper(cfg, is_train=True)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_record_becomes_a_training_sample(at_home, split, kind):
    name = f"drawn_{split}_{kind}"
    maps = kind in ("sem_seg", "attributes", "parts")
    read = mapper(name, ["sem_seg"] if maps else ["instances"])
    records = load_dataset(name)
    assert records
    for record in records[:4]:
        sample = read(record)
        assert sample["image"].shape == (3, 72, 104)
        if maps:
            labels = sample["sem_seg"].unique()
            assert labels.max() < len(get_vocabulary(sample["vocabulary"]))
        else:
            assert len(sample["instances"]) or kind == "grefer"


def test_training_frames_become_samples(at_home):
    read = mapper("drawn_train_video", ["instances"])
    for record in load_dataset("drawn_train_video")[::40]:
        sample = read(record)
        assert len(sample["texts"]) == 1
        assert sample["instances"].gt_masks.tensor.shape == (1, 72, 104)


def test_numbers_of_records(at_home):
    assert [len(load_dataset(f"drawn_{split}_sem_seg")) for split in SPLITS] == [12, 5, 9]
    assert [len(load_dataset(f"drawn_{split}_panoptic")) for split in SPLITS] == [12, 5, 9]


def test_instances_are_numbered_by_the_vocabulary_of_things(at_home):
    name = "drawn_val_unseen_instance"
    records, words = load_dataset(name), get_vocabulary("drawn_things")
    content = at_home.json("annotations/instances_val_unseen.json")
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    expected = sorted(names[entry["category_id"]] for entry in content["annotations"])
    found = [words.classes[one["category_id"]] for r in records for one in r["annotations"]]
    assert sorted(found) == expected
    seen = MetadataCatalog.get(name).seen
    assert [words.classes[i] for i in seen] == [
        n for n in at_home.classes.seen if n in words.classes
    ]


def test_unseen_classes_are_known_to_the_metadata(at_home):
    words = get_vocabulary("drawn")
    seen = MetadataCatalog.get("drawn_val_unseen_sem_seg").seen
    assert {words.classes[i] for i in range(len(words)) if i not in seen} == set(
        at_home.classes.unseen
    )
    looks = get_vocabulary("drawn_attributes")
    seen = MetadataCatalog.get("drawn_val_unseen_attributes").seen
    hidden = {looks.classes[i] for i in range(len(looks)) if i not in seen}
    assert {"blue boat", "yellow car", "red house", "red balloon"} <= hidden
    assert "red boat" not in hidden
    parts = get_vocabulary("drawn_parts")
    seen = MetadataCatalog.get("drawn_val_unseen_parts").seen
    hidden = {parts.classes[i] for i in range(len(parts)) if i not in seen}
    assert {part.split()[0] for part in hidden} == set(at_home.classes.unseen)


def test_phrases_have_one_target_or_by_grefer_any_number(at_home):
    single = [len(record["regions"]) for record in load_dataset("drawn_train_referring")]
    assert set(single) == {1}
    regions = [r for record in load_dataset("drawn_train_grefer") for r in record["regions"]]
    assert any(not region.has_target for region in regions)
    assert all(region.mask is not None for region in regions if region.has_target)
    spoken = sum(len(record["texts"]) for record in load_dataset("drawn_val_referring"))
    refs = at_home.json("referring/refs(drawn).json")
    assert spoken == sum(len(ref["sentences"]) for ref in refs if ref["split"] == "val")


def test_a_frame_shows_the_object_of_its_phrase(at_home):
    frames = load_dataset("drawn_val_video")
    assert len({(record["video_id"], record["frame"]) for record in frames}) == 2 * 8
    videos = at_home.json("videos/meta_expressions/valid/meta_expressions.json")["videos"]
    for record in frames:
        expression = videos[record["video_id"]]["expressions"][record["expression_id"]]
        assert record["texts"] == [expression["exp"]]
        assert record["object_id"] == int(expression["obj_id"])


@pytest.mark.parametrize(("name", "count"), [("drawn_pairs", 14), ("drawn_val_regions", 5)])
def test_pairs_and_region_lines_are_read_as_image_text_records(at_home, name, count):
    shards = [record["file_name"] for record in DatasetCatalog.get(name)]
    root = MetadataCatalog.get(name).pairs_image_root
    mapper = PairMapper((), image_roots={name: root and at_home.root.parent / root})
    entries = [entry for shard in shards for entry in index_shard(shard)[0]]
    records = [mapper({"dataset": name, "entry": entry}) for entry in entries]
    assert len(records) == count
    for record in records:
        assert record["image"].shape == (3, 72, 104)
        assert record["image"].dtype == torch.uint8
        assert len(record["captions"]) >= 1
        assert record["tags"]
        assert record["regions"]


def test_a_world_of_other_classes_is_refused_and_can_have_a_name_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    few = {"classes": ("sky", "grass", "tree"), "unseen": (), "unseen_pairs": ()}
    write_drawn_world(tmp_path / "drawn", train=2, val=1, size=48, clips=1, val_clips=1, **few)
    for kind in ("sem_seg", "panoptic", "referring"):
        with pytest.raises(
            ValueError, match=r"has the classes \['sky', 'grass', 'tree'\], expected"
        ):
            load_dataset(f"drawn_train_{kind}")
    register_drawn_world("drawn", prefix="meadow")
    assert get_vocabulary("meadow").classes == ("sky", "grass", "tree")
    assert len(load_dataset("meadow_train_sem_seg")) == 2


def test_a_world_that_is_missing_or_not_complete_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no drawn world in .*make_drawn_world.py --out"):
        load_dataset("drawn_train_sem_seg")
    with pytest.raises(FileNotFoundError, match="no drawn world in"):
        register_drawn_world("nowhere", prefix="nothing")
    root = write_drawn_world(
        tmp_path / "drawn", train=1, val=0, size=48, pairs=0, clips=0, val_clips=0
    )
    file = root / "drawn.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "complete": False}))
    with pytest.raises(FileNotFoundError, match="is not complete"):
        load_dataset("drawn_train_sem_seg")
