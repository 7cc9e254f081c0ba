import importlib.util
import json
from pathlib import Path

import pytest

from segplugins.data import load_dataset
from segplugins.data.check import load_by_policy, load_with_faults

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[2] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


def broken(content, path, value):
    """Sets a value deep in a file; a path such as ("annotations", 0, "bbox")."""
    *above, last = path
    for key in above:
        content = content[key]
    if isinstance(content, list) and last == len(content):
        content.append(value)
    else:
        content[last] = value


def test_a_set_without_a_fault_loads_as_it_always_does(instances, content):
    name = instances(content)
    loaded = load_with_faults(name)
    assert loaded.faults == [] and loaded.records == load_dataset(name)
    assert loaded.source.kind == "instances" and loaded.source.path.endswith("small.json")


@pytest.mark.parametrize(
    "path, value, kind, message, left",
    [
        # left: annotations per image that are still there
        (("images", 0, "id"), 2, "id", "image: id 2 stands twice", {2: 1, 3: 0}),
        (("images", 0, "id"), [1], "id", "image: no id", None),
        (("images", 0), "x", "form", "expected a mapping", None),
        (("images", 0, "height"), 0, "image-size", "'height': 0", None),
        (("images", 0, "width"), 10**9, "image-size", "'width'", None),
        (("images", 0, "file_name"), 5, "path", "got 5, expected the path", None),
        (("images", 1, "file_name"), "1.png", "id", "is image 1 already", {1: 3, 3: 0}),
        (("categories", 0, "id"), None, "id", "category without an id", None),
        (("categories", 1, "id"), 7, "id", "category id 7 stands twice", None),
        (("categories", 1, "name"), "", "name", "category 9 has the name ''", None),
        (("categories", 1, "name"), "Cat", "name", "of category 7", {1: 2, 2: 1, 3: 0}),
        (("annotations", 0, "image_id"), 99, "unknown-id", "image_id 99", {1: 1, 2: 1, 3: 0}),
        (("annotations", 0, "image_id"), {}, "unknown-id", "image_id", {1: 1, 2: 1, 3: 0}),
        (("annotations", 0, "category_id"), 8, "unknown-id", "category_id 8", {1: 1, 2: 1, 3: 0}),
        (("annotations", 0, "iscrowd"), "no", "form", "iscrowd is 'no'", {1: 1, 2: 1, 3: 0}),
        (("annotations", 1, "id"), 11, "id", "annotation id 11 stands twice", {1: 2, 2: 1, 3: 0}),
        (
            ("annotations", 0, "bbox"),
            [1, 1, 0, 4],
            "box",
            "the mask has [1, 1, 4, 4]",
            {1: 2, 2: 1, 3: 0},
        ),
        (
            ("annotations", 0, "bbox"),
            [1, 1, -3, 4],
            "box",
            "the mask has [1, 1, 4, 4]",
            {1: 2, 2: 1, 3: 0},
        ),
        (("annotations", 0, "bbox"), [1, 1, float("nan"), 4], "box", "finite", {1: 2, 2: 1, 3: 0}),
        (("annotations", 0, "bbox"), "x", "box", "expected 4", {1: 2, 2: 1, 3: 0}),
        (("annotations", 0, "area"), -1, "area", "area is -1", {1: 2, 2: 1, 3: 0}),
        (("annotations", 0, "segmentation"), [[1, 2, 3, 4]], "polygon", "4 values", {1: 1, 2: 1}),
        (("annotations", 0, "segmentation"), [5], "polygon", "of 1 values", {1: 1, 2: 1, 3: 0}),
        (("annotations", 0, "segmentation"), "x", "polygon", "an RLE or polygons", {1: 1, 2: 1}),
        (("annotations",), 5, "form", "'annotations' is 5", {1: 0, 2: 0, 3: 0}),
        (("annotations", 3), None, "form", "expected a mapping", {1: 2, 2: 1, 3: 0}),
    ],
)
def test_every_fault_of_an_instance_file_is_told_and_the_rest_is_loaded(
    instances, content, path, value, kind, message, left
):
    broken(content, path, value)
    loaded = load_with_faults(instances(content))
    first = loaded.faults[0]
    assert first.kind == kind and message in first.message
    assert first.file.endswith("small.json") and not first.remark
    found = {r["image_id"]: len(r["annotations"]) for r in loaded.records}
    assert found, "nothing was loaded"
    if left is not None:
        assert {key: found[key] for key in left} == left


