import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from segplugins.data import register_semantic
from segplugins.data.pairs import register_pairs
from segplugins.engine.loaders import build_test_loader, build_train_loader, micro_batch_size
from segplugins.structures import get_vocabulary


def test_the_images_of_a_step_are_shared_among_processes_and_parts():
    assert micro_batch_size(12, 3, 2) == 2
    for wrong in ((12, 5, 1), (4, 1, 8), (0, 1, 1), (4, 0, 1)):
        with pytest.raises(ValueError, match="must be a positive multiple of SOLVER.ACCUMULATE"):
            micro_batch_size(*wrong)


def test_training_gives_micro_batches_without_end(toy_cfg):
    loader = build_train_loader(toy_cfg("SOLVER.IMS_PER_BATCH 6 SOLVER.ACCUMULATE 2"))
    batches = iter(loader)
    seen = [record["image_id"] for _ in range(8) for record in next(batches)]
    assert len(seen) == 24 and set(seen[:8]) == set(seen[8:16]) == set(seen[16:])


def test_a_test_loader_gives_every_image_once_in_batches(toy_cfg):
    batches = list(build_test_loader(toy_cfg("TEST.IMS_PER_BATCH 3"), "toy_val"))
    assert [len(batch) for batch in batches] == [3, 1]
    assert sorted(r["image_id"] for batch in batches for r in batch) == ["000", "001", "002", "003"]
    assert {r["vocabulary"] for batch in batches for r in batch} == {"toy"}


def test_the_users_vocabulary_travels_with_the_records(toy_cfg):
    (record, *_), *_ = build_test_loader(toy_cfg("TEST.VOCABULARY red,blue|navy"), "toy_val")
    assert get_vocabulary(record["vocabulary"]).synonyms == (("red",), ("blue", "navy"))


def test_sets_of_free_text_keep_their_texts(toy_cfg, tmp_path):
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(tmp_path / "a.png")
    record = {"file_name": str(tmp_path / "a.png"), "image_id": "a", "height": 12, "width": 16}
    region = {"text": "the dark side", "box": [0, 0, 8, 12], "mask": None}
    DatasetCatalog.register(
        "toy_phrases", lambda: [{**record, "task": "referring", "regions": [region]}]
    )
    MetadataCatalog.get("toy_phrases").set(vocabulary=None, evaluator_type="referring")
    try:
        ((found,),) = build_test_loader(toy_cfg("TEST.VOCABULARY red"), "toy_phrases")
    finally:
        DatasetCatalog.remove("toy_phrases")
        MetadataCatalog.remove("toy_phrases")
    assert found["vocabulary"] is None and found["texts"] == ["the dark side"]


def test_image_text_pairs_are_read_by_their_own_loader(toy_cfg, tmp_path):
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(tmp_path / "a.png")
    lines = tmp_path / "pairs.jsonl"
    lines.write_text(json.dumps({"file_name": "a.png", "caption": "a dark place"}) + "\n")
    register_pairs("toy_pairs", str(lines))
    loader = build_train_loader(toy_cfg("DATASETS.TRAIN ('toy_pairs',)"))
    batch = next(iter(loader))
    assert [record["captions"] for record in batch] == [["a dark place"]] * 4
    assert hasattr(loader.dataset, "seek")


def test_a_faulty_image_stops_training_or_is_left_out_and_counted(toy, toy_cfg, tmp_path):
    toy.write_world(tmp_path)
    register_semantic(
        "toy_faulty",
        image_root=str(tmp_path / "images/train"),
        label_root=str(tmp_path / "labels/train"),
        image_ext="png",
        vocabulary=toy.WORDS,
    )
    records = DatasetCatalog.get("toy_faulty")
    path = Path(records[0]["file_name"])
    path.write_bytes(path.read_bytes()[:50])
    options = "DATASETS.TRAIN ('toy_faulty',) SOLVER.IMS_PER_BATCH 2 DATALOADER.NUM_WORKERS 0"
    passes = range(len(records))  # two images a batch: every image comes at least once
    with pytest.raises(ValueError, match=f"record {records[0]['image_id']}.*cannot be read"):
        batches = iter(build_train_loader(toy_cfg(options)))
        [next(batches) for _ in passes]
    loader = build_train_loader(toy_cfg(f"{options} DATALOADER.FAULTS skip"))
    batches = iter(loader)
    seen = {record["image_id"] for _ in passes for record in next(batches)}
    assert seen == {record["image_id"] for record in records[1:]}
    lines = (tmp_path / "run" / "faults.jsonl").read_text().splitlines()
    assert {json.loads(line)["record"] for line in lines} == {records[0]["image_id"]}


def test_an_unknown_policy_is_refused(toy_cfg):
    with pytest.raises(ValueError, match="DATALOADER.FAULTS is 'ignore', expected one of"):
        build_train_loader(toy_cfg("DATALOADER.FAULTS ignore"))
