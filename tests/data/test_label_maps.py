import numpy as np
import pytest

from segplugins.data import label_maps
from segplugins.data.datasets import shipped_vocabulary


def test_a_listed_number_becomes_its_place_and_every_other_one_is_ignored():
    raw = np.array([[7, 3, 0], [4, 99, -1]], dtype=np.int32)
    got = label_maps.remap(raw, [3, 7], ignore=255, dtype=np.uint8)
    assert got.tolist() == [[1, 0, 255], [255, 255, 255]]
    assert got.dtype == np.uint8


def test_coco_stuff_numbers_are_coco_ids_minus_one():
    # COCO ids: person 1, stop sign 13 (12 is unused), banner 92, the last stuff class 182.
    raw = np.array([0, 11, 12, 90, 91, 181, 182, 255], dtype=np.uint8)
    names = shipped_vocabulary("coco_stuff_171").classes
    got = label_maps.remap_coco_stuff(raw)
    assert [names[k] if k < 171 else None for k in got] == [
        "person",
        None,
        "stop sign",
        None,
        "banner",
        "wood",
        None,
        None,
    ]


def test_ade20k_numbers_are_read_from_red_and_green():
    # floor(R / 10) * 256 + G: 3 * 256 + 42 = 810, whatever blue says.
    rgb = np.array([[[39, 42, 7], [30, 42, 200], [0, 0, 9]]], dtype=np.uint8)
    assert label_maps.ade_class_ids(rgb).tolist() == [[810, 810, 0]]
    wall = 2978  # 11 * 256 + 162
    rgb = np.array([[[110, 162, 0], [0, 0, 0]]], dtype=np.uint8)
    assert wall == label_maps.source_ids("ade20k_847")[0]
    assert label_maps.ade847_from_seg_rgb(rgb).tolist() == [[0, 65535]]


@pytest.mark.parametrize(
    "remap, first, last, classes, ignored",
    [
        (label_maps.remap_ade150, 1, 150, 150, 255),
        (label_maps.remap_pc459, 1, 459, 459, 459),
    ],
)
def test_numbers_from_one_on_are_shifted_and_zero_is_ignored(remap, first, last, classes, ignored):
    raw = np.array([0, first, last])
    assert remap(raw).tolist() == [ignored, 0, classes - 1]


def test_table_of_pascal_context_is_called_diningtable():
    names = shipped_vocabulary("pascal_context_59").classes
    assert names[label_maps.remap_pc59(np.array([397]))[0]] == "diningtable"


def test_voc_background_is_ignored_or_the_last_class():
    raw = np.array([0, 1, 20, 255, 21], dtype=np.uint8)
    assert label_maps.remap_voc(raw, background=False).tolist() == [255, 0, 19, 255, 255]
    assert label_maps.remap_voc(raw, background=True).tolist() == [20, 0, 19, 255, 255]


@pytest.mark.parametrize(
    "name, classes", [("coco_stuff_171", 171), ("ade20k_847", 847), ("pascal_context_59", 59)]
)
def test_every_class_has_a_source_number_of_its_own(name, classes):
    ids = label_maps.source_ids(name)
    assert len(ids) == len(set(ids)) == classes == len(shipped_vocabulary(name))


def test_an_unknown_table_is_named():
    with pytest.raises(KeyError, match="'nothing'.*ade20k_847"):
        label_maps.source_ids("nothing")
