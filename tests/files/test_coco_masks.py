"""Masks are read from the text of their file a part at a time, and say what they always said."""

import json

import msgspec
import numpy as np
import pytest

from segplugins.files.coco import read_instances
from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.coco_masks import read_mask_texts, span_of_masks
from segplugins.files.faults import Collect
from segplugins.files.masks import flat_values

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


def entries(text):
    return msgspec.json.decode(text, type=list[InstanceEntry])


def test_texts_become_values_and_other_masks_stay():
    listed = entries(b'[{"segmentation": [[1, 2.5]]}, {"segmentation": null}, {}]')
    listed.append(InstanceEntry(segmentation="as it is"))
    read_mask_texts(listed, "set.json")
    assert [entry.segmentation for entry in listed] == [[[1, 2.5]], None, None, "as it is"]
    assert [type(value) for value in listed[0].segmentation[0]] == [int, float]


def test_a_number_beyond_float64_concerns_its_annotation_alone():
    listed = entries(b'[{"segmentation": [[1%s]]}, {"segmentation": [[2]]}]' % (b"0" * 400))
    read_mask_texts(listed, "set.json")
    assert [entry.segmentation for entry in listed] == [[[10**400]], [[2]]]


def test_a_text_that_is_no_json_is_named():
    [entry] = entries(b'[{"segmentation": "\xff"}]')
    entry.position = 7
    with pytest.raises(ValueError, match=r"set.json, segmentation of annotations\[7\] is not re"):
        read_mask_texts([entry], "set.json")


def test_the_span_of_masks_goes_from_the_first_to_the_last():
    data = b'[{"segmentation": [[1]]}, {"id": 3}, {"segmentation": {"counts": "x"}}, {}]'
    span = span_of_masks(entries(data), data)
    assert data[span].startswith(b"[[1]]") and data[span.stop :].startswith(b'{"counts"')
    assert span_of_masks(entries(b"[{}]"), b"[{}]") == slice(0, 0)


@pytest.mark.parametrize("key", ["annotations", "images", "categories"])
@pytest.mark.parametrize("twice", ["first", "last"])
def test_a_key_that_stands_twice_around_many_masks_is_refused(tmp_path, key, twice):
    lists = {
        "images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 10}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 7, "segmentation": [SQUARE]} for n in (1, 2, 3)
        ],
        "categories": [{"id": 7, "name": "cat"}],
    }
    parts = [f'"{name}": {json.dumps(value)}' for name, value in lists.items()]
    again = f'"{key}": {json.dumps(lists[key])}'
    parts = [again, *parts] if twice == "first" else [*parts, again]
    (tmp_path / "set.json").write_text("{" + ", ".join(parts) + "}")
    with pytest.raises(ValueError, match=f"has the key '{key}' 2 times"):
        read_instances(tmp_path / "set.json")


def test_a_key_inside_of_an_annotation_is_no_key_of_the_file(tmp_path):
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [SQUARE]}
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 10}],
        "annotations": [{**annotation, "attributes": {"annotations": 1, "images": 2}}],
        "categories": [{"id": 7, "name": "cat"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    [read] = read_instances(tmp_path / "set.json").annotations
    assert read.attributes == {"annotations": 1, "images": 2} and read.segmentation == [SQUARE]


def test_masks_do_not_matter_where_boxes_alone_are_read(tmp_path):
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[1, 2]]}
    boxes = [[1, 1, 4, 4], [1, 1, 0, 4]]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 10}],
        "annotations": [{**annotation, "id": n, "bbox": box} for n, box in enumerate(boxes)],
        "categories": [{"id": 7, "name": "cat"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    policy = Collect()
    [read] = read_instances(tmp_path / "set.json", policy, boxes_only=True).annotations
    assert (read.id, read.segmentation) == (0, None)
    assert ["has no area" in fault.message for fault in policy.faults] == [True]


def test_values_of_polygons_are_numbers_of_float64():
    values = flat_values([[1, 2.5], [float("nan"), 3]])
    np.testing.assert_array_equal(values, [1, 2.5, float("nan"), 3])
    with pytest.raises(OverflowError):
        flat_values([[1, 10**400]])
    with pytest.raises(TypeError):
        flat_values([[1, "2"]])
    assert flat_values([]).shape == (0,)
