import logging

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data.exclude import ExcludedImages, coco_id, exclude, image_key, image_keys
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


@pytest.mark.parametrize(
    "file, number",
    [
        ("000000000001.png", 1),  # a label map is named as its image
        ("x_000000000001.jpg", 1),
        ("x000000000001.jpg", None),  # thirteen characters in one word
        ("0000000000001.jpg", None),
        ("00000000001.jpg", None),
        ("000000000001_2.jpg", None),
        ("000000000001", 1),
    ],
)
def test_the_number_of_coco_has_twelve_digits_at_the_end(file, number):
    assert coco_id(record(file)) == number


def test_number_zero_of_coco_is_a_number_and_text_is_read():
    assert coco_id(record("a.jpg", coco_id=0)) == 0
    assert coco_id(record("a.jpg", coco_id="12")) == 12
    assert image_key(record("a.jpg", coco_id=0)) == ("coco", 0)


def test_links_to_one_file_are_one_image(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    keys = {image_key({"file_name": str(tmp_path / name)}) for name in ("a.jpg", "link.jpg")}
    assert keys == {("file", str((tmp_path / "a.jpg").resolve()))}


def test_a_set_without_records_has_nothing_to_leave_out():
    assert exclude([], {("coco", 1)}, name="empty") == []


@pytest.fixture
def excluded(tmp_path):
    """An excluded set: number 7 of COCO, one file of four bytes, and one that is not there."""
    (tmp_path / "val.png").write_bytes(b"abcd")
    files = [record("000000000007.jpg"), {"file_name": str(tmp_path / "val.png")}]
    return ExcludedImages([*files, record("gone.png")])


@pytest.mark.parametrize(
    "content, data, shown",
    [
        (b"abcd", {}, True),  # the same bytes
        (b"abce", {}, False),  # as many of them
        (b"abcde", {}, False),
        (b"x", {"coco_id": 7}, True),
        (b"x", {"coco_id": "7"}, True),
        (b"x", {"coco_id": 8}, False),
        (b"x", {"coco_id": None, "file_name": "COCO_val2014_000000000007.jpg"}, True),
        (b"x", {"coco_id": "seven"}, False),
        (b"x", {"file_name": 5}, False),
        (b"abcd", {"coco_id": 8}, True),  # another number, and still the same bytes
    ],
)
def test_a_sample_shows_an_excluded_image_by_number_or_by_its_bytes(excluded, content, data, shown):
    assert excluded.shows(content, data) is shown


def test_a_sample_in_a_file_is_compared_by_its_path_and_its_bytes(excluded, tmp_path):
    assert excluded.shows(tmp_path / "val.png", {})
    (tmp_path / "copy.png").write_bytes(b"abcd")
    (tmp_path / "other.png").write_bytes(b"abc!")
    (tmp_path / "000000000007.png").write_bytes(b"x")
    shown = [excluded.shows(tmp_path / n, {}) for n in ("copy.png", "other.png")]
    assert shown == [True, False]
    assert excluded.shows(tmp_path / "000000000007.png", {})


def test_no_excluded_set_is_no_list_of_images():
    assert ExcludedImages.of_sets([]) is None
