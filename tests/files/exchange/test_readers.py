"""Groups, bounds and defaults of the files that annotation programs write."""

import base64
import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from segplugins.files.exchange import read_foreign
from segplugins.files.exchange.yolo import YoloFile, label_file
from segplugins.files.faults import STRICT, Collect, FaultError
from segplugins.structures.regions import decode_mask, draw_polygons

HEIGHT, WIDTH = 8, 12
SQUARE = [[1, 1], [3, 1], [3, 3], [1, 3]]
FAR = [[8, 4], [11, 4], [11, 7], [8, 7]]


def flat(points):
    return [value for point in points for value in point]


def drawn(*polygons):
    return draw_polygons([flat(each) for each in polygons], HEIGHT, WIDTH)


def shape(points=SQUARE, label="dog", **more):
    return {"label": label, "points": points, **more}


def png(rows):
    file = io.BytesIO()
    Image.fromarray(np.array(rows, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def mask_shape(points, rows, **more):
    return shape(points, shape_type="mask", mask=png(rows), **more)


def labelme(tmp_path, *shapes, policy=None, **head):
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    file = {"shapes": list(shapes), "imagePath": "a.png", **size, **head}
    (tmp_path / "a.json").write_text(json.dumps(file))
    return read_foreign(tmp_path, policy or Collect())


def pixels_of(entry):
    return decode_mask(entry["segmentation"], HEIGHT, WIDTH)


def test_polygons_of_a_label_and_group_are_one_object(tmp_path):
    content = labelme(
        tmp_path,
        shape(SQUARE, group_id=1),
        shape(SQUARE, "cat", group_id=1),
        shape(FAR, group_id=1, flags={"iscrowd": True}, score=0.5),
        shape(FAR, group_id=2),
        shape(FAR, group_id=None),
        shape(FAR),
        shape(FAR, group_id=0),
        shape(SQUARE, group_id=0),
    )
    entries = content["annotations"]
    assert [len(each["segmentation"]) for each in entries] == [2, 1, 1, 1, 1, 2]
    assert entries[0]["segmentation"] == [flat(SQUARE), flat(FAR)]
    assert (entries[0]["iscrowd"], entries[0]["score"]) == (1, 0.5)
    assert [each["id"].split()[-1] for each in entries] == [
        f"shapes[{position}]" for position in (0, 1, 3, 4, 5, 6)
    ]


def test_rectangles_of_a_group_are_the_box_around_them(tmp_path):
    """Their corners may stand in any order."""
    content = labelme(
        tmp_path,
        shape([[5, 6], [3, 2]], shape_type="rectangle", group_id=1),
        shape([[8, 1], [4, 3]], shape_type="rectangle", group_id=1),
    )
    (entry,) = content["annotations"]
    assert entry["bbox"] == [3, 1, 5, 5] and "segmentation" not in entry


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_shapes_of_several_types_are_joined_in_any_order(tmp_path, order):
    shapes = [
        shape(SQUARE, group_id=1),
        shape([[5, 0], [7, 2]], shape_type="rectangle", group_id=1),
        mask_shape([[9, 5], [10, 5]], [[0, 255]], group_id=1),
    ]
    (entry,) = labelme(tmp_path, *(shapes[i] for i in order))["annotations"]
    expected = drawn(SQUARE, [[5, 0], [7, 0], [7, 2], [5, 2]])
    expected[5, 10] = True
    assert (pixels_of(entry) == expected).all() and "bbox" not in entry


def test_a_mask_of_labelme_lies_between_its_corners_both_inside(tmp_path):
    rows = [[0, 1, 255], [255, 0, 0]]
    (entry,) = labelme(tmp_path, mask_shape([[2, 4], [4, 5]], rows))["annotations"]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[4, 3:5] = expected[5, 2] = True
    assert (pixels_of(entry) == expected).all()


@pytest.mark.parametrize("points", [[[9, 6], [11, 7]], [[0, 0], [2, 1]]], ids=str)
def test_a_mask_of_labelme_may_lie_in_the_corner(tmp_path, points):
    rows = [[255] * 3] * 2
    (entry,) = labelme(tmp_path, mask_shape(points, rows))["annotations"]
    assert pixels_of(entry).sum() == 6


@pytest.mark.parametrize(
    "points", [[[10, 6], [12, 7]], [[9, 7], [11, 8]], [[-1, 0], [1, 1]], [[0, -1], [2, 0]]], ids=str
)
def test_a_mask_of_labelme_that_leaves_its_picture_is_a_fault(tmp_path, points):
    policy = Collect()
    content = labelme(tmp_path, mask_shape(points, [[255] * 3] * 2), policy=policy)
    (fault,) = policy.faults
    assert f"its mask from {points[0]} to {points[1]} leaves the 8x12" in fault.message.replace(
        ".0", ""
    )
    assert content["annotations"] == []


def test_a_mask_of_labelme_needs_the_size_of_its_picture(tmp_path):
    policy = Collect()
    labelme(tmp_path, mask_shape([[0, 0], [0, 0]], [[255]]), policy=policy, imageHeight=None)
    (fault,) = policy.faults
    assert "shapes[0]: a mask needs imageHeight and imageWidth, which the file" in str(fault)


def test_a_shape_that_cannot_join_its_group_is_a_fault_of_its_own(tmp_path):
    """A polygon of two points is none, which is seen when it is to be drawn with a mask."""
    policy = Collect()
    mask = mask_shape([[2, 4], [2, 4]], [[255]], group_id=1)
    content = labelme(tmp_path, mask, shape(SQUARE[:2], group_id=1), shape(FAR), policy=policy)
    (fault,) = policy.faults
    assert "shapes[1]: it cannot be joined to the object of its group: a polygon needs" in str(
        fault
    )
    assert [int(pixels_of(each).sum()) for each in content["annotations"]] == [1, 9]


def test_what_else_a_shape_of_labelme_says_is_kept(tmp_path):
    (entry,) = labelme(
        tmp_path,
        shape(flags={"occluded": True, "iscrowd": False}, description="old", age=3, score="0.5"),
    )["annotations"]
    assert entry["attributes"] == {"age": 3, "flags": {"occluded": True}, "description": "old"}
    assert (entry["iscrowd"], entry["score"]) == (0, 0.5)
    (plain,) = labelme(tmp_path, shape(flags=None, description=""))["annotations"]
    assert "attributes" not in plain and "score" not in plain


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip"])
def test_shapes_without_area_are_remarks(tmp_path, kind):
    policy = Collect()
    assert labelme(tmp_path, shape(shape_type=kind), policy=policy)["annotations"] == []
    assert [(each.remark, each.kind) for each in policy.faults] == [(True, "region")]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", ["rectangle", "circle", "mask"])
def test_rectangles_circles_and_masks_have_two_points(tmp_path, kind, count):
    policy = Collect()
    labelme(tmp_path, shape(SQUARE[:count], shape_type=kind), policy=policy)
    assert f"a {kind} has {count} points, expected 2" in policy.faults[0].message


def test_a_folder_without_files_of_labelme_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no labelme file \*.json in "):
        read_foreign(tmp_path)


def test_the_picture_of_labelme_is_looked_for_where_it_leads_then_beside_then_by_name(tmp_path):
    pictures, files = tmp_path / "pictures", tmp_path / "files/left"
    files.mkdir(parents=True)
    head = {"shapes": [], "imagePath": "../../pictures/deep/a.png"}
    (files / "a.json").write_text(json.dumps({**head, "imageHeight": 1, "imageWidth": 1}))
    for place in ("a.png", "left/a.png", "deep/a.png"):
        (pictures / place).parent.mkdir(parents=True, exist_ok=True)
        (pictures / place).touch()
        content = read_foreign(tmp_path / "files", image_root=pictures)
        assert [each["file_name"] for each in content["images"]] == [place]


CVAT = '<annotations><image name="a.png" width="12" height="8">{}</image></annotations>'


def cvat(tmp_path, text, policy=None, **options):
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT.format(text))
    return read_foreign(path, policy or Collect(), **options)["annotations"]


def polygon(points, group, label="dog", inside=""):
    text = ";".join(f"{x},{y}" for x, y in points)
    return f'<polygon label="{label}" points="{text}" group_id="{group}">{inside}</polygon>'


def cvat_mask(group, top=6):
    place = f'left="5" top="{top}" width="2" height="1"'
    return f'<mask label="dog" rle="1,1" {place} group_id="{group}"/>'


CROWD = '<attribute name="iscrowd">1</attribute><attribute name="age"> old </attribute>'


def test_polygons_of_cvat_with_a_label_and_group_are_one_object(tmp_path):
    entries = cvat(
        tmp_path,
        polygon(SQUARE, 1)
        + polygon(SQUARE, 1, "cat")
        + polygon(FAR, 1, inside=CROWD)
        + polygon(FAR, 0)
        + polygon(SQUARE, 0),
    )
    assert [len(each["segmentation"]) for each in entries] == [2, 1, 1, 1]
    assert [each["iscrowd"] for each in entries] == [1, 0, 0, 0]
    assert entries[0]["attributes"] == {"age": "old"}
    assert [each["id"].rsplit(" ", 1)[-1] for each in entries] == ["0", "1", "3", "4"]


@pytest.mark.parametrize("is_mask_first", [True, False])
def test_masks_and_polygons_of_a_group_of_cvat_are_one_object(tmp_path, is_mask_first):
    shapes = [polygon(SQUARE, 3), cvat_mask(3)]
    (entry,) = cvat(tmp_path, "".join(shapes[::-1] if is_mask_first else shapes))
    expected = drawn(SQUARE)
    expected[6, 6] = True
    assert (pixels_of(entry) == expected).all()


def test_a_shape_of_cvat_that_cannot_join_its_group_is_a_fault_of_its_own(tmp_path):
    policy = Collect()
    entries = cvat(tmp_path, cvat_mask(3) + polygon(SQUARE[:2], 3) + cvat_mask(0), policy)
    (fault,) = policy.faults
    assert "polygon 1: it cannot be joined to the object of its group: a polygon" in str(fault)
    assert [int(pixels_of(each).sum()) for each in entries] == [1, 1]


def test_boxes_of_a_group_of_cvat_stay_apart_and_in_order(tmp_path):
    box = '<box label="dog" xtl="{}" ytl="2" xbr="9" ybr="7" group_id="1"/>'
    entries = cvat(tmp_path, box.format(1) + polygon(SQUARE, 1) + box.format(4))
    assert [each.get("bbox") for each in entries] == [[1, 2, 8, 5], None, [4, 2, 5, 5]]


@pytest.mark.parametrize(
    ("place", "is_inside"),
    [
        ((10, 0, 2, 8), True),
        ((11, 0, 2, 8), False),
        ((0, 7, 12, 1), True),
        ((0, 7, 12, 2), False),
        ((-1, 0, 2, 2), False),
        ((0, -1, 2, 2), False),
        ((0, 0, 0, 2), False),
        ((0, 0, 2, 0), False),
    ],
)
def test_a_mask_of_cvat_lies_within_its_picture(tmp_path, place, is_inside):
    x, y, width, height = place
    where = f'left="{x}" top="{y}" width="{width}" height="{height}"'
    policy = Collect()
    entries = cvat(tmp_path, f'<mask label="a" rle="0,{width * height}" {where}/>', policy)
    assert (len(entries), len(policy.faults)) == (int(is_inside), int(not is_inside))
    if is_inside:
        expected = np.zeros((HEIGHT, WIDTH), bool)
        expected[y : y + height, x : x + width] = True
        assert (pixels_of(entries[0]) == expected).all()
    else:
        assert "leaves its picture of 12x8" in policy.faults[0].message


@pytest.mark.parametrize("kind", ["polyline", "points", "cuboid", "skeleton", "tag"])
def test_shapes_of_cvat_without_area_are_remarks(tmp_path, kind):
    policy = Collect()
    assert cvat(tmp_path, f'<{kind} label="a" points="1,1;2,2"/>', policy) == []
    assert [each.remark for each in policy.faults] == [True]


def test_a_shape_that_cvat_does_not_have_is_a_fault(tmp_path):
    with pytest.raises(FaultError, match="star 0: <star> is no shape that is known"):
        cvat(tmp_path, '<star label="a"/>', STRICT)


YOLO = {"train": "images/train", "names": ["dog", "cat"]}


def yolo(tmp_path, text, policy=None, **data):
    """One picture of 20 x 10."""
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10)).save(tmp_path / "images/train/a.png")
    (tmp_path / "labels/train/a.txt").write_text(text)
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({**YOLO, **data}))
    return read_foreign(tmp_path / "data.yaml", policy or Collect(), split="train")["annotations"]


