"""What export_dataset writes, where, under which names, and what it refuses before it writes."""

import json

import numpy as np
import pytest
from detectron2.data.catalog import Metadata
from PIL import Image

from segplugins.data import export
from segplugins.data.export import FORMS, export_dataset
from segplugins.structures.regions import Region, encode_mask
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

HEIGHT, WIDTH = 4, 6
register_vocabulary(Vocabulary("test_export", ("sky", "dog", "ant"), is_thing=(False, True, True)))


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Makes records of pictures the data set of any name."""

    def make(regions_by_name, size=True, **metadata):
        records = []
        for name, regions in regions_by_name.items():
            path = tmp_path / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT)).save(path)
            sides = {"height": HEIGHT, "width": WIDTH} if size else {}
            records.append({"file_name": str(path), "regions": regions, **sides})
        monkeypatch.setattr(export, "load_dataset", lambda name: records)
        monkeypatch.setattr(export, "dataset_metadata", lambda name: Metadata(**metadata))
        return tmp_path / "out"

    return make


def region(text="dog", y=0, x=0, **more):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y, x] = True
    return Region(text, mask=encode_mask(mask), **more)


def coco(out, **options):
    export_dataset("any", "coco", out, **options)
    return json.loads((out / "instances.json").read_text())


def test_the_classes_are_those_of_the_vocabulary_in_its_order(given):
    file = coco(given({"a.png": [region("dog")]}, vocabulary="test_export"))
    classes = [(each["id"], each["name"], each["isthing"]) for each in file["categories"]]
    assert classes == [(1, "sky", 0), (2, "dog", 1), (3, "ant", 1)]
    assert file["annotations"][0]["category_id"] == 2


def test_free_texts_are_classes_in_the_order_of_the_alphabet(given):
    regions = {"a.png": [region("sky", is_thing=False)], "b.png": [region("ant")]}
    file = coco(given(regions, vocabulary=None))
    classes = [(each["name"], each["isthing"]) for each in file["categories"]]
    assert classes == [("ant", 1), ("sky", 0)]


@pytest.mark.parametrize(
    ("root", "names"),
    [
        (None, ["a.png", "deep/b.png"]),  # the folder that all have in common
        ("pictures", ["left/a.png", "left/deep/b.png"]),
        ("pictures/left/deep", ["a.png", "deep/b.png"]),  # not all pictures are there
        ("pictures/lef", ["a.png", "deep/b.png"]),  # the beginning of a name is no folder
    ],
)
def test_pictures_are_named_from_the_root_of_the_set_if_all_are_there(given, tmp_path, root, names):
    metadata = {} if root is None else {"image_root": str(tmp_path / root)}
    file = coco(given({"left/a.png": [], "left/deep/b.png": []}, **metadata))
    assert [each["file_name"] for each in file["images"]] == names


def test_sizes_come_from_the_pictures_where_records_have_none(given):
    (image,) = coco(given({"a.png": []}, size=False))["images"]
    assert (image["height"], image["width"]) == (HEIGHT, WIDTH)


def test_progress_is_told_before_every_picture_and_at_the_end(given):
    steps = []
    coco(given({"a.png": [], "b.png": []}), advance=lambda done, total: steps.append((done, total)))
    assert steps == [(0, 2), (1, 2), (2, 2)]


def test_a_set_without_pictures_is_an_empty_file(given):
    assert coco(given({})) == {"images": [], "annotations": [], "categories": []}


def test_two_pictures_of_one_stem_are_refused(given):
    out = given({"a.png": [], "a.jpg": []})
    with pytest.raises(ValueError, match="a.jpg has several records, or a picture of the same na"):
        coco(out)


@pytest.mark.parametrize(
    ("form", "split", "message"),
    [
        ("voc", "train", "form is 'voc', expected one of coco, cvat, labelme, panoptic, yolo"),
        ("yolo", "dev", "split is 'dev', expected one of train, val, test"),
    ],
)
def test_a_form_or_split_that_does_not_exist_is_refused(given, form, split, message):
    out = given({"a.png": []})
    with pytest.raises(ValueError, match=message):
        export_dataset("any", form, out, split=split)
    assert not out.exists()


PLACES = {
    "coco": ["instances.json"],
    "cvat": ["annotations.xml"],
    "labelme": ["a.json"],
    "panoptic": ["panoptic.json", "panoptic/a.png"],
    "yolo": ["data.yaml", "images/val/a.png", "labels/val/a.txt"],
}


def files_of(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_writes_its_files_and_pictures_if_asked(given, form):
    out = given({"a.png": [region()]})
    done = export_dataset("any", form, out, split="val")
    assert files_of(out) == PLACES[form] and done["objects"] == 1
    copied = export_dataset("any", form, out.with_name("copied"), split="val", copy_images=True)
    picture = {"labelme": ["a.png"], "yolo": []}.get(form, ["images/a.png"])
    assert files_of(out.with_name("copied")) == sorted([*PLACES[form], *picture])
    assert copied == done


def test_the_default_split_of_yolo_is_train(given):
    out = given({"a.png": []}, vocabulary="test_export")
    export_dataset("any", "yolo", out)
    assert (out / "labels/train/a.txt").is_file()


def test_overlaps_of_panoptic_files_are_covered_only_if_asked(given):
    out = given({"a.png": [region("dog"), region("ant")]})
    with pytest.raises(ValueError, match="'ant' and 'dog' overlap"):
        export_dataset("any", "panoptic", out)
    done = export_dataset("any", "panoptic", out.with_name("covered"), cover=True)
    assert done["objects that others cover, left out"] == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_in_use_is_refused_and_an_empty_one_is_not(given, form):
    out = given({"a.png": []}, vocabulary="test_export")
    out.mkdir()
    export_dataset("any", form, out, split="val")
    with pytest.raises(FileExistsError, match="is there already; remove it or name another folder"):
        export_dataset("any", form, out, split="val")


@pytest.mark.parametrize("folder", ["labels", "images"])
def test_a_split_of_yolo_that_is_there_in_part_is_refused(given, folder):
    out = given({"a.png": []}, vocabulary="test_export")
    export_dataset("any", "yolo", out, split="val")
    export_dataset("any", "yolo", out, split="test")
    (out / folder / "train").mkdir()
    with pytest.raises(FileExistsError, match=f"{folder}/train is there already"):
        export_dataset("any", "yolo", out, split="train")


def test_a_file_in_place_of_the_folder_is_refused(given):
    out = given({"a.png": []}, vocabulary="test_export")
    out.write_text("")
    with pytest.raises(FileExistsError, match="out is there already"):
        export_dataset("any", "yolo", out)


def test_a_yolo_set_without_classes_is_refused_since_no_program_reads_it(given):
    out = given({"a.png": []})
    with pytest.raises(ValueError, match="no class to write to .*out: a data file of YOLO needs"):
        export_dataset("any", "yolo", out)
    assert files_of(out) == []


def test_coco_names_the_classes_with_unannotated_objects(given):
    out = given({"a.png": [region("dog")], "b.png": []}, vocabulary="test_export")
    records = export.load_dataset("any")
    records[0]["not_exhaustive_classes"] = [0, 2]
    first, second = coco(out)["images"]
    assert first["not_exhaustive_category_ids"] == [1, 3]
    assert "not_exhaustive_category_ids" not in second
    done = export_dataset("any", "yolo", out.parent / "yolo")
    assert done["names with unannotated objects left out"] == 2


def test_free_texts_of_unannotated_objects_are_classes_if_some_object_is_one(given):
    out = given({"a.png": [region("dog"), region("ant", x=3)]}, vocabulary=None)
    export.load_dataset("any")[0]["not_exhaustive"] = ["dog", "cow"]
    assert coco(out)["images"][0]["not_exhaustive_category_ids"] == [2]
