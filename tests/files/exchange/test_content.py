"""What readers of annotation programs' files collect, in numbers."""

import numpy as np
import pytest

from segplugins.files.exchange import is_foreign
from segplugins.files.exchange.content import (
    Content,
    ellipse,
    flat_points,
    joined_keys,
    joined_masks,
    turned,
)
from segplugins.structures.regions import decode_mask, encode_mask


@pytest.mark.parametrize(
    "corners", [(2, 1, 7, 5), (7, 5, 2, 1), (7, 1, 2, 5), (2, 5, 7, 1)], ids=str
)
def test_a_box_is_the_same_from_any_two_opposite_corners(corners):
    content = Content(box_masks=True)
    content.add_box("here", "a.png", "dog", corners, iscrowd=1)
    (entry,) = content.as_coco()["annotations"]
    assert entry["bbox"] == [2, 1, 5, 4]
    assert entry["segmentation"] == [[2, 1, 7, 1, 7, 5, 2, 5]]
    assert (entry["id"], entry["image_id"], entry["iscrowd"]) == ("here", "a.png", 1)


def test_a_box_has_no_mask_unless_that_is_asked_for():
    content = Content()
    content.add_box("here", "a.png", "dog", (2, 1, 7, 5))
    assert "segmentation" not in content.as_coco()["annotations"][0]


def test_listed_classes_keep_their_numbers_and_others_follow_in_the_alphabet():
    content = Content(["zebra", "ant"])
    for place, name in enumerate(["dog", "ant", "cat", "zebra"]):
        content.add_mask(str(place), "a", name, [[0, 0, 1, 0, 1, 1]])
    file = content.as_coco()
    names = {each["id"]: each["name"] for each in file["categories"]}
    assert names == {1: "zebra", 2: "ant", 3: "cat", 4: "dog"}
    assert [each["category_id"] for each in file["annotations"]] == [4, 2, 3, 1]


def test_a_listed_class_without_an_object_is_a_category():
    assert Content(["a", "b"]).as_coco()["categories"] == [
        {"id": 1, "name": "a"},
        {"id": 2, "name": "b"},
    ]


def test_the_id_of_a_picture_is_its_name_unless_another_is_given():
    content = Content()
    assert content.add_image("a.png", height=3, width=4) == "a.png"
    assert content.add_image("b.png", image_id=0) == 0
    assert content.as_coco()["images"] == [
        {"id": "a.png", "file_name": "a.png", "height": 3, "width": 4},
        {"id": 0, "file_name": "b.png", "height": None, "width": None},
    ]


@pytest.mark.parametrize(
    ("degrees", "x", "y"),
    [
        (0, 4, 2),
        (90, -2, 4),
        (-90, 2, -4),
        (180, -4, -2),
        (30, 4 * 3**0.5 / 2 - 2 / 2, 4 / 2 + 2 * 3**0.5 / 2),
    ],
)
def test_points_turn_clockwise_as_pictures_show_it(degrees, x, y):
    """(4, 2) from (10, 5): y grows downwards, so that a quarter clockwise leads to (-2, 4)."""
    assert turned([(4, 2)], (10, 5), degrees) == pytest.approx([10 + x, 5 + y])


def test_an_ellipse_lies_on_its_curve_at_64_corners():
    points = np.reshape(ellipse((10, 5), (4, 2)), (-1, 2))
    assert len(points) == 64
    x, y = (points - (10, 5)).T
    np.testing.assert_allclose((x / 4) ** 2 + (y / 2) ** 2, 1)
    # A polygon of n corners on a circle has n / 2 sin(2 pi / n) of its square radius.
    area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert area == pytest.approx(4 * 2 * 32 * np.sin(np.pi / 32))


@pytest.mark.parametrize(
    "points", [None, "ab", 3, [1, 2], [[1, 2, 3]], [[1]], [[1, 2], 3], {"a": 1}], ids=str
)
def test_what_is_no_list_of_points_has_no_flat_form(points):
    assert flat_points(points) is None


def test_points_are_flattened_in_order():
    assert flat_points([[1, 2], (3, 4)]) == [1, 2, 3, 4]
    assert flat_points([]) == []


def test_masks_are_joined_as_polygons_or_else_as_pixels():
    left, right = [[0, 0, 2, 0, 2, 3, 0, 3]], [[1, 1, 4, 1, 4, 2, 1, 2]]
    assert joined_masks(left, right, 3, 5) == left + right
    pixels = np.zeros((3, 5), bool)
    pixels[2, 4] = True
    for pair in ((left, encode_mask(pixels)), (encode_mask(pixels), left)):
        expected = pixels.copy()
        expected[:, :2] = True
        assert (decode_mask(joined_masks(*pair, 3, 5), 3, 5) == expected).all()
    with pytest.raises(ValueError, match=r"RLE has size \[3, 5\], expected \[5, 3\]"):
        joined_masks(left, encode_mask(pixels), 5, 3)


@pytest.mark.parametrize(("first", "other", "iscrowd"), [(0, 1, 1), (1, 0, 1), (0, 0, 0)])
def test_an_object_is_a_crowd_if_one_of_its_shapes_is(first, other, iscrowd):
    keys = joined_keys({"iscrowd": first, "score": 0.5}, {"iscrowd": other, "score": 0.25, "x": 1})
    assert keys == {"iscrowd": iscrowd, "score": 0.5, "x": 1}


def test_foreign_files_are_told_by_their_ending_or_are_folders(tmp_path):
    for name in ("a.xml", "a.XML", "data.yaml", "data.yml", tmp_path):
        assert is_foreign(name)
    for name in ("a.json", "a.txt", tmp_path / "gone"):
        assert not is_foreign(name)
