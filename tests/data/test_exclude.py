import logging

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.exclude import coco_id, exclude, image_keys
from segplugins.data.sampling import training_records


def record(file, **more):
    return {"file_name": f"/data/{file}", **more}


@pytest.mark.parametrize(
    "given, number",
    [
        (record("COCO_train2014_000000581857.jpg"), 581857),
        (record("train2017/000000581857.jpg"), 581857),
        (record("VG_100K/2410753.jpg", coco_id=581857), 581857),
        (record("VG_100K/2410753.jpg", coco_id=None), None),
        (record("ADE_val_00000001.jpg"), None),
    ],
)
def test_an_image_of_coco_is_known_by_its_number(given, number):
    assert coco_id(given) == number


def test_one_image_under_two_names_is_left_out_and_counted(caplog):
    keys = image_keys([record("COCO_train2014_000000000007.jpg"), record("a.jpg")])
    given = [record("000000000007.jpg"), record("000000000008.jpg"), record("sub/../a.jpg")]
    with caplog.at_level(logging.INFO):
        kept = exclude(given, keys, name="mine")
    assert kept == [given[1]]
    assert "mine: 2 of 3 records left out" in caplog.text


def test_training_on_nothing_is_an_error():
    given = [record("000000000007.jpg")]
    with pytest.raises(ValueError, match="'mine': all 1 records show images of DATASETS.EXCLUDE"):
        exclude(given, image_keys(given), name="mine")


def test_training_sets_are_read_without_what_is_evaluated():
    sets = {
        "test_seen": [record("000000000001.jpg"), record("000000000002.jpg")],
        "test_held_out": [record("COCO_train2014_000000000002.jpg")],
    }
    for name, records in sets.items():
        DatasetCatalog.register(name, lambda records=records: records)
        MetadataCatalog.get(name).set(vocabulary=None)
    records, sizes = training_records(["test_seen"], ["test_held_out"])
    assert [r["file_name"] for r in records] == ["/data/000000000001.jpg"] and sizes == [1]
