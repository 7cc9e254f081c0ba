"""What writers put into the files, number by number; that it is read back stands elsewhere."""

import base64
import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from segplugins.files.exchange import read_foreign
from segplugins.files.exchange.coco import write_coco, write_panoptic
from segplugins.files.exchange.cvat import read_cvat, write_cvat
from segplugins.files.exchange.export import AnnotatedImage, copy_picture
from segplugins.files.exchange.labelme import write_labelme
from segplugins.files.exchange.yolo import write_yolo
from segplugins.structures.regions import Region, decode_mask, draw_polygons, encode_mask

HEIGHT, WIDTH = 8, 16
NAMES = {"dog": True, "sky": False}
TRIANGLE = [[0, 0, 16, 0, 4, 8]]
TWO = [[1, 1, 3, 1, 3, 3, 1, 3], [8, 4, 12, 4, 12, 6, 8, 6]]


def pixels(*places, shape=(HEIGHT, WIDTH)):
    mask = np.zeros(shape, bool)
    for y, x in places:
        mask[y, x] = True
    return mask


# Rows 1 1 0 and 0 1 1 of the pixels from (1, 2), x first.
STEPS = encode_mask(pixels((2, 1), (2, 2), (3, 2), (3, 3)))


@pytest.fixture
def annotated(tmp_path):
    path = tmp_path / "pictures/a.b.png"
    path.parent.mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)

    def make(*regions, name="a.b.png"):
        return AnnotatedImage(path, name, HEIGHT, WIDTH, regions)

    return make


def instances(image, out):
    done = write_coco([image], out, NAMES)
    return json.loads((out / "instances.json").read_text()), done


def test_coco_has_corner_and_size_and_area_of_every_shape(annotated, tmp_path):
    image = annotated(
        Region("sky", mask=STEPS, extra={"iscrowd": 1}),
        Region("dog", box=(1.5, 2.0, 9.0, 4.25), score=0.25),
        Region("dog", mask=TWO),
    )
    file, done = instances(image, tmp_path / "out")
    steps, box, two = file["annotations"]
    assert (steps["bbox"], steps["area"], steps["iscrowd"]) == ([1, 2, 3, 2], 4, 1)
    assert (box["bbox"], box["area"], box["iscrowd"]) == ([1.5, 2, 7.5, 2.25], 7.5 * 2.25, 0)
    assert (two["bbox"], two["area"], two["segmentation"]) == ([1, 1, 11, 5], 2 * 2 + 4 * 2, TWO)
    assert [each["category_id"] for each in file["annotations"]] == [2, 1, 1]
    assert [each["id"] for each in file["annotations"]] == [1, 2, 3]
    assert [each.get("score") for each in file["annotations"]] == [None, 0.25, None]
    assert "segmentation" not in box
    assert file["categories"] == [
        {"id": 1, "name": "dog", "isthing": 1},
        {"id": 2, "name": "sky", "isthing": 0},
    ]
    assert file["images"] == [{"id": 1, "file_name": "a.b.png", "height": 8, "width": 16}]
    assert (done["objects"], done["pictures"], done["scores left out"]) == (3, 1, 0)


def test_coco_has_an_rle_as_text_whatever_the_region_holds(annotated, tmp_path):
    as_bytes = coco_mask.encode(np.asfortranarray(pixels((2, 1)), np.uint8))
    as_runs = {"size": [HEIGHT, WIDTH], "counts": np.array([HEIGHT + 2, 1, HEIGHT * 15 - 3])}
    score = np.float32(0.5)
    image = annotated(*(Region("dog", mask=mask, score=score) for mask in (as_bytes, as_runs)))
    file, _ = instances(image, tmp_path / "out")
    for each in file["annotations"]:
        assert (decode_mask(each["segmentation"], HEIGHT, WIDTH) == pixels((2, 1))).all()
        assert each["score"] == 0.5


@pytest.mark.parametrize("copy_images", [False, True])
@pytest.mark.parametrize(
    ("write", "place"),
    [
        (lambda *args, **copy: write_coco(*args, NAMES, **copy), "images/"),
        (lambda *args, **copy: write_panoptic(*args, NAMES, **copy), "images/"),
        (lambda *args, **copy: write_cvat(*args, NAMES, **copy), "images/"),
        (write_labelme, ""),
    ],
    ids=["coco", "panoptic", "cvat", "labelme"],
)
def test_pictures_are_copied_only_if_that_is_asked_for(
    annotated, tmp_path, write, place, copy_images
):
    image = annotated()
    write([image], tmp_path / "out", copy_images=copy_images)
    copy = tmp_path / "out" / f"{place}a.b.png"
    assert copy.is_file() == copy_images
    if copy_images:
        assert copy.read_bytes() == image.path.read_bytes()


