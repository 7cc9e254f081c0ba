"""What is written for an annotation program is read back as it was."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from segplugins.data.catalog import load_dataset
from segplugins.data.check import check_dataset, write_cleaned
from segplugins.data.export import export_dataset
from segplugins.data.register_yaml import register_from_yaml
from segplugins.files.coco import read_instances
from segplugins.files.coco_panoptic import read_panoptic
from segplugins.files.exchange import read_foreign
from segplugins.files.exchange.coco import write_coco, write_panoptic
from segplugins.files.exchange.cvat import write_cvat
from segplugins.files.exchange.export import AnnotatedImage
from segplugins.files.exchange.labelme import write_labelme
from segplugins.files.exchange.yolo import label_file, write_yolo
from segplugins.files.faults import Collect, FaultError
from segplugins.files.panoptic_ids import read_segment_ids
from segplugins.structures.regions import Region, decode_mask, encode_mask

NAMES = {"машина": True, "tree <&>": True, "sky": False}
HEIGHT, WIDTH = 13, 17


def ring(holes=True):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:9, 3:12] = True
    if holes:
        mask[4:6, 5:8] = False
    return mask


PARTS = [[0.5, 0.5, 4.25, 0.5, 4.25, 5, 0.5, 5], [10, 8, 16, 8, 13, 12.5]]
MASKS = [
    Region("машина", mask=PARTS),
    Region("tree <&>", mask=encode_mask(ring())),
    Region("sky", mask=[[1, 1, 15, 2, 8, 11]], score=0.25, extra={"iscrowd": 1}),
]
BOXES = [Region("sky", box=(1.5, 2.0, 9.0, 12.25)), Region("машина", box=(0.0, 0.0, 17.0, 13.0))]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "pictures" / "a b" / "straße.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)

    def annotated(regions):
        return AnnotatedImage(path, "a b/straße.png", HEIGHT, WIDTH, regions)

    return annotated


def write(form, images, out):
    if form == "yolo":
        return write_yolo(images, out, list(NAMES), "val")
    if form == "labelme":
        return write_labelme(images, out)
    return {"cvat": write_cvat, "coco": write_coco}[form](images, out, NAMES)


PLACES = {"yolo": "data.yaml", "labelme": "", "cvat": "annotations.xml", "coco": "instances.json"}


def read_back(form, out, tmp_path, **options):
    root = out if form == "yolo" else tmp_path / "pictures"
    options |= {"split": "val"} if form == "yolo" else {}
    foreign = None if form == "coco" else options
    return read_instances(out / PLACES[form], image_root=root, foreign=foreign)


def rows(file):
    """Per annotation class, mask, box, crowd flag and score."""
    names = {category.id: category.name for category in file.categories}
    return [
        (
            names[a.category_id],
            None if a.segmentation is None else decode_mask(a.segmentation, HEIGHT, WIDTH).tolist(),
            a.bbox,
            a.iscrowd,
            a.score,
        )
        for a in file.annotations
    ]


@pytest.mark.parametrize("form", ["coco", "cvat", "labelme", "yolo"])
def test_masks_are_read_back_pixel_by_pixel(form, picture, tmp_path):
    done = write(form, [picture(MASKS)], tmp_path / "out")
    file = read_back(form, tmp_path / "out", tmp_path)
    (image,) = file.images.values()
    assert image.size == (HEIGHT, WIDTH)
    assert Path(image.file_name).name == "straße.png"
    held = form != "yolo"
    expected = [
        (r.text, r.bitmap(HEIGHT, WIDTH).tolist(), held * int(r.extra.get("iscrowd", 0)))
        for r in MASKS
    ]
    assert [(name, mask, crowd) for name, mask, _, crowd, _ in rows(file)] == expected
    scores = [row[-1] for row in rows(file)]
    assert scores == ([None, None, 0.25] if held else [None] * 3)
    lost = {"scores left out": 1, "crowd flags left out": 1}
    assert {key: done[key] for key in lost} == (dict.fromkeys(lost, 0) if held else lost)


@pytest.mark.parametrize("form", ["coco", "cvat", "labelme", "yolo"])
def test_boxes_are_read_back(form, picture, tmp_path):
    write(form, [picture(BOXES)], tmp_path / "out")
    found = rows(read_back(form, tmp_path / "out", tmp_path))
    assert [(name, mask) for name, mask, *_ in found] == [("sky", None), ("машина", None)]
    expected = [[1.5, 2.0, 7.5, 10.25], [0.0, 0.0, 17.0, 13.0]]
    np.testing.assert_allclose([box for _, _, box, *_ in found], expected, atol=1e-5)


@pytest.mark.parametrize("form", ["cvat", "labelme", "yolo"])
def test_rectangles_are_masks_where_that_is_asked_for(form, picture, tmp_path):
    write(form, [picture(BOXES[:1])], tmp_path / "out")
    ((_, mask, *_),) = rows(read_back(form, tmp_path / "out", tmp_path, box_masks=True))
    x0, y0, x1, y1 = BOXES[0].box
    corners = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    assert (np.array(mask) == decode_mask(corners, HEIGHT, WIDTH)).all()


def test_polygons_stay_the_same_numbers(picture, tmp_path):
    for form in ("cvat", "labelme"):
        write(form, [picture(MASKS[:1])], tmp_path / form)
        (annotation,) = read_back(form, tmp_path / form, tmp_path).annotations
        assert annotation.segmentation == PARTS, form


def test_a_phrase_without_a_target_is_counted(picture, tmp_path):
    done = write("cvat", [picture([Region("sky")])], tmp_path / "out")
    assert done["phrases without a target left out"] == 1
    assert not read_back("cvat", tmp_path / "out", tmp_path).annotations


def test_panoptic_files_hold_segments_that_do_not_overlap(picture, tmp_path):
    left, right = ring(False), ring(False)
    left[:, 7:], right[:, :7] = False, False
    regions = [
        Region("sky", mask=encode_mask(left), is_thing=False),
        Region("sky", mask=encode_mask(~ring(False)), is_thing=False),
        Region("машина", mask=encode_mask(right)),
    ]
    write_panoptic([picture(regions)], tmp_path / "out", NAMES)
    file = read_panoptic(
        tmp_path / "out/panoptic.json",
        image_root=tmp_path / "pictures",
        map_root=tmp_path / "out/panoptic",
    )
    (annotation,) = file.annotations
    sky, car = annotation.segments_info
    ids = read_segment_ids(str(tmp_path / "out/panoptic" / annotation.file_name))
    assert ((ids == sky["id"]) == (left | ~ring(False))).all()
    assert ((ids == car["id"]) == right).all()
    assert (sky["area"], car["area"]) == (int((left | ~ring(False)).sum()), int(right.sum()))


def test_segments_that_overlap_are_refused_or_covered_by_the_smaller(picture, tmp_path):
    small = np.zeros((HEIGHT, WIDTH), bool)
    small[3:5, 4:6] = True
    regions = [
        Region("tree <&>", mask=encode_mask(small)),
        Region("машина", mask=encode_mask(ring(False))),
    ]
    with pytest.raises(ValueError, match="'машина' and 'tree <&>' overlap.*--overlap cover"):
        write_panoptic([picture(regions)], tmp_path / "out", NAMES)
    write_panoptic([picture(regions)], tmp_path / "out", NAMES, cover=True)
    (entry,) = json.loads((tmp_path / "out/panoptic.json").read_text())["annotations"]
    areas = {each["category_id"]: each["area"] for each in entry["segments_info"]}
    assert areas == {2: 4, 1: 7 * 9 - 4}


LABELME = {
    "version": "4.5.6",
    "flags": {},
    "imagePath": "..\\pictures\\b.png",
    "imageData": None,
    "shapes": [
        {"label": "dog", "points": [[1, 1], [6, 1], [6, 5]]},
        {"label": "dog", "points": [[9, 9], [12, 12]], "shape_type": "line"},
        {"label": "sun", "points": [[8, 6], [8, 9]], "shape_type": "circle", "group_id": None},
    ],
}


def labelme_folder(tmp_path, **changes):
    (tmp_path / "pictures").mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "pictures/b.png")
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / "labels/b.json").write_text(json.dumps({**LABELME, **changes}))
    return tmp_path / "labels"


def test_labelme_as_other_versions_write_it(tmp_path):
    policy = Collect()
    file = read_instances(labelme_folder(tmp_path), policy, image_root=tmp_path / "pictures")
    (image,) = file.images.values()
    assert (image.file_name, image.size) == ("b.png", (HEIGHT, WIDTH))
    assert [category.name for category in file.categories] == ["dog", "sun"]
    dog, sun = file.annotations
    assert dog.segmentation == [[1, 1, 6, 1, 6, 5]]
    xs, ys = np.reshape(sun.segmentation[0], (-1, 2)).T  # centre (8, 6), radius 3
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == pytest.approx((5, 11, 3, 9))
    (remark,) = policy.faults
    assert remark.remark and str(remark).startswith(str(tmp_path / "labels/b.json"))
    assert "shapes[1]: a shape of type 'line' has no area" in str(remark)


SHAPE = LABELME["shapes"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": None}, "no list 'shapes' in it"),
        ({"imagePath": None}, "imagePath is None, expected the name of the picture"),
        ({"shapes": [{**SHAPE, "label": ""}]}, r"shapes\[0\]: the label of a shape is ''"),
        ({"shapes": [{**SHAPE, "points": [1, 2]}]}, r"points are \[1, 2\], expected"),
        ({"shapes": [{**SHAPE, "shape_type": "star"}]}, "shape_type is 'star'"),
        ({"shapes": [{**SHAPE, "points": [[1, 1], [5, 5]]}]}, "a polygon of 4 values"),
        ({"shapes": [{**SHAPE, "points": [[1, 1], [9, float("nan")], [3, 3]]}]}, "finite number"),
        ({"shapes": [{**SHAPE, "shape_type": "rectangle"}]}, "a rectangle has 3 points"),
        ({"shapes": [{**SHAPE, "group_id": [1]}]}, r"shapes\[0\]: \[1\] is no id"),
        ({"imageHeight": 200_000, "imageWidth": 200_000}, "200000x200000 pixels, expected at most"),
        (
            {"shapes": [{**SHAPE, "shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "=="}]},
            "shapes",
        ),
    ],
)
def test_labelme_faults_name_file_and_shape(tmp_path, changes, message):
    folder = labelme_folder(tmp_path, **changes)
    with pytest.raises(FaultError, match=message) as error:
        read_instances(folder, image_root=tmp_path / "pictures")
    assert "b.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mask_of_labelme_that_is_not_as_large_as_its_points_is_refused(picture, tmp_path):
    write("labelme", [picture(MASKS[1:2])], tmp_path / "out")
    path = tmp_path / "out/a b/straße.json"
    file = json.loads(path.read_text())
    file["shapes"][0]["points"][1][0] += 1
    path.write_text(json.dumps(file))
    with pytest.raises(FaultError, match="its mask has 9x7 pixels, its points say 10x7"):
        read_back("labelme", tmp_path / "out", tmp_path)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>
<image id="7" name="sub\\a.jpg" width="17" height="13">%s</image></annotations>"""