@pytest.mark.parametrize(
    ("line", "is_kept"),
    [
        ("0 -0.001 0.5 0.1 0.1", True),
        ("0 -0.0011 0.5 0.1 0.1", False),
        ("0 1.001 0.5 0.1 0.1", True),
        ("0 1.0011 0.5 0.1 0.1", False),
        ("1 0 0 1 0 1 1", True),
        ("1 0 0 1 0 1 1 0", False),
        ("1 0 0 1 0 1", False),
        ("-1 0.5 0.5 0.1 0.1", False),
        ("1.0 0.5 0.5 0.1 0.1", True),
        ("0.5 0.5 0.5 0.1 0.1", False),
        ("2 0.5 0.5 0.1 0.1", False),
        ("0", False),
    ],
)
def test_a_line_of_yolo_is_right_or_a_fault(tmp_path, line, is_kept):
    policy = Collect()
    entries = yolo(tmp_path, f"\n{line}\n", policy)
    assert (len(entries), len(policy.faults)) == (int(is_kept), int(not is_kept))
    assert is_kept or "line 2" in str(policy.faults[0])


def test_boxes_of_yolo_are_centre_and_size_in_parts_of_width_and_height(tmp_path):
    (entry,) = yolo(tmp_path, "1 0.25 0.5 0.2 0.6")
    assert entry["bbox"] == pytest.approx([5 - 2, 5 - 3, 4, 6])
    assert (entry["name"], entry["id"]) == ("cat", "a.txt line 1")