def test_a_picture_that_is_not_there_is_named(annotated, tmp_path):
    image = annotated()._replace(path=tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match="no picture .*gone.png"):
        copy_picture(image, tmp_path / "out")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (encode_mask(pixels()), "a.b.png: the mask of 'dog' covers no pixel"),
        (encode_mask(pixels((0, 0), shape=(4, 4))), r"a.b.png: RLE has size \[4, 4\], expected"),
    ],
)
@pytest.mark.parametrize("form", ["coco", "cvat", "labelme", "yolo"])
def test_a_mask_that_covers_nothing_or_fits_not_names_its_picture(
    annotated, tmp_path, form, mask, message
):
    image = [annotated(Region("dog", mask=mask))]
    with pytest.raises(ValueError, match=message):
        if form == "labelme":
            write_labelme(image, tmp_path / "out")
        elif form == "yolo":
            write_yolo(image, tmp_path / "out", list(NAMES), "val")
        else:
            {"coco": write_coco, "cvat": write_cvat}[form](image, tmp_path / "out", NAMES)


def test_panoptic_ids_are_red_and_256_times_green(annotated, tmp_path):
    places = [(i // WIDTH, i % WIDTH) for i in range(HEIGHT * WIDTH)]
    wide = (HEIGHT * 3, WIDTH)
    regions = [
        Region("dog", mask=encode_mask(pixels((y + down, x), shape=wide)))
        for down in (0, HEIGHT, 2 * HEIGHT)
        for y, x in places
    ]
    image = annotated(*regions)._replace(height=HEIGHT * 3)
    write_panoptic([image], tmp_path / "out", NAMES)
    png = np.asarray(Image.open(tmp_path / "out/panoptic/a.b.png")).reshape(-1, 3)
    assert png[0].tolist() == [1, 0, 0] and png[254].tolist() == [255, 0, 0]
    assert png[255].tolist() == [0, 1, 0] and png[383].tolist() == [384 - 256, 1, 0]


def test_panoptic_segments_say_where_they_are_and_what(annotated, tmp_path):
    crowd = Region("dog", mask=STEPS, extra={"iscrowd": 1})
    image = annotated(
        crowd,
        Region("sky", mask=encode_mask(pixels((0, 0)))),
        Region("sky", mask=encode_mask(pixels((0, 0), (7, 15)))),
        Region("dog", mask=encode_mask(pixels((5, 5)))),
    )
    done = write_panoptic([image], tmp_path / "out", NAMES)
    file = json.loads((tmp_path / "out/panoptic.json").read_text())
    (entry,) = file["annotations"]
    assert (entry["file_name"], entry["image_id"]) == ("a.b.png", 1)
    assert entry["segments_info"] == [
        {"id": 1, "category_id": 1, "iscrowd": 1, "bbox": [1, 2, 3, 2], "area": 4},
        {"id": 2, "category_id": 2, "iscrowd": 0, "bbox": [0, 0, 16, 8], "area": 2},
        {"id": 3, "category_id": 1, "iscrowd": 0, "bbox": [5, 5, 1, 1], "area": 1},
    ]
    assert (done["objects"], done["crowd flags left out"]) == (4, 0)


def test_a_segment_that_others_cover_is_counted_and_left_out(annotated, tmp_path):
    """Of two that are as large as each other the later lies above."""
    below, above = (Region("dog", mask=STEPS, extra={"iscrowd": i}) for i in (0, 1))
    done = write_panoptic([annotated(below, above)], tmp_path / "out", NAMES, cover=True)
    (entry,) = json.loads((tmp_path / "out/panoptic.json").read_text())["annotations"]
    assert [(each["id"], each["iscrowd"]) for each in entry["segments_info"]] == [(2, 1)]
    assert done["objects that others cover, left out"] == 1


def test_panoptic_files_refuse_boxes(annotated, tmp_path):
    image = annotated(Region("dog", box=(0, 0, 1, 1)))
    with pytest.raises(ValueError, match="a.b.png: 'dog' has a box and no mask"):
        write_panoptic([image], tmp_path / "out", NAMES)


def labelme_file(image, out, **options):
    done = write_labelme([image], out, **options)
    return json.loads((out / "a.b.json").read_text()), done


def test_labelme_has_polygons_rectangles_and_masks_with_corners_inside(annotated, tmp_path):
    image = annotated(
        Region("dog", mask=TWO, score=0.25),
        Region("sky", box=(1.5, 2.0, 9.0, 4.25), extra={"iscrowd": 1}),
        Region("dog", mask=STEPS),
        Region("dog", mask=TRIANGLE),
    )
    file, done = labelme_file(image, tmp_path / "out")
    first, second, box, steps, triangle = file["shapes"]
    assert [first["points"], second["points"]] == [
        [[1, 1], [3, 1], [3, 3], [1, 3]],
        [[8, 4], [12, 4], [12, 6], [8, 6]],
    ]
    assert (first["group_id"], second["group_id"], triangle["group_id"]) == (1, 1, None)
    assert first["score"] == second["score"] == 0.25 and "score" not in box
    assert (box["shape_type"], box["points"]) == ("rectangle", [[1.5, 2.0], [9.0, 4.25]])
    assert (box["flags"], steps["flags"]) == ({"iscrowd": True}, {})
    assert (steps["shape_type"], steps["points"]) == ("mask", [[1, 2], [3, 3]])
    png = Image.open(io.BytesIO(base64.b64decode(steps["mask"])))
    assert np.asarray(png).tolist() == [[True, True, False], [False, True, True]]
    assert (file["imageHeight"], file["imageWidth"], file["imageData"]) == (HEIGHT, WIDTH, None)
    assert file["imagePath"] == "../pictures/a.b.png"
    assert (done["files"], done["objects"], done["scores left out"]) == (1, 4, 0)


def test_labelme_leads_to_the_copy_of_a_picture(annotated, tmp_path):
    file, _ = labelme_file(annotated(), tmp_path / "out", copy_images=True)
    assert file["imagePath"] == "a.b.png"


def cvat_file(image, out):
    done = write_cvat([image], out, NAMES)
    return ElementTree.parse(out / "annotations.xml").getroot(), done


def test_cvat_has_shapes_with_their_groups_scores_and_crowds(annotated, tmp_path):
    image = annotated(
        Region("dog", mask=TRIANGLE),
        Region("dog", mask=TWO, score=0.25),
        Region("sky", box=(1.5, 2, 9, 4.25), extra={"iscrowd": 1}),
        Region("dog", mask=STEPS),
    )
    root, done = cvat_file(image, tmp_path / "out")
    assert root.find("version").text == "1.1"
    labels = [each.find("name").text for each in root.iter("label")]
    assert labels == ["dog", "sky"]
    (element,) = root.findall("image")
    assert element.attrib == {"id": "0", "name": "a.b.png", "width": "16", "height": "8"}
    triangle, first, second, box, steps = element
    assert triangle.get("points") == "0,0;16,0;4,8" and triangle.get("group_id") is None
    assert (first.get("group_id"), second.get("group_id")) == ("2", "2")
    assert second.get("points") == "8,4;12,4;12,6;8,6"
    assert [each.get("source") for each in element] == ["manual", "auto", "auto", *["manual"] * 2]
    assert [(each.get("name"), each.text) for each in first] == [("score", "0.25")]
    assert [(each.get("name"), each.text) for each in box] == [("iscrowd", "1")]
    corners = [box.get(key) for key in ("xtl", "ytl", "xbr", "ybr")]
    assert corners == ["1.5", "2.0", "9.0", "4.25"]
    # 1 1 0 / 0 1 1 along the rows: no background first, then 2, 2 and 2.
    assert steps.get("rle") == "0, 2, 2, 2"
    assert [steps.get(key) for key in ("left", "top", "width", "height")] == ["1", "2", "3", "2"]
    assert (done["pictures"], done["objects"], done["crowd flags left out"]) == (1, 4, 0)


@pytest.mark.parametrize(
    ("places", "runs"),
    [
        ([(0, 1), (1, 0)], "1, 2, 1"),
        ([(0, 0), (0, 1), (1, 0)], "0, 3, 1"),
        ([(0, 0)], "0, 1"),
        ([(0, 0), (1, 1)], "0, 1, 2, 1"),
    ],
)
def test_cvat_runs_begin_with_background_and_end_where_the_box_ends(
    annotated, tmp_path, places, runs
):
    root, _ = cvat_file(annotated(Region("dog", mask=encode_mask(pixels(*places)))), tmp_path)
    assert root.find("image/mask").get("rle") == runs


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (5, 7), elements=st.booleans()).filter(np.any))
def test_cvat_masks_of_any_form_are_read_back(tmp_path_factory, mask):
    out = tmp_path_factory.mktemp("cvat")
    image = AnnotatedImage(out / "a.png", "a.png", 5, 7, [Region("dog", mask=encode_mask(mask))])
    write_cvat([image], out, NAMES)
    (entry,) = read_cvat(out / "annotations.xml").as_coco()["annotations"]
    assert (decode_mask(entry["segmentation"], 5, 7) == mask).all()