def cvat(tmp_path, shapes):
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT % shapes, encoding="utf-8")
    return path


def test_cvat_shapes_become_masks(tmp_path):
    shapes = """
    <mask label="cat" source="manual" rle="1, 2, 4, 1" left="3" top="2" width="4" height="2"/>
    <ellipse label="dog" cx="8" cy="6" rx="4" ry="2" rotation="90.00"/>
    <box label="dog" xtl="4" ytl="5" xbr="10" ybr="7" rotation="90"/>
    <points label="dog" points="1,1"/><tag label="dog"/>"""
    policy = Collect()
    content = read_foreign(cvat(tmp_path, shapes), policy)
    assert [each["name"] for each in content["categories"]] == ["dog", "cat"]
    assert content["images"][0]["file_name"] == "sub/a.jpg"
    mask, ellipse, box = content["annotations"]
    expected = np.zeros((13, 17), bool)
    expected[2, 4:6] = expected[3, 6] = True
    assert (decode_mask(mask["segmentation"], 13, 17) == expected).all()
    xs, ys = np.reshape(ellipse["segmentation"][0], (-1, 2)).T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == pytest.approx((6, 10, 2, 10))
    xs, ys = np.reshape(box["segmentation"][0], (-1, 2)).T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == pytest.approx((6, 8, 3, 9))
    assert [fault.remark for fault in policy.faults] == [True, True]


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">]><annotations>&a;</annotations>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "defines entities"),
        ("<annotations><track id='0'/></annotations>", "tracks of a video; export it from CVAT"),
        ("<annotations><image>", "is no XML that can be read"),
        ("<html/>", "it is no export of CVAT"),
        (CVAT % '<mask label="a" rle="1" left="0" top="0" width="99" height="2"/>', "leaves its"),
        (
            CVAT % '<mask label="a" rle="3" left="0" top="0" width="1" height="2"/>',
            "run of 3 pixels",
        ),
        (CVAT % '<mask label="a" rle="x" left="0" top="0" width="1" height="2"/>', "run lengths"),
        (CVAT % '<polygon points="1,1;2,2"/>', "'label' is missing"),
        (CVAT % '<polygon label="a" points="1,1;2,a;3,3"/>', "'a', expected a finite number"),
        (CVAT.replace('height="13"', "") % "", "height, width and name of a picture"),
        (CVAT.replace('height="13"', 'height="99999999"') % "", "expected a number of pixels"),
        (
            CVAT.replace('width="17" height="13"', 'width="90000" height="90000"') % "",
            "90000x90000 pixels, expected at most",
        ),
        (
            CVAT % '<mask label="a" rle="0,2" left="0.5" top="0" width="1" height="2"/>',
            "of a mask are .0.5, 0.0, 1.0, 2.0., expected pixels",
        ),
    ],
)
def test_faults_of_cvat_are_one_line_that_names_the_file(tmp_path, text, message):
    path = tmp_path / "annotations.xml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        read_instances(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def yolo_folder(tmp_path, lines, **data):
    for folder in ("train/images", "train/labels"):
        (tmp_path / folder).mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (20, 10)).save(tmp_path / f"train/images/{name}.png")
    (tmp_path / "train/labels/a.txt").write_text(lines)
    data = {
        "path": "/of/another/machine",
        "train": "../train/images",
        "names": ["dog", "cat"],
    } | data
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "data.yaml"


