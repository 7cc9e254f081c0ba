"""The fast test by columns says plain only of what the slow reading leaves as it is."""

import copy
import json

import numpy as np
import pytest

from segplugins.files.coco import read_instances
from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.coco_plain import References, plain_annotations
from segplugins.files.faults import STRICT, Collect, FaultError

SQUARE = [1.0, 1, 5, 1, 5, 5, 1, 5]
REFERENCES = References({1: (8, 10)}, {7})
ENTRY = {
    "id": 3,
    "image_id": 1,
    "category_id": 7,
    "bbox": [1, 1, 4, 4],
    "area": 16,
    "segmentation": [SQUARE],
}


def plain(*changes, **options):
    entries = [InstanceEntry(**{**copy.deepcopy(ENTRY), **change}) for change in changes]
    return plain_annotations(entries, REFERENCES, **options)


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("id", None, True),
        ("id", "3", False),
        ("id", True, False),
        ("image_id", 2, False),
        ("image_id", 1.0, False),
        ("category_id", 8, False),
        ("iscrowd", 1, True),
        ("iscrowd", 2, False),
        ("iscrowd", None, False),
        ("ignore", True, False),
        ("score", 0.5, False),
        ("area", None, True),
        ("area", 80, True),
        ("area", 80.5, False),
        ("area", -1, False),
        ("area", True, False),
        ("area", float("nan"), False),
        ("area", 10**400, False),
        ("bbox", None, False),
        ("bbox", [1, 1, 4], False),
        ("bbox", [1, 1, 4, "4"], False),
        ("bbox", [1, 1, 4, True], False),
        ("bbox", [1, 1, 2.0**53, 4], False),
        ("bbox", [1, 1, float("inf"), 4], False),
        ("bbox", [1, 1, 0, 4], True),  # the mask says where it is
        ("segmentation", None, True),
        ("segmentation", [], False),
        ("segmentation", [[]], False),
        ("segmentation", SQUARE, False),
        ("segmentation", [SQUARE, SQUARE[:4]], False),
        ("segmentation", [SQUARE[:7]], False),
        ("segmentation", [[*SQUARE[:7], True]], False),
        ("segmentation", [[*SQUARE[:7], False]], False),
        ("segmentation", [[*SQUARE[:7], "5"]], False),
        ("segmentation", [[*SQUARE[:7], 0]], True),
        ("segmentation", [[*SQUARE[:7], float("nan")]], True),  # compared with the picture later
        ("segmentation", {"size": [8, 10], "counts": [10, 20, 50]}, False),
        ("segmentation", "mask", False),
    ],
)
def test_an_annotation_is_plain_among_others(key, value, expected):
    assert plain({}, {key: value}, {}).rows.tolist() == [True, expected, True]


def test_a_box_without_a_mask_needs_an_area():
    rows = plain({"segmentation": None, "bbox": [1, 1, 0, 4]}, {"segmentation": None}).rows
    assert rows.tolist() == [False, True]


def test_masks_do_not_matter_for_boxes_alone():
    assert plain({"segmentation": "mask"}, {}, boxes_only=True).rows.all()


def test_the_values_of_plain_polygons_stand_one_behind_the_other():
    triangle = [0, 0, 4, 0, 0, 4]
    values = plain({}, {"category_id": 8}, {"segmentation": [triangle, SQUARE]}).values
    np.testing.assert_array_equal(values, [*SQUARE, *triangle, *SQUARE])


# Boxes that are not their masks' ----------------------------------------------------------------


@pytest.fixture
def read(tmp_path):
    def run(boxes, policy=None):
        content = {
            "images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 10}],
            "categories": [{"id": 7, "name": "cat"}],
            "annotations": [{**ENTRY, "id": n, "bbox": box} for n, box in enumerate(boxes)],
        }
        (tmp_path / "set.json").write_text(json.dumps(content))
        policy = policy or Collect()
        return read_instances(tmp_path / "set.json", policy), policy

    return run


RIGHT, STRAY = [1, 1, 4, 4], [1, 1, 8, 4]


@pytest.mark.parametrize("count, remark", [(999, False), (1000, True)])
def test_one_stray_box_in_a_thousand_is_a_remark_and_is_made_from_its_mask(read, count, remark):
    file, policy = read([STRAY] + [RIGHT] * (count - 1))
    [fault] = policy.faults
    assert (fault.kind, fault.remark) == ("box", remark)
    assert "bbox is [1, 1, 8, 4] (x, y, w, h), the mask has [1, 1, 4, 4]" in fault.message
    assert file.annotations[0].bbox is None and len(file.annotations) == count
    if remark:
        assert len(read([STRAY] + [RIGHT] * (count - 1), STRICT)[0].annotations) == count


def test_boxes_of_a_whole_file_that_are_not_their_masks_are_faults(read):
    _, policy = read([STRAY] * 8)
    assert [fault.remark for fault in policy.faults] == [False] * 8
    with pytest.raises(FaultError, match=r"annotation 0: bbox is \[1, 1, 8, 4\]"):
        read([STRAY] * 8, STRICT)


def test_ids_that_stand_twice_are_told_across_plain_and_other_annotations(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 10}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [{**ENTRY, "id": 3}, {**ENTRY, "id": "3", "area": 15}, {**ENTRY, "id": 4}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    policy = Collect()
    file = read_instances(tmp_path / "set.json", policy)
    assert "annotation id 3 stands twice" in policy.faults[0].message
    assert [annotation.id for annotation in file.annotations] == [3, 6, 4]
