import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from segplugins.data.readers.lines import region_records
from segplugins.prediction import Result
from segplugins.prediction.exchange import (
    from_coco,
    from_line,
    from_panoptic,
    from_supervision,
    to_coco,
    to_pandas,
    to_panoptic,
    to_supervision,
)
from segplugins.structures import Vocabulary
from segplugins.structures.regions import Task

NAMES = ("sky", "car")
MASKS = np.array([[[1, 1, 0], [0, 0, 0]], [[0, 1, 1], [0, 1, 1]]], bool)


@pytest.fixture
def result():
    """A car and a sky that overlap in one pixel; the car's score is higher."""
    return Result.from_masks(
        MASKS, [0, 1], NAMES, scores=[0.25, 0.5], is_thing=[False, True], name="a"
    )


class Detections:
    """What this package reads and writes of supervision's class."""

    def __init__(self, xyxy, mask=None, confidence=None, class_id=None, data=None):
        self.xyxy, self.mask, self.confidence = xyxy, mask, confidence
        self.class_id, self.data = class_id, data

    def __len__(self):
        return len(self.xyxy)


def test_there_and_back_with_supervision(result, monkeypatch):
    if "supervision" not in sys.modules:
        monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Detections))
    detections = to_supervision(result)
    assert detections.xyxy.tolist() == [[0, 0, 2, 1], [1, 0, 3, 2]]
    assert detections.class_id.tolist() == [0, 1]
    assert detections.data["class_name"].tolist() == ["sky", "car"]
    back = from_supervision(detections, NAMES)
    np.testing.assert_array_equal(back.masks, MASKS)
    assert back.scores.tolist() == [0.25, 0.5] and back.classes.tolist() == [0, 1]


def test_detections_that_are_no_segmentation_are_refused():
    boxes = Detections(np.zeros((1, 4)), class_id=np.array([0]))
    with pytest.raises(ValueError, match="without masks or class ids are no segmentation"):
        from_supervision(boxes, NAMES)
    nothing = Detections(np.zeros((0, 4)))
    assert len(from_supervision(nothing, NAMES, size=(2, 3))) == 0
    with pytest.raises(ValueError, match=r"size=\(H, W\)"):
        from_supervision(nothing, NAMES)


def test_a_missing_package_is_named(result, monkeypatch):
    for name, convert in (("supervision", to_supervision), ("pandas", to_pandas)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=f"'{name}' .*is not installed: pip install {name}"):
            convert(result)


def test_there_and_back_with_coco(result):
    entries = json.loads(json.dumps(to_coco(result, 7, [10, 20])))
    assert [entry["category_id"] for entry in entries] == [10, 20]
    assert [entry["bbox"] for entry in entries] == [[0, 0, 2, 1], [1, 0, 2, 2]]  # x, y, w, h
    assert [entry["score"] for entry in entries] == [0.25, 0.5]
    assert {entry["image_id"] for entry in entries} == {7}
    back = from_coco(entries, NAMES, size=(2, 3), category_ids=[10, 20])
    np.testing.assert_array_equal(back.masks, MASKS)
    assert [entry["category_id"] for entry in to_coco(result, 7)] == [1, 2]