def test_yolo_as_exporters_write_it(tmp_path):
    path = yolo_folder(tmp_path, "1 0.5 0.5 0.1 0.2\r\n0 0 0 0.5 0 0.5 1\n\n", nc=2)
    content = read_foreign(path, split="train")
    names = [image["file_name"] for image in content["images"]]
    assert names == ["train/images/a.png", "train/images/b.png"]  # b shows nothing
    box, polygon = content["annotations"]
    assert (box["name"], polygon["name"]) == ("cat", "dog")
    assert box["bbox"] == pytest.approx([9, 4, 2, 2])
    assert polygon["segmentation"] == [[0, 0, 10, 0, 10, 10]]


@pytest.mark.parametrize(
    ("lines", "data", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", {}, "a.txt.*line 1: class 2, expected 0 to 1"),
        ("0 0.5 0.5 0.1", {}, "3 values behind the class"),
        ("0 50 50 10 10", {}, "values from 10.0 to 50.0, expected 0 to 1"),
        ("0 a b c d", {}, "'a', expected a finite number"),
        ("", {"names": {1: "dog"}}, "'names' has the numbers .1., expected 0..K-1"),
        ("", {"names": "dog"}, "'names' is 'dog', expected a list"),
        ("", {"train": None, "val": "x"}, "has no 'train'; it has .'val'."),
        ("", {"train": "nowhere"}, "'train': there is no .*nowhere"),
        ("", {"train": 7}, "'train': got 7, expected a path or several"),
        ("", {"train": ["train/images", 7]}, "'train': got .*, expected a path or several"),
        (
            "",
            {"names": {0: "dog", "1": "cat"}},
            "'names' has the numbers .0, '1'., expected 0..K-1",
        ),
        ("", {"names": ["dog", "dog"]}, "'names' has 'dog' twice"),
        ("", {"nc": 3}, "'nc' is 3, but 2 names"),
        ("0 0.5 0.5 0.1 0.1 0.5 0.5", {"kpt_shape": [1, 2]}, "has 'kpt_shape': its lines hold"),
    ],
)
def test_faults_of_yolo_name_file_and_line(tmp_path, lines, data, message):
    path = yolo_folder(tmp_path, lines, **data)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_instances(path, foreign={"split": "train"}, image_root=tmp_path)