@pytest.mark.parametrize("name", ["d\x01og", "d\udcffog", "d\uffffog", "d\x1fog"], ids=ascii)
def test_a_name_that_xml_cannot_hold_is_refused(annotated, tmp_path, name):
    with pytest.raises(ValueError, match="holds a character that an XML file cannot hold"):
        write_cvat([annotated(Region(name, box=(0, 0, 1, 1)))], tmp_path / "out", NAMES)
    assert not (tmp_path / "out/annotations.xml").exists()


def yolo_lines(image, out, split="val"):
    done = write_yolo([image], out, list(NAMES), split)
    return (out / f"labels/{split}/a.b.txt").read_text().splitlines(), done


def test_yolo_has_parts_of_width_and_height(annotated, tmp_path):
    image = annotated(
        Region("sky", box=(2, 1, 6, 4), score=0.5, extra={"iscrowd": 1}),
        Region("dog", mask=TRIANGLE),
        Region("dog", mask=encode_mask(pixels((2, 4)))),
    )
    lines, done = yolo_lines(image, tmp_path / "out")
    assert lines == [
        "1 0.25 0.3125 0.25 0.375",  # centre (4, 2.5), 4 wide, 3 high, of 16 x 8
        "0 0 0 1 0 0.25 1",
        "0 0.25 0.25 0.3125 0.25 0.3125 0.375 0.25 0.375",
    ]
    assert (done["scores left out"], done["crowd flags left out"]) == (1, 1)
    assert (done["objects"], done["pictures"]) == (3, 1)