def test_coco_reads_polygons_and_annotations_without_scores():
    square = {"category_id": 2, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    back = from_coco([square], NAMES, size=(4, 4))
    assert back.scores is None and back.areas.tolist() == [4] and back.classes.tolist() == [1]


@pytest.mark.parametrize(
    "entries, message",
    [
        ([{"category_id": 3, "segmentation": []}], r"categories \[3\] have no name"),
        ([{"image_id": 1}, {"image_id": 2}], "entries are of 2 pictures"),
    ],
)
def test_coco_that_does_not_fit_is_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        from_coco(entries, NAMES, size=(2, 3))


def test_there_and_back_with_a_panoptic_png(result):
    png, annotation = to_panoptic(result, 7, [10, 20])
    pixels = np.asarray(png).astype(int)
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    assert ids.tolist() == [[1, 2, 2], [0, 2, 2]]  # the car has the pixel that both have
    sky, car = annotation["segments_info"]
    assert (sky["id"], sky["category_id"], sky["area"], sky["bbox"]) == (1, 10, 1, [0, 0, 1, 1])
    assert (car["id"], car["category_id"], car["area"], car["bbox"]) == (2, 20, 4, [1, 0, 2, 2])
    assert (sky["isthing"], car["isthing"]) == (0, 1)
    assert annotation["image_id"] == 7 and annotation["file_name"] == "a.png"
    back = from_panoptic(png, annotation, NAMES, category_ids=[10, 20])
    assert back.label_map.tolist() == [[0, 1, 1], [-1, 1, 1]]
    with pytest.raises(ValueError, match=r"categories \[10, 20\] have no name"):
        from_panoptic(png, annotation, NAMES)


def test_a_panoptic_png_holds_more_than_255_segments():
    labels = np.arange(600).reshape(20, 30)
    png, annotation = to_panoptic(Result.from_label_map(labels, [f"{i}" for i in range(600)]), "a")
    assert np.asarray(png)[-1, -1].tolist() == [600 % 256, 600 // 256, 0]
    back = from_panoptic(png, annotation, [f"{i}" for i in range(600)])
    np.testing.assert_array_equal(back.label_map, labels)


def test_a_region_line_is_what_training_reads(result, tmp_path):
    line = result.to_line("a.png")
    assert (line["height"], line["width"], line["task"]) == (2, 3, "instance")
    file = tmp_path / "lines.jsonl"
    file.write_text(json.dumps(line) + "\n")
    vocabulary = Vocabulary("test_exchange", NAMES)
    (record,) = region_records(file, tmp_path, task=Task.INSTANCE, vocabulary=vocabulary)
    assert [region.text for region in record["regions"]] == ["sky", "car"]
    np.testing.assert_array_equal(record["regions"][1].bitmap(2, 3), MASKS[1])
    back = from_line(json.loads(json.dumps(line)), NAMES)
    np.testing.assert_array_equal(back.masks, MASKS)
    assert back.scores.tolist() == [0.25, 0.5] and back.is_thing == (False, True)


def test_a_phrase_without_a_target_stays_one_in_a_region_line():
    masks = np.zeros((1, 2, 2), bool)
    line = Result.from_masks(masks, [0], ["the moon"], task=Task.REFERRING).to_line("a.png")
    assert line["regions"] == [{"text": "the moon", "is_thing": False}]
    back = from_line(line)
    assert back.task is Task.REFERRING and not back.masks.any() and back.names == ("the moon",)
    with pytest.raises(ValueError, match=r"texts \['the moon'\] are none of the names"):
        from_line(line, ["the sun"])


def test_a_table_has_a_row_per_region(result, monkeypatch):
    if "pandas" not in sys.modules:
        monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    table = to_pandas(result)
    assert list(table["name"]) == ["sky", "car"] and list(table["pixels"]) == [2, 4]
    assert list(table["share"]) == [2 / 6, 4 / 6] and list(table["x1"]) == [2, 3]
    assert list(table["score"]) == [0.25, 0.5]


def test_ids_for_other_names_are_refused(result):
    for convert in (to_coco, to_panoptic):
        with pytest.raises(ValueError, match="1 category ids for 2 names"):
            convert(result, 1, [5])


LINE = {"height": 2, "width": 3, "regions": []}
PNG = Image.fromarray(np.full((2, 3, 3), (1, 0, 0), np.uint8))


@pytest.mark.parametrize(
    "ids, message",
    [
        ([10], "1 category ids for 2 names; give one each"),
        ([], "0 category ids for 2 names"),
        ([10, 20, 30], "3 category ids for 2 names"),
        ([10, 10], r"category ids \[10\] are given to several names; give each its own"),
    ],
)
def test_ids_are_one_for_each_name_on_every_way_in_and_out(result, ids, message):
    for convert in (
        lambda: to_coco(result, 7, ids),
        lambda: to_panoptic(result, 7, ids),
        lambda: from_coco([], NAMES, size=(2, 3), category_ids=ids),
        lambda: from_panoptic(PNG, {"segments_info": []}, NAMES, category_ids=ids),
    ):
        with pytest.raises(ValueError, match=message):
            convert()


def test_ids_of_numpy_are_taken_and_can_be_written_as_json(result):
    ids = np.array([10, 20])
    assert [entry["category_id"] for entry in to_coco(result, 7, ids)] == [10, 20]
    _, annotation = to_panoptic(result, 7, ids)
    assert [each["category_id"] for each in annotation["segments_info"]] == [10, 20]
    json.dumps([to_coco(result, 7, ids), annotation])
    back = from_coco(to_coco(result, 7, ids), NAMES, size=(2, 3), category_ids=ids)
    assert back.classes.tolist() == [0, 1]


def test_an_id_of_a_segment_has_three_bytes():
    png = Image.fromarray(np.array([[(0, 0, 1), (0, 1, 0), (1, 0, 0)]], np.uint8))
    infos = [{"id": 65536, "category_id": 1}, {"id": 256, "category_id": 2}]
    back = from_panoptic(png, {"segments_info": infos}, NAMES, is_thing=[False, True])
    assert back.label_map.tolist() == [[0, 1, -1]]  # 1 is no segment
    assert back.is_thing == (False, True) and back.scores is None


def test_a_region_that_is_covered_is_no_segment_and_one_without_pixels_no_coco_result():
    masks = np.array([[[0, 1, 1]], [[1, 1, 1]], [[0, 0, 0]]], bool)
    covered = Result.from_masks(masks, [0, 1, 1], NAMES, scores=[0.25, 0.5, 0.75])
    _, annotation = to_panoptic(covered, 5)
    assert [(each["id"], each["bbox"]) for each in annotation["segments_info"]] == [
        (2, [0, 0, 3, 1])
    ]
    assert annotation["file_name"] == "5.png"  # it has no name of its own
    assert [entry["score"] for entry in to_coco(covered, 5)] == [0.25, 0.5]
    bare = Result.from_masks(masks, [0, 1, 1], NAMES)
    assert [entry["score"] for entry in to_coco(bare, 5)] == [1.0, 1.0]
    # Without scores the first is on top.
    areas = [each["area"] for each in to_panoptic(bare, 5)[1]["segments_info"]]
    assert areas == [2, 1]


def test_what_a_line_leaves_out_has_a_default():
    region = {"text": "car", "mask": {"size": [2, 3], "counts": [0, 6]}}
    back = from_line({**LINE, "regions": [region, {"text": "sky", "is_thing": False}]})
    assert back.names == ("car", "sky") and back.is_thing == (True, False)
    assert back.scores.tolist() == [1.0, 1.0] and back.areas.tolist() == [6, 0]
    assert back.task is Task.REFERRING
    assert from_line(LINE, NAMES).names == NAMES