def test_the_last_folder_of_images_is_that_of_labels():
    assert label_file(Path("images/x/images/train/a.jpg")) == Path("images/x/labels/train/a.txt")
    assert label_file(Path("x/a.jpg")) == Path("x/a.txt")


def test_a_set_goes_round_all_programs(picture, tmp_path, monkeypatch):
    """From COCO through labelme, CVAT and YOLO: the same masks at the end, by registered names."""
    regions = [MASKS[0], MASKS[1]]
    write("coco", [picture(regions)], tmp_path / "coco")
    described = {
        "coco": {"kind": "coco", "annotations": "coco/instances.json"},
        "labelme": {"kind": "labelme", "annotations": "labelme"},
        "cvat": {"kind": "cvat", "annotations": "cvat/annotations.xml"},
        "yolo": {"kind": "yolo", "data": "yolo/data.yaml", "split": "val"},
    }
    before = "coco"
    for form, keys in described.items():
        if form != "yolo":
            keys["images"] = "pictures"
        name = f"{tmp_path.name}_{form}"
        if form != "coco":
            export_dataset(f"{tmp_path.name}_{before}", form, tmp_path / form, split="val")
        path = tmp_path / f"{form}.yaml"
        path.write_text(yaml.safe_dump({"sets": {name: keys}}))
        register_from_yaml(path)
        (record,) = load_dataset(name)
        masks = [decode_mask(a["segmentation"], HEIGHT, WIDTH) for a in record["annotations"]]
        for mask, region in zip(masks, regions, strict=True):
            assert (mask == region.bitmap(HEIGHT, WIDTH)).all(), form
        assert Path(record["file_name"]).is_file()
        before = form


