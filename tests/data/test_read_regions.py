from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.structures import BoxMode

from segplugins.data.read_regions import read_label_map, read_regions, target_form, task_of
from segplugins.structures.regions import Region, Task, encode_mask

PETS = SimpleNamespace(
    thing_classes=["cat", "dog"], stuff_classes=["cat", "dog", "sky"], ignore_label=255
)


def pan_png(ids):
    ids = np.asarray(ids)
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def panoptic_record(tmp_path, save, ids, segments):
    return {"image_id": 3, "pan_seg_file_name": save(tmp_path / "pan.png", pan_png(ids))} | {
        "segments_info": segments
    }


def test_annotations_become_regions_with_boxes_by_corners():
    square = [[0, 0, 2, 0, 2, 2, 0, 2]]
    record = {
        "annotations": [
            {
                "bbox": [1, 2, 3, 4],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 1,
                "segmentation": square,
                "iscrowd": 0,
                "id": 9,
            },
            {"bbox": [0, 0, 1, 1], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 1},
        ]
    }
    dog, crowd = read_regions(record, PETS)
    assert dog == Region("dog", (1, 2, 4, 6), square, 1, extra={"id": 9})
    assert crowd.mask is None and crowd.extra == {"iscrowd": 1}


def test_a_category_outside_the_classes_is_an_error():
    record = {"image_id": 4, "annotations": [{"category_id": 2}]}
    with pytest.raises(ValueError, match="record 4: category_id 2 is outside the 2 classes"):
        read_regions(record, PETS)


def test_a_map_of_classes_gives_a_region_per_class(tmp_path, save):
    labels = np.array([[2, 2, 255], [0, 2, 255]], np.uint8)
    record = {"sem_seg_file_name": save(tmp_path / "a.png", labels)}
    cat, sky = read_regions(record, PETS)
    assert (cat.text, cat.class_index, sky.text, sky.class_index) == ("cat", 0, "sky", 2)
    assert (sky.bitmap(2, 3) == (labels == 2)).all()


def test_a_panoptic_map_gives_a_region_per_segment(tmp_path, save):
    ids = [[7, 7, 0], [70000, 300, 300]]
    record = panoptic_record(
        tmp_path,
        save,
        ids,
        [
            {"id": 300, "category_id": 2, "isthing": False},
            {"id": 7, "category_id": 0, "isthing": True},
            {"id": 70000, "category_id": 0, "isthing": True, "iscrowd": 1},
        ],
    )
    sky, cat, crowd = read_regions(record, PETS)
    assert (sky.text, sky.is_thing, cat.text, cat.is_thing) == ("sky", False, "cat", True)
    assert (cat.bitmap(2, 3) == (np.array(ids) == 7)).all()
    assert crowd.extra == {"id": 70000, "iscrowd": 1}
    assert read_label_map(record, PETS).ids.tolist() == [[1, 1, -1], [2, 0, 0]]


@pytest.mark.parametrize(
    "segments, message",
    [
        ([{"id": 7, "category_id": 0, "isthing": True}], r"\[8\] stand only in the map, \[\] only"),
        (
            [{"id": i, "category_id": 0, "isthing": True} for i in (7, 8, 9)],
            r"\[\] stand only in the map, \[9\] only in the record",
        ),
        ([{"id": i, "category_id": i - 5, "isthing": True} for i in (7, 8)], "category_id 3"),
    ],
)
def test_a_panoptic_map_and_its_record_must_agree(tmp_path, save, segments, message):
    record = panoptic_record(tmp_path, save, [[7, 8]], segments)
    with pytest.raises(ValueError, match=f"record 3: .*{message}"):
        read_regions(record, PETS)


def test_region_records_are_taken_as_they_are():
    region = Region("a cat", box=(0, 0, 1, 1))
    record = {"regions": [region, {"text": "no such thing"}]}
    assert read_regions(record, None) == [region, Region("no such thing")]
    assert read_regions({"regions": []}, None) == []


def test_a_mask_file_is_one_region_of_its_phrase(tmp_path, save):
    grey = np.array([[0, 127, 128], [129, 200, 255]], np.uint8)
    record = {"mask_file_name": save(tmp_path / "m.png", grey), "texts": ["the object"]}
    (region,) = read_regions(record, None)
    assert region.text == "the object"
    assert (region.bitmap(2, 3) == (grey > 128)).all()


def test_a_mask_file_of_numbers_shows_the_object_of_its_number(tmp_path, save):
    numbers = np.array([[0, 1, 2]], np.uint8)
    record = {"mask_file_name": save(tmp_path / "m.png", numbers), "sentences": ["b", "c"]}
    (region,) = read_regions({**record, "object_id": 2}, None)
    assert region.bitmap(1, 3).tolist() == [[False, False, True]]
    assert region.extra["sentences"] == ["b", "c"]
    (absent,) = read_regions({**record, "object_id": 3}, None)
    assert not absent.has_target


def test_a_mask_file_without_a_phrase_is_an_error(tmp_path, save):
    record = {"image_id": 1, "mask_file_name": save(tmp_path / "m.png", np.zeros((1, 1), np.uint8))}
    with pytest.raises(ValueError, match="record 1: a mask file, but neither texts nor sentences"):
        read_regions(record, None)


def test_a_record_that_says_nothing_is_an_error():
    with pytest.raises(ValueError, match="record a.jpg: none of"):
        read_regions({"file_name": "a.jpg"}, PETS)


def test_the_task_decides_between_several_forms():
    record = {"annotations": [], "sem_seg_file_name": "a.png"}
    assert target_form(record) == "annotations"
    assert target_form({**record, "task": Task.SEMANTIC}) == "sem_seg_file_name"
    assert target_form({**record, "regions": [], "task": Task.SEMANTIC}) == "regions"


@pytest.mark.parametrize(
    "record, task",
    [
        ({"annotations": []}, Task.INSTANCE),
        ({"pan_seg_file_name": "a"}, Task.PANOPTIC),
        ({"sem_seg_file_name": "a"}, Task.SEMANTIC),
        ({"regions": []}, Task.REFERRING),
        ({"annotations": [], "task": "detection"}, Task.DETECTION),
    ],
)
def test_the_form_stands_for_a_task_where_none_is_named(record, task):
    assert task_of(record, PETS) is task


def test_encoded_masks_are_ready_for_json():
    assert encode_mask(np.ones((2, 1), bool)) == {"size": [2, 1], "counts": "02"}
