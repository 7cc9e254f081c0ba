"""Boxes in arrays read as the list of dicts that they stand for."""

import pickle

import numpy as np
import pytest
from detectron2.structures import BoxMode

from segplugins.data.readers.boxes import BoxTable
from segplugins.files.coco_annotations import InstanceEntry
from segplugins.files.coco_images import ImageEntry

IMAGES = {5: ImageEntry(5, "5.png", 8, 10), "b": ImageEntry("b", "b.png", 20, 30)}


def box(number, image, bbox, category=7, crowd=0):
    return InstanceEntry(number, image, category, list(bbox), iscrowd=crowd)


def table(*boxes):
    return BoxTable(list(boxes), {7: 0, "x": 1}, IMAGES)


def test_boxes_are_those_of_their_image_in_the_order_of_the_file():
    made = table(
        box(1, 5, (1, 2, 3, 4)),
        box(2, "b", (0, 0, 5, 5), category="x", crowd=1),
        box(3, 5, (0.5, 0, 2, 2)),
    )
    first, second = made.of_image(5), made.of_image("b")
    assert [entry["id"] for entry in first] == [1, 3] and made.left_out == 0
    assert first[1] == {
        "id": 3,
        "iscrowd": 0,
        "category_id": 0,
        "bbox": [0.5, 0.0, 2.5, 2.0],  # corners
        "bbox_mode": BoxMode.XYXY_ABS,
    }
    assert second == [{**first[0], "id": 2, "iscrowd": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}]
    assert (first.crowds, second.crowds) == (0, 1)
    assert len(table().of_image(5)) == 0


def test_boxes_are_cut_at_the_border_and_left_out_below_one_pixel():
    made = table(
        box(1, 5, (-2, -3, 4, 5)),
        box(2, 5, (8, 6, 9, 9)),
        box(3, 5, (9.5, 0, 3, 3)),  # half a pixel of width stays
        box(4, 5, (9, 7, 3, 3)),  # just one pixel
        box(5, "b", (9.5, 0, 3, 3)),
    )
    assert [(entry["id"], entry["bbox"]) for entry in made.of_image(5)] == [
        (1, [0, 0, 2, 2]), (2, [8, 6, 10, 8]), (4, [9, 7, 10, 8]),
    ]  # fmt: skip
    assert [entry["bbox"] for entry in made.of_image("b")] == [[9.5, 0, 12.5, 3]]
    assert made.left_out == 1


def test_ids_of_text_stay_text_beside_numbers():
    boxes = table(box("a\\b", 5, (0, 0, 2, 2)), box(0, 5, (1, 1, 2, 2))).of_image(5)
    assert [entry["id"] for entry in boxes] == ["a\\b", 0]
    assert [entry["id"] for entry in pickle.loads(pickle.dumps(boxes))] == ["a\\b", 0]


def test_they_are_indexed_and_compared_as_a_list():
    boxes = table(*(box(n, 5, (n, 0, 2, 2)) for n in range(4))).of_image(5)
    numbers = [entry["id"] for entry in boxes]
    assert numbers == [0, 1, 2, 3]
    assert boxes[-1]["id"] == 3 and [entry["id"] for entry in boxes[1::2]] == [1, 3]
    assert boxes == list(boxes) and boxes != list(boxes)[:3] and boxes != 4
    assert repr(boxes) == repr(list(boxes))
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"box {index} of 4"):
            boxes[index]


def test_pickled_boxes_of_an_image_do_not_carry_those_of_others():
    made = table(*(box(n, "b" if n else 5, (0, 0, 2, 2)) for n in range(2000)))
    few, many = (pickle.dumps(made.of_image(number)) for number in (5, "b"))
    assert pickle.loads(few) == made.of_image(5) and pickle.loads(many) == made.of_image("b")
    assert len(few) < 1000 < 1999 * 29 <= len(many) < 1999 * 29 + 1000  # 16 + 4 + 8 + 1 bytes


def test_a_value_is_a_python_number():
    [entry] = table(box(1, 5, (1, 2, 3, 4))).of_image(5)
    assert type(entry["id"]) is int and type(entry["category_id"]) is int
    assert all(type(value) is float for value in entry["bbox"])
    assert not any(isinstance(value, np.generic) for value in entry.values())
