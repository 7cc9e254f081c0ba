import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from segplugins.data import (
    register_instances,
    register_panoptic,
    register_regions,
    register_semantic,
)
from segplugins.data.check import check_dataset, write_cleaned
from segplugins.structures.regions import Task

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[2] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


def test_a_cleaned_copy_has_no_fault_and_keeps_what_was_right(root, instances, content, save):
    first, second, third = content["annotations"]
    first["bbox"] = [1, 1, 0, 4]  # mended from its mask
    second["segmentation"] = {"size": [8, 10], "counts": [5]}  # left out
    third["segmentation"] = [small.SQUARE, [1, 2, 3, 4]]  # only this polygon is left out
    content["images"][2]["width"] = 11  # left out
    content["annotations"].append({**third, "id": 14, "category_id": 99})  # left out
    checked = check_dataset(instances(content))
    before = (root / "small.json").read_bytes()
    done = write_cleaned(checked, root / "clean.json")
    assert (root / "small.json").read_bytes() == before
    assert not list(root.glob("*.part"))
    assert done["images left out"] == 1 and done["annotations left out"] == 2
    assert done["boxes and areas made from masks"] == 1
    register_instances("clean", json_file="clean.json", image_root="images")
    again = check_dataset("clean")
    assert again.findings.faults == []
    cleaned = json.loads((root / "clean.json").read_text())
    assert [image["id"] for image in cleaned["images"]] == [1, 2]
    assert [a["id"] for a in cleaned["annotations"]] == [11, 13]
    assert cleaned["annotations"][0] == {**first, "bbox": [1, 1, 4, 4]}  # the square by hand
    assert cleaned["annotations"][1]["segmentation"] == [small.SQUARE]


def test_a_cleaned_set_without_a_fault_is_the_same(root, instances, content):
    assert write_cleaned(check_dataset(instances(content)), root / "clean.json") == {}
    assert json.loads((root / "clean.json").read_text()) == content


def test_a_box_that_lies_outside_is_made_anew_from_its_mask(root, instances, content):
    content["annotations"][1]["bbox"] = [50, 50, 6, 2]
    write_cleaned(check_dataset(instances(content)), root / "clean.json")
    annotations = json.loads((root / "clean.json").read_text())["annotations"]
    assert annotations[1]["bbox"] == [2, 2, 6, 2] and len(annotations) == 3


def test_the_areas_of_a_cleaned_panoptic_file_are_those_of_the_map(root, panoptic):
    def change(content, ids):
        content["annotations"][0]["segments_info"][0]["area"] = 1

    write_cleaned(check_dataset(panoptic(change)), root / "clean.json")
    segments = json.loads((root / "clean.json").read_text())["annotations"][0]["segments_info"]
    assert [segment["area"] for segment in segments] == [40, 20]
    register_panoptic("clean", json_file="clean.json", map_root="maps", image_root="images")
    assert check_dataset("clean").findings.faults == []


def test_an_empty_set_is_never_written(root, panoptic):
    checked = check_dataset(panoptic(lambda content, ids: ids.__setitem__((7, 9), 17)))
    with pytest.raises(
        ValueError, match="without its . faults nothing that can be learned is left of .*small.json"
    ):
        write_cleaned(checked, root / "clean.json")
    assert not (root / "clean.json").exists()


def test_refs_of_faulty_annotations_are_left_out(root, referring, content):
    content["annotations"][0]["segmentation"] = {"size": [8, 10], "counts": [5]}
    refs = [small.ref(1, 11, "a cat"), small.ref(2, 12, "a dog", " "), small.ref(3, [-1], "a cow")]
    refs.append(small.ref(4, 13, "another dog", image=2, split="val"))
    write_cleaned(check_dataset(referring(refs, content)), root / "clean.json")
    cleaned = json.loads((root / "clean.json").read_text())
    assert [ref["ref_id"] for ref in cleaned] == [2, 3, 4]  # other splits stay
    assert [sentence["raw"] for sentence in cleaned[0]["sentences"]] == ["a dog"]


