"""One value, written as programs write it, is read as one value; what is wrong is named."""

import copy
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segplugins.files.coco import read_instances
from segplugins.files.coco_panoptic import read_panoptic
from segplugins.files.faults import Collect, FaultError, Skip
from segplugins.structures.vocabulary import Vocabulary

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[1] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


@pytest.fixture
def read(tmp_path):
    """Writes a file and reads it with its pictures, collecting faults."""
    for number in (1, 2, 3):
        pixels = np.full((8, 10, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")

    def run(content, policy=None, **options):
        (tmp_path / "set.json").write_text(json.dumps(content))
        policy = Collect() if policy is None else policy
        file = read_instances(tmp_path / "set.json", policy, image_root=tmp_path, **options)
        return file, policy

    return run


def plain(file):
    """The content of a file that was read, without what only messages need."""
    return (
        [(image.id, image.file_name, image.size) for image in file.images.values()],
        [(category.id, category.name) for category in file.categories],
        [
            (a.id, a.image_id, a.category_id, a.iscrowd, a.bbox, a.area, a.segmentation)
            for a in file.annotations
        ],
    )


def each(content, key, **changes):
    for entry in content[key]:
        for name, change in changes.items():
            if name in entry:
                entry[name] = change(entry[name])


def in_pairs(mask):
    return mask if isinstance(mask, dict) else [np.reshape(p, (-1, 2)).tolist() for p in mask]


def in_a_list(mask):
    return [mask] if isinstance(mask, dict) else mask


CHANGES = {
    "float ids": lambda c: each(c, "annotations", id=float, image_id=float, category_id=float),
    "text ids": lambda c: each(c, "annotations", id=str, image_id=str, category_id=str),
    "text ids of images": lambda c: each(c, "images", id=str),
    "text ids of categories": lambda c: each(c, "categories", id=str),
    "crowds as text": lambda c: each(c, "annotations", iscrowd=lambda v: str(v)),
    "crowds as words": lambda c: each(c, "annotations", iscrowd=lambda v: str(bool(v))),
    "crowds as truth values": lambda c: each(c, "annotations", iscrowd=bool),
    "crowds as null": lambda c: each(c, "annotations", iscrowd=lambda v: None),
    "points in pairs": lambda c: each(c, "annotations", segmentation=in_pairs),
    "RLE in a list": lambda c: each(c, "annotations", segmentation=in_a_list),
    "sizes as text": lambda c: each(c, "images", height=str, width=str),
    "sizes as floats": lambda c: each(c, "images", height=float, width=float),
    "sizes null": lambda c: each(c, "images", height=lambda v: None, width=lambda v: None),
    "boxes as text": lambda c: each(c, "annotations", bbox=lambda b: list(map(str, b))),
    "areas as text": lambda c: each(c, "annotations", area=str),
    "dots": lambda c: each(c, "images", file_name=lambda v: "./" + v),
    "spaces": lambda c: each(c, "categories", name=lambda v: f" {v} "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_form_of_a_value_is_read_as_the_plain_one(read, change):
    expected = plain(read(small.coco())[0])
    content = small.coco()
    CHANGES[change](content)
    assert json.dumps(content) != json.dumps(small.coco())
    file, policy = read(content)
    assert plain(file) == expected and policy.faults == []


def test_missing_sizes_are_those_of_the_pictures(read, tmp_path):
    content = small.coco()
    for image in content["images"]:
        del image["height"], image["width"]
    exif = Image.Exif()
    exif[274] = 6  # on its side
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "3.jpg", exif=exif)
    content["images"][2]["file_name"] = "3.jpg"
    file, policy = read(content)
    assert [image.size for image in file.images.values()] == [(8, 10), (8, 10), (10, 8)]
    (tmp_path / "1.png").unlink()
    _, policy = read(content)
    fault = policy.faults[0]
    assert fault.kind == "image-size" and "no picture" in fault.message and fault.record == "1"


@pytest.mark.parametrize("segmentation", [None, [], {}, [[]]])
def test_an_object_without_mask_has_its_box(read, segmentation):
    content = small.coco()
    for annotation in content["annotations"]:
        annotation["segmentation"] = segmentation
    file, policy = read(content)
    assert [a.segmentation for a in file.annotations] == [None] * 3 and policy.faults == []


def test_boxes_and_areas_may_be_missing(read):
    content = small.coco()
    for annotation in content["annotations"]:
        del annotation["bbox"], annotation["area"]
    file, policy = read(content)
    assert {(a.bbox, a.area) for a in file.annotations} == {(None, None)} and not policy.faults


@pytest.mark.parametrize("shift, faulty", [(2, False), (2.5, True)])
def test_a_box_may_differ_from_its_mask_by_two_pixels(read, shift, faulty):
    content = small.coco()
    content["annotations"][0]["bbox"] = [1, 1, 4 + shift, 4]  # the mask has 1, 1, 4, 4
    file, policy = read(content)
    assert [fault.kind for fault in policy.faults] == ["box"] * faulty
    assert (file.annotations[0].bbox is None) is faulty
    if faulty:
        assert "bbox is [1, 1, 6.5, 4] (x, y, w, h), the mask has [1, 1, 4, 4]" in str(
            policy.faults[0]
        )


def test_the_box_of_an_rle_is_found_in_its_runs(read):
    for rows, columns in ((slice(2, 4), slice(2, 8)), (slice(0, 8), slice(3, 4))):
        mask = np.zeros((8, 10), bool)
        mask[rows, columns] = True
        content = small.coco()
        x, y = columns.start, rows.start
        box = [x, y, columns.stop - x, rows.stop - y]
        content["annotations"][1].update(segmentation=small.encode_mask(mask), bbox=box)
        assert read(content)[1].faults == []
        content["annotations"][1]["bbox"] = [x - 2.5, y, *box[2:]]
        assert [fault.kind for fault in read(content)[1].faults] == ["box"]


def test_a_polygon_of_two_points_beside_others_is_left_out_with_a_remark(read):
    content = small.coco()
    content["annotations"][0]["segmentation"] = [small.SQUARE, [1, 1, 2, 2]]
    file, policy = read(content)
    assert file.annotations[0].segmentation == [small.SQUARE]
    assert [(fault.kind, fault.remark) for fault in policy.faults] == [("polygon", True)]


def test_coordinates_between_0_and_1_are_refused(read):
    content = small.coco()
    for annotation in content["annotations"]:
        annotation.update(bbox=[0.1, 0.1, 0.4, 0.5], segmentation=[[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]])
    file, policy = read(content)
    assert file.annotations == []
    assert "lie within 0 and 1: multiply x by the width" in policy.faults[-1].message


def test_a_root_category_without_annotations_is_left_out_with_a_remark(read):
    content = small.coco()
    content["categories"].insert(0, {"id": 0, "name": "cat", "supercategory": "none"})
    file, policy = read(content)
    assert [category.id for category in file.categories] == [7, 9]
    [remark] = policy.faults
    assert remark.remark and "category 0 'cat' only groups others" in remark.message
    content["categories"][0]["name"] = "pets"
    for category in content["categories"][1:]:
        category["supercategory"] = "pets"
    assert [category.id for category in read(content)[0].categories] == [7, 9]
    # A vocabulary that names it makes it a class, which this file does not show.
    words = Vocabulary("words", ("cat", "dog", "pets"))
    assert len(read(content, vocabulary=words)[0].categories) == 3


def test_categories_that_differ_only_by_case_are_a_fault(read):
    content = small.coco()
    content["categories"][1]["name"] = "CAT"
    with pytest.raises(FaultError, match="category 9 has the name 'CAT' of category 7"):
        read(content, Strict())


class Strict:
    def report(self, fault):
        if not fault.remark:
            raise FaultError(fault)


def test_annotations_without_ids_are_numbered_with_a_remark(read):
    content = small.coco()
    del content["annotations"][0]["id"]
    content["annotations"][1]["id"] = None
    file, policy = read(content)
    assert [a.id for a in file.annotations] == [14, 15, 13]  # behind the largest, 13
    assert [fault.remark for fault in policy.faults] == [True]


def test_skipping_counts_and_goes_on_with_what_is_right(read):
    content = small.coco()
    content["annotations"][0]["category_id"] = 8
    content["annotations"][1]["bbox"] = [0, 0, 1, 1]
    file, policy = read(content, Skip())
    assert policy.counts == {"unknown-id": 1, "box": 1}
    assert [a.id for a in file.annotations] == [12, 13]


@pytest.mark.parametrize("change", ["string ids", "no file_name", "no area", "wrong area"])
def test_relatives_in_panoptic_files(tmp_path, change):
    segments = [{"id": 5, "category_id": 7, "area": 20}, {"id": 6, "category_id": 9, "area": 4}]
    entry = {"image_id": 1, "file_name": "1.png", "segments_info": segments}
    content = {
        "images": small.coco()["images"][:1],
        "categories": [
            {"id": 7, "name": "cat", "isthing": 1},
            {"id": 9, "name": "a", "isthing": 0},
        ],
        "annotations": [entry],
    }
    changed = copy.deepcopy(content)
    entry = changed["annotations"][0]
    if change == "string ids":
        entry["image_id"] = "1"
        for segment in entry["segments_info"]:
            segment.update(id=str(segment["id"]), category_id=float(segment["category_id"]))
            segment["iscrowd"] = "0"
        changed["categories"][0]["isthing"] = "1"
    elif change == "no file_name":
        del entry["file_name"]
    else:
        for segment in entry["segments_info"]:
            segment.update({"area": None if change == "no area" else -1})
    path = tmp_path / "set.json"
    path.write_text(json.dumps(changed))
    policy = Collect()
    file = read_panoptic(path, policy)
    [annotation] = file.annotations
    assert annotation.file_name == "1.png" and annotation.image_id == 1
    found = [(s["id"], s["category_id"], s.get("area")) for s in annotation.segments_info]
    has_area = change in ("string ids", "no file_name")
    assert found == [(5, 7, 20 if has_area else None), (6, 9, 4 if has_area else None)]
    assert [fault.kind for fault in policy.faults] == ["area"] * 2 * (change == "wrong area")
    assert [category.isthing for category in file.categories] == [True, False]


def test_a_crowd_that_is_no_flag_names_its_field(tmp_path):
    segments = [{"id": 5, "category_id": 7, "iscrowd": "crowd"}]
    content = {
        "images": small.coco()["images"][:1],
        "categories": [{"id": 7, "name": "cat", "isthing": 1}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
    }
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="segment 5: iscrowd is 'crowd', expected 0 or 1"):
        read_panoptic(path)


def panoptic_content():
    segments = [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 9}]
    return {
        "images": small.coco()["images"][:2],
        "categories": [
            {"id": 7, "name": "cat", "isthing": 1},
            {"id": 9, "name": "sky", "isthing": 0},
        ],
        "annotations": [
            {"image_id": 1, "file_name": "1.png", "segments_info": segments},
            {"image_id": 2, "file_name": "2.png", "segments_info": segments},
        ],
    }


def test_things_of_a_vocabulary_are_those_of_the_panoptic_file(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(panoptic_content()))
    right = Vocabulary("v", ("sky", "Cat"), is_thing=(False, True))
    assert [c.isthing for c in read_panoptic(path, vocabulary=right).categories] == [True, False]
    bare = Vocabulary("v", ("sky", "cat"))  # a list of names: all of them stuff
    with pytest.raises(FaultError, match=r"category 7: 'cat' is a thing in the file and stuff in"):
        read_panoptic(path, vocabulary=bare)
    turned = Vocabulary("v", ("sky", "cat"), is_thing=(True, False))
    policy = Collect()
    file = read_panoptic(path, policy, vocabulary=turned)
    assert [fault.field for fault in policy.faults] == ["category 7", "category 9"]
    assert "{name: sky, thing: false}" in policy.faults[1].message
    assert [category.isthing for category in file.categories] == [False, True]


def test_two_images_do_not_share_a_panoptic_map(tmp_path):
    content = panoptic_content()
    content["annotations"][1]["file_name"] = "1.png"
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    policy = Collect()
    file = read_panoptic(path, policy)
    assert [annotation.image_id for annotation in file.annotations] == [1]
    assert "the map 1.png is that of image 1 already" in policy.faults[0].message


def test_a_size_that_no_picture_can_have_is_a_fault_before_a_mask_is_made(tmp_path):
    content = small.coco()
    content["images"][0].update(height=200_000, width=200_000)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FaultError, match="200000x200000 pixels, expected at most 150000000"):
        read_instances(path)


def test_a_category_of_half_a_character_is_a_fault(tmp_path):
    content = small.coco()
    content["categories"][0]["name"] = "a\ud800"
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FaultError, match="which is no Unicode text"):
        read_instances(path)