def test_a_picture_that_cannot_be_read_is_left_out_with_its_lines(tmp_path):
    yolo(tmp_path, "0 0.5 0.5 0.1 0.1")
    (tmp_path / "images/train/b.png").write_bytes(b"none")
    policy = Collect()
    content = read_foreign(tmp_path / "data.yaml", policy, split="train")
    assert [each["file_name"] for each in content["images"]] == ["images/train/a.png"]
    assert [each.kind for each in policy.faults] == ["image-size"]


def test_pictures_of_yolo_are_those_of_folders_and_lists_in_their_order(tmp_path):
    yolo(tmp_path, "")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/l.txt").write_text("images/train/z.png\n./beside.png\n")
    file = tmp_path / "data.yaml"
    file.write_text(yaml.safe_dump({**YOLO, "train": ["lists/l.txt", "../images/train"]}))
    places = [path.relative_to(tmp_path).as_posix() for path in YoloFile(file).pictures("train")]
    assert places == ["images/train/z.png", "lists/beside.png", "images/train/a.png"]


@pytest.mark.parametrize(("given", "root"), [("sub", "sub"), ("gone", ""), (None, ""), (3, "")])
def test_the_root_of_yolo_is_its_path_if_that_is_here(tmp_path, given, root):
    (tmp_path / "sub").mkdir()
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({**YOLO, "path": given}))
    assert YoloFile(tmp_path / "data.yaml").root == tmp_path / root


def test_names_of_yolo_are_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "data.yaml").write_text("names: {1: cat, 0: dog}\n")
    assert YoloFile(tmp_path / "data.yaml").names == ["dog", "cat"]
    (tmp_path / "data.yaml").write_text("train: images\n")
    with pytest.raises(ValueError, match="has no 'names': it is no data file of YOLO"):
        YoloFile(tmp_path / "data.yaml")
    with pytest.raises(FileNotFoundError, match="no file .*gone.yaml"):
        YoloFile(tmp_path / "gone.yaml")


def test_a_picture_called_images_is_no_folder(tmp_path):
    assert label_file(tmp_path / "x/images.png") == tmp_path / "x/images.txt"