def test_an_image_that_is_taken_out_takes_its_annotations_along(instances, content):
    content["images"][0]["height"] = -1
    loaded = load_with_faults(instances(content))
    assert [r["image_id"] for r in loaded.records] == [2, 3]
    # One fault for the image, and one for each of its two annotations.
    assert [fault.kind for fault in loaded.faults] == ["image-size", "unknown-id", "unknown-id"]


def test_unknown_class_names_are_told_where_the_vocabulary_is_given(instances, content):
    content["categories"][1]["name"] = "wolf"
    loaded = load_with_faults(instances(content, vocabulary=["cat", "dog"]))
    assert "category 9 'wolf' is none of the 2 classes" in loaded.faults[0].message
    assert [len(r["annotations"]) for r in loaded.records] == [1, 0, 0]


def test_a_path_outside_the_folder_of_images_is_a_fault(instances, content):
    content["images"][0]["file_name"] = "../../secret.png"
    fault, *others = load_with_faults(instances(content)).faults
    assert fault.kind == "path" and "leaves the folder of the set" in fault.message
    assert fault.record == "1" and fault.file.endswith("small.json")
    assert {other.kind for other in others} == {"unknown-id"}  # its two annotations


def test_a_file_that_is_no_json_is_a_fault_and_not_the_end(root, instances, content):
    name = instances(content)
    (root / "small.json").write_text('{"images": [')
    loaded = load_with_faults(name)
    assert loaded.records == [] and "is not readable" in loaded.faults[0].message
    (root / "small.json").write_text("[" * 100_000)
    assert "is not readable" in load_with_faults(name).faults[0].message


def test_a_missing_folder_and_an_unknown_name_are_errors_of_the_call(root, instances, content):
    name = instances(content)
    (root / "small.json").unlink()
    with pytest.raises(FileNotFoundError, match="no file .*small.json"):
        load_with_faults(name)
    with pytest.raises(KeyError, match="no data set 'smal' is registered.*small"):
        load_with_faults("smal")


def test_another_number_of_records_than_expected_is_a_fault(instances, content):
    loaded = load_with_faults(instances(content, expected=4))
    assert [fault.kind for fault in loaded.faults] == ["count"] and len(loaded.records) == 3
    assert "has 3 records, expected 4" in loaded.faults[0].message


@pytest.mark.parametrize(
    "change, kind, message",
    [
        (lambda c: c["annotations"].append(c["annotations"][0]), "id", "two lists of segments"),
        (lambda c: c["annotations"][0].update(image_id=4), "unknown-id", "image_id 4"),
        (lambda c: c["annotations"][0].update(file_name=5), "path", "the path of the file"),
        (lambda c: c["categories"][0].update(isthing=None), "form", "isthing is None"),
        (lambda c: segments(c)[0].update(id=0), "id", "segment id 0, expected 1 to 16777215"),
        (lambda c: segments(c)[0].update(id=5), "id", "segment id 5 stands twice"),
        (lambda c: segments(c)[0].update(category_id=8), "unknown-id", "category_id 8"),
    ],
)
def test_every_fault_of_a_panoptic_file_is_told(panoptic, change, kind, message):
    loaded = load_with_faults(panoptic(lambda content, ids: change(content)))
    assert loaded.faults[0].kind == kind and message in loaded.faults[0].message


def segments(content):
    return content["annotations"][0]["segments_info"]


@pytest.mark.parametrize(
    "wrong, kind, message",
    [
        (small.ref(1, 99, "a cat"), "unknown-id", "annotation 99, which is not listed"),
        (small.ref(1, 13, "a cat"), "unknown-id", "annotation 13 is of another image"),
        (small.ref(1, 11, "a cat", image=77), "unknown-id", "image_id 77"),
        (small.ref(None, 11, "a cat"), "id", "without a ref_id"),
        (small.ref(2, 11, "a cat"), "id", "ref_id 2 stands twice"),
        (small.ref(1, 11, " "), "sentence", "the sentence 'raw' is ' '"),
        (small.ref(1, 11), "sentence", "no sentence at all"),
        (small.ref(1, 11, "a cat", split=None), "form", "split is None"),
    ],
)
def test_every_fault_of_referring_expressions_is_told(referring, wrong, kind, message):
    loaded = load_with_faults(referring([small.ref(2, 12, "a dog"), wrong]))
    fault = loaded.faults[0]
    assert fault.kind == kind and message in fault.message
    assert [record["ref_id"] for record in loaded.records] == [2]


