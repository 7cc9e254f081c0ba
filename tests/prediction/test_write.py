"""One result as files: values of label maps, what the report says, and which file comes last."""

import json

import numpy as np
import pytest
from PIL import Image

from segplugins.prediction import NOTHING, Result
from segplugins.prediction.write import label_values, write_result
from segplugins.structures.regions import Task

NAMES = ("sky", "sea", "boat")
IMAGE = np.full((4, 6, 3), 90, np.uint8)
#  1 x 6 sky, 2 x 6 boat, a row that is nothing
LABELS = np.repeat([[0], [2], [2], [NOTHING]], 6, axis=1)
MASKS = np.stack([LABELS == 0, LABELS == 2])


def written(folder, result):
    write_result(folder, result)
    return json.loads((folder / f"{result.name}.json").read_text())


@pytest.mark.parametrize("count, kind", [(1, np.uint8), (255, np.uint8), (256, np.uint16)])
def test_nothing_is_the_highest_value_of_the_smallest_type(count, kind):
    labels = np.array([[0, NOTHING, count - 1]], np.int32)
    values = label_values(labels, count)
    assert values.dtype == kind
    assert values.tolist() == [[0, np.iinfo(kind).max, count - 1]]


def test_classes_are_reported_the_largest_first_with_six_and_four_digits(tmp_path):
    scores = np.array([1 / 3, 0.5, 2 / 3])
    result = Result.from_label_map(LABELS, NAMES, scores=scores, name="a", image=IMAGE)
    report = written(tmp_path, result)
    assert report == {
        "image": "a",
        "height": 4,
        "width": 6,
        "label_map": "a.labels.png",
        "none_of_these": 255,
        "classes": [
            {"index": 2, "name": "boat", "pixels": 12, "share": 0.5, "score": 0.6667},
            {"index": 0, "name": "sky", "pixels": 6, "share": 0.25, "score": 0.3333},
        ],
        "overlay": "a.overlay.jpg",
    }
    labels = np.asarray(Image.open(tmp_path / "a.labels.png"))
    np.testing.assert_array_equal(labels, np.where(LABELS == NOTHING, 255, LABELS))


def test_equally_large_classes_keep_the_order_of_the_names_and_scores_may_be_absent(tmp_path):
    labels = np.array([[2, 1, 0, 1, 2, 0]] * 4)
    report = written(tmp_path, Result.from_label_map(labels, NAMES, name="a", image=IMAGE))
    assert [entry["index"] for entry in report["classes"]] == [0, 1, 2]
    assert {entry["share"] for entry in report["classes"]} == {0.333333}
    assert not any("score" in entry for entry in report["classes"])


def test_a_phrase_is_a_mask_of_0_and_255_and_its_share_of_the_picture(tmp_path):
    result = Result.from_masks(
        MASKS, [0, 1], ["a", "b"], task=Task.REFERRING, scores=[0.25, 0.98766], name="v/1",
        image=IMAGE,
    )  # fmt: skip
    first, second = written(tmp_path, result)["prompts"]
    assert first == {
        "text": "a", "mask": "1.mask0.png", "pixels": 6, "share": 0.25, "score": 0.25,
    }  # fmt: skip
    assert (second["mask"], second["share"], second["score"]) == ("1.mask1.png", 0.5, 0.9877)
    mask = np.asarray(Image.open(tmp_path / "v" / "1.mask1.png"))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, 255 * MASKS[1])


def test_panoptic_segments_and_instances_are_written_as_coco_has_them(tmp_path):
    panoptic = Result.from_segments(
        np.where(LABELS == 2, 7, 0), [7], [2], NAMES, is_thing=[False, False, True], name="p",
        image=IMAGE, scores=[0.5],
    )  # fmt: skip
    report = written(tmp_path, panoptic)
    (segment,) = report["segments_info"]
    assert report["names"] == list(NAMES) and report["panoptic"] == "p.panoptic.png"
    assert (segment["category_id"], segment["area"], segment["bbox"]) == (3, 12, [0, 1, 6, 2])
    colours = np.asarray(Image.open(tmp_path / "p.panoptic.png"))
    assert not colours[..., 1:].any()  # ids below 256 are red alone
    np.testing.assert_array_equal(colours[..., 0], np.where(LABELS == 2, segment["id"], 0))
    instances = Result.from_masks(MASKS, [0, 2], NAMES, scores=[0.5, 0.75], name="i", image=IMAGE)
    first, second = written(tmp_path, instances)["instances"]
    assert (first["image_id"], first["category_id"], first["bbox"]) == ("i", 1, [0, 0, 6, 1])
    assert (second["category_id"], second["bbox"], second["score"]) == (3, [0, 1, 6, 2], 0.75)


def test_the_report_is_written_last_so_that_a_stopped_write_is_not_finished(tmp_path, monkeypatch):
    def disk_full(*args):
        raise OSError("no space")

    monkeypatch.setattr("segplugins.prediction.write.save_picture", disk_full)
    with pytest.raises(OSError, match="no space"):
        write_result(tmp_path, Result.from_label_map(LABELS, NAMES, name="a", image=IMAGE))
    assert [path.name for path in tmp_path.iterdir()] == ["a.labels.png"]