@pytest.mark.parametrize(
    ("box", "line"),
    [
        ((-4, 1, 4, 12), "0.125 0.5625 0.25 0.875"),  # (0, 1) to (4, 8)
        ((12, -8, 20, 2), "0.875 0.125 0.25 0.25"),  # (12, 0) to (16, 2)
        ((-100, -100, 100, 100), "0.5 0.5 1 1"),
    ],
)
def test_yolo_boxes_are_cut_at_the_picture(annotated, tmp_path, box, line):
    lines, _ = yolo_lines(annotated(Region("dog", box=box)), tmp_path / "out")
    assert lines == [f"0 {line}"]


@pytest.mark.parametrize("box", [(16, 0, 20, 8), (-4, 0, 0, 8), (0, 8, 4, 9), (0, -1, 4, 0)])
def test_yolo_boxes_outside_the_picture_are_refused(annotated, tmp_path, box):
    with pytest.raises(ValueError, match="a.b.png: the box of 'dog' lies outside the picture"):
        yolo_lines(annotated(Region("dog", box=box)), tmp_path / "out")


@pytest.mark.parametrize(
    "mask",
    [
        [[-8, 0, 8, 0, 8, 8]],
        [[4, 4, 24, -8, 24, 16]],
        [[0, 0, 8, 0, 8, 8], [4, 0, 20, 0, 20, 4]],
    ],
    ids=["left", "right", "two"],
)
def test_yolo_polygons_that_leave_the_picture_cover_the_same_pixels_in_it(
    annotated, tmp_path, mask
):
    """To move every corner to the border would turn the sides."""
    write_yolo([annotated(Region("dog", mask=mask))], tmp_path, list(NAMES), "val")
    (entry,) = read_foreign(tmp_path / "data.yaml", split="val")["annotations"]
    shown = decode_mask(entry["segmentation"], HEIGHT, WIDTH)
    assert (shown == draw_polygons(mask, HEIGHT, WIDTH)).all()


def test_yolo_labels_of_pictures_in_a_folder_images_are_found_again(annotated, tmp_path):
    image = annotated(Region("dog", mask=TRIANGLE), name="images/left/a.png")
    write_yolo([image], tmp_path / "out", list(NAMES), "val")
    content = read_foreign(tmp_path / "out/data.yaml", split="val")
    assert [each["file_name"] for each in content["images"]] == ["images/val/images/left/a.png"]
    assert [each["segmentation"] for each in content["annotations"]] == [TRIANGLE]


def test_yolo_splits_stand_in_one_file_that_keeps_what_else_it_says(annotated, tmp_path):
    image = annotated(Region("sky", box=(2, 1, 6, 4)))
    for split in ("train", "val"):
        yolo_lines(image, tmp_path, split)
        data = yaml.safe_load((tmp_path / "data.yaml").read_text())
        (tmp_path / "data.yaml").write_text(yaml.safe_dump({**data, "licence": "CC0"}))
    assert data["names"] == {0: "dog", 1: "sky"}
    assert {key: data[key] for key in ("train", "val", "licence")} == {
        "train": "images/train",
        "val": "images/val",
        "licence": "CC0",
    }