def test_one_empty_sentence_does_not_cost_the_others(referring):
    loaded = load_with_faults(referring([small.ref(2, 12, "a dog", "", "the dog")]))
    assert [fault.kind for fault in loaded.faults] == ["sentence"]
    [region] = loaded.records[0]["regions"]
    assert region.extra["sentences"] == ["a dog", "the dog"]


def test_faulty_lines_and_regions_are_told_by_their_number(lines):
    name = lines(
        small.line(1, ("a cat", [1, 1, 5, 5]), ("", None), ("a dog", [5, 1, 1, 5])),
        "{not json",
        {"file_name": "2.png"},
        small.line(3),
    )
    loaded = load_with_faults(name)
    told = [(fault.kind, fault.field) for fault in loaded.faults]
    assert told == [
        ("region", "line 1, regions[1]"),
        ("region", "line 1, regions[2]"),
        ("line", "line 2"),
        ("line", "line 3"),
    ]
    assert [len(record["regions"]) for record in loaded.records] == [1, 0]


def test_two_records_that_evaluation_could_not_tell_apart_are_a_fault(lines):
    loaded = load_with_faults(lines(small.line(1, ("a", [1, 1, 5, 5])), small.line(1)))
    assert [fault.kind for fault in loaded.faults] == ["id"]
    assert "line 1 is of the same image 1.png" in loaded.faults[0].message


def test_strict_training_stops_with_the_faults_and_the_way_out(instances, content):
    content["annotations"][0]["category_id"] = 8
    name = instances(content)
    message = "small.json, record 1, annotation 11: category_id 8.*--dataset small.*skip"
    with pytest.raises(ValueError, match=message):
        load_by_policy(name, "strict")


def test_training_that_skips_loads_the_rest_and_tells_it_in_the_log(instances, content, caplog):
    content["annotations"][0]["category_id"] = 8
    records = load_by_policy(instances(content), "skip")
    assert [len(record["annotations"]) for record in records] == [1, 1, 0]
    assert "category_id 8" in caplog.text and "3 records stay" in caplog.text


def test_an_unknown_policy_is_refused(instances, content):
    with pytest.raises(ValueError, match="DATALOADER.FAULTS is 'ignore', expected one of"):
        load_by_policy(instances(content), "ignore")


def test_the_original_content_is_not_changed_by_the_sieve(root, instances, content):
    content["annotations"][0]["bbox"] = [1, 1, 0, 0]
    name = instances(content)
    before = (root / "small.json").read_bytes()
    load_with_faults(name)
    assert (root / "small.json").read_bytes() == before
    assert json.loads(before) == content


@pytest.mark.parametrize("faulty, refused", [(2, False), (3, True)])
def test_more_than_half_of_the_annotations_left_out_is_an_error(
    instances, content, caplog, faulty, refused
):
    first = content["annotations"][0]
    content["annotations"] = [{**first, "id": number} for number in range(2 + faulty)]
    for annotation in content["annotations"][:faulty]:
        annotation["category_id"] = 8
    name = instances(content)
    if refused:
        with pytest.raises(
            ValueError, match="3 of 5 annotations are at fault .*more than 50%.*--fix"
        ):
            load_by_policy(name, "skip")
        return
    assert sum(len(record["annotations"]) for record in load_by_policy(name, "skip")) == 2
    assert "2 entries of its files are at fault (unknown-id 2)" in caplog.text


def test_mended_annotations_are_not_left_out(instances, content):
    for annotation in content["annotations"]:
        annotation["bbox"] = [1, 1, 9, 7]
    name = instances(content)
    assert sum(len(record["annotations"]) for record in load_by_policy(name, "skip")) == 3


def test_annotations_of_an_image_that_is_left_out_count_one_by_one(instances, content):
    content["images"][0]["height"] = 0  # two of the three annotations
    with pytest.raises(ValueError, match="2 of 3 annotations"):
        load_by_policy(instances(content), "skip")