def test_faulty_regions_and_lines_are_left_out(root, lines):
    wrong = {"size": [8, 10], "counts": [5]}
    name = lines(
        small.line(1, ("", None), ("a", None, wrong), ("b", None, small.rle())),
        "{not json",
        {"error": "no answer", "file_name": "9.png"},
        small.line(2, ("c", [1, 1, 5, 5]), width=11),
        small.line(3, ("d", [1, 1, 5, 5])),
    )
    done = write_cleaned(check_dataset(name), root / "clean.jsonl")
    assert done == {"lines left out": 2, "regions left out": 2}
    cleaned = [json.loads(line) for line in (root / "clean.jsonl").read_text().splitlines()]
    assert [record["file_name"] for record in cleaned] == ["1.png", "9.png", "3.png"]
    assert [region["text"] for region in cleaned[0]["regions"]] == ["b"]
    register_regions("clean", lines="clean.jsonl", image_root="images", task=Task.REFERRING)
    assert check_dataset("clean").findings.faults == []


def test_nothing_is_ever_written_over(root, instances, content):
    checked = check_dataset(instances(content))
    link = root / "link.json"
    link.symlink_to(root / "small.json")
    for out in (root / "small.json", link, root / "images" / ".." / "small.json"):
        with pytest.raises(ValueError, match="is the original; name another file"):
            write_cleaned(checked, out)
    (root / "there.json").write_text("precious")
    with pytest.raises(FileExistsError, match="is there already"):
        write_cleaned(checked, root / "there.json")
    with pytest.raises(FileNotFoundError, match="no folder"):
        write_cleaned(checked, root / "nowhere" / "clean.json")


def test_a_set_of_folders_has_nothing_to_clean(root, save):
    save(root / "images/a.jpg", np.zeros((2, 3, 3), np.uint8))
    save(root / "labels/a.png", np.zeros((2, 3), np.uint8))
    register_semantic("folders", image_root="images", label_root="labels", vocabulary=["x"])
    with pytest.raises(ValueError, match="'folders' has no annotation file to clean"):
        write_cleaned(check_dataset("folders"), root / "clean.json")


def test_a_copy_is_not_written_where_pictures_take_the_last_object(root, instances, content):
    content["annotations"][0]["iscrowd"] = content["annotations"][1]["iscrowd"] = 1
    content["images"][1]["width"] = 11  # of the only object; the picture shows 10
    with pytest.raises(ValueError, match="nothing that can be learned is left of"):
        write_cleaned(check_dataset(instances(content)), root / "clean.json")
    assert not (root / "clean.json").exists()


def test_refs_that_mean_nothing_are_no_copy(root, referring):
    refs = [small.ref(1, [-1], "a cow"), small.ref(2, 11, "a cat", split=3)]
    with pytest.raises(ValueError, match="--fix .* is not written"):
        write_cleaned(check_dataset(referring(refs)), root / "clean.json")
    refs[1] = small.ref(2, 12, "a dog")
    content = small.coco()
    content["annotations"][1]["segmentation"]["counts"] = [5]
    with pytest.raises(ValueError, match="--fix .* is not written"):
        write_cleaned(check_dataset(referring(refs, content)), root / "clean.json")


@pytest.mark.parametrize("kind", ["instances", "panoptic", "lines"])
def test_a_copy_that_keeps_only_crowds_is_not_written(kind, request, root):
    write = request.getfixturevalue(kind)
    if kind == "instances":
        content = small.coco()
        for annotation, crowd in zip(content["annotations"], (1, 0, 1)):
            annotation["iscrowd"] = crowd
        content["annotations"][1]["category_id"] = 99  # the only object is at fault
        name, file = write(content), "small.json"
    elif kind == "panoptic":

        def change(content, ids):
            first, second = content["annotations"][0]["segments_info"]
            first["iscrowd"], second["category_id"] = 1, 99
            ids[6:] = 0  # so that the picture itself is without fault

        name, file = write(change), "small.json"
    else:
        crowd = small.line(1, ("a cat", [1, 1, 5, 5]))
        crowd["regions"][0]["extra"] = {"iscrowd": 1}
        name, file = write(crowd, small.line(2, ("", [1, 1, 5, 5]))), "small.jsonl"
    before = (root / file).read_bytes()
    with pytest.raises(ValueError, match="--fix .* is not written"):
        write_cleaned(check_dataset(name), root / "clean.json")
    assert not (root / "clean.json").exists() and (root / file).read_bytes() == before