def test_the_cleaned_copy_of_a_labelme_folder_is_coco_without_the_faults(tmp_path):
    shapes = [SHAPE, {**SHAPE, "label": " "}, {**SHAPE, "points": [[40, 40], [50, 40], [50, 50]]}]
    folder = labelme_folder(tmp_path, shapes=shapes)
    register_instances_of(folder, name := f"{tmp_path.name}_fix")
    checked = check_dataset(name)
    assert len(checked.faults) == 2
    done = write_cleaned(checked, tmp_path / "clean.json")
    assert (done["shapes and files left out"], done["annotations left out"]) == (1, 1)
    (annotation,) = read_instances(tmp_path / "clean.json", image_root=tmp_path).annotations
    assert (annotation.id, annotation.segmentation) == (1, [[1, 1, 6, 1, 6, 5]])


def register_instances_of(folder, name):
    path = folder.parent / "set.yaml"
    keys = {"kind": "labelme", "images": "pictures", "annotations": folder.name}
    path.write_text(yaml.safe_dump({"sets": {name: keys}}))
    register_from_yaml(path)


def test_a_folder_in_use_is_not_written_to(picture, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(FileExistsError, match="out is there already; remove it or name another"):
        export_dataset("any", "coco", tmp_path / "out")


def test_another_list_of_classes_is_not_mixed_into_a_yolo_folder(picture, tmp_path):
    write("yolo", [picture(MASKS)], tmp_path)
    with pytest.raises(ValueError, match="data.yaml has the classes"):
        write_yolo([picture(MASKS)], tmp_path, ["sky", "машина"], "train")


def test_an_export_that_is_refused_leaves_nothing_behind(picture, tmp_path):
    regions = [Region("sky", mask=encode_mask(ring())), Region("машина", mask=encode_mask(ring()))]
    write("coco", [picture(regions)], tmp_path / "coco")
    path = tmp_path / "coco.yaml"
    keys = {"kind": "coco", "images": "pictures", "annotations": "coco/instances.json"}
    path.write_text(yaml.safe_dump({"sets": {f"{tmp_path.name}_overlap": keys}}))
    register_from_yaml(path)
    with pytest.raises(ValueError, match="overlap"):
        export_dataset(f"{tmp_path.name}_overlap", "panoptic", tmp_path / "out")
    assert not (tmp_path / "out").exists()
