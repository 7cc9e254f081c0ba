"""Region lines: which lines and regions are read, in which form, and which are left out."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segplugins.files.faults import STRICT, Collect, FaultError
from segplugins.files.lines import read_region_lines
from segplugins.files.region_shards import numbered_records
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).resolve().parents[1] / "support" / "small_sets.py"
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)

BOX = [1, 1, 5, 5]


@pytest.fixture
def read(tmp_path):
    def write(*lines, policy=STRICT, task=Task.REFERRING, **options):
        path = tmp_path / "set.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts))
        return read_region_lines(path, policy, task=task, **options)

    return write


def faults_of(read, *lines, **options):
    """Returns the entries, and the faults as (kind, field, message, entry)."""
    policy = Collect()
    entries = read(*lines, policy=policy, **options)
    return entries, [(f.kind, f.field, f.message, f.entry) for f in policy.faults]


def region(**changes):
    """A line of one region, changed."""
    return small.line(1, regions=[{"text": "a cat", "box": BOX, **changes}])


def test_a_line_becomes_an_entry_in_normal_form(read):
    line = small.line(1, ("a cat", BOX, [small.SQUARE]), ("nothing",), source="mine", task=None)
    [entry] = read(line)
    assert (entry.line, entry.image_id, entry.file_name) == (1, "1.png", "1.png")
    assert (entry.height, entry.width, entry.task) == (8, 10, Task.REFERRING)
    assert entry.more == {"source": "mine"} and entry.positions == [0, 1]
    first, second = entry.regions
    assert first.text == "a cat" and first.box == (1.0, 1.0, 5.0, 5.0)
    assert first.mask == [small.SQUARE] and first.class_index == -1 and first.score == 1.0
    assert not second.has_target


def test_values_are_read_in_all_their_forms(read):
    mask = {"counts": [10, 20, 50]}
    line = region(box=None, mask=[mask], is_thing="0", score="0.5", extra={"iscrowd": "1"})
    line |= {"image_id": "7", "height": "8", "width": 10.0, "task": "instance"}
    line["file_name"] = "a\\b.png"
    [entry] = read(line)
    [one] = entry.regions
    assert (entry.image_id, entry.file_name, entry.task) == (7, "a/b.png", Task.INSTANCE)
    assert (entry.height, entry.width) == (8, 10) and type(entry.width) is int
    assert one.mask == {"size": [8, 10], "counts": [10, 20, 50]}
    assert one.is_thing is False and one.score == 0.5 and one.extra == {"iscrowd": 1}


def test_missing_sizes_are_those_of_the_picture(read, tmp_path):
    line = {key: value for key, value in region().items() if key not in ("height", "width")}
    entries, [(kind, field, message, entry)] = faults_of(read, line)
    assert entries == [] and kind == "image-size" and entry == (1,)
    assert message == "width and height are (None, None), expected numbers of pixels"
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(tmp_path / "1.png")
    [entry] = read(line, image_root=tmp_path)
    assert (entry.height, entry.width) == (6, 9)


def test_empty_lines_are_passed_over_and_numbers_are_those_of_the_file(read, tmp_path):
    entries = read(region(), "", "   ", small.line(2, ("b", BOX)))
    assert [entry.line for entry in entries] == [1, 4]
    assert [number for number, _ in numbered_records(tmp_path / "set.jsonl")] == [1, 4]


def test_a_line_that_stands_for_an_error_is_passed_over(read):
    entries, faults = faults_of(read, {"file_name": "1.png", "error": "no answer"}, region())
    assert [entry.line for entry in entries] == [2] and faults == []


@pytest.mark.parametrize(
    "line, kind, message",
    [
        ("{", "line", "it is not readable"),
        ("[1]", "line", "expected a record in braces, got [1]"),
        ({"regions": []}, "line", "key 'file_name' is missing"),
        ({"file_name": "1.png"}, "line", "key 'regions' is missing"),
        ({**region(), "regions": {}}, "line", "regions are {}, expected a list"),
        ({**region(), "file_name": "../1.png"}, "line", "'../1.png' leaves the folder"),
        ({**region(), "file_name": "/1.png"}, "line", "'/1.png' is an absolute path"),
        ({**region(), "file_name": 3}, "line", "got 3, expected the path of the file"),
        ({**region(), "image_id": 1.5}, "line", "1.5 is no id"),
        ({**region(), "task": "parts"}, "line", "'parts' is not a valid Task"),
        ({**region(), "not_exhaustive": "cat"}, "line", "not_exhaustive is 'cat', expected a list"),
        ({**region(), "not_exhaustive": [1]}, "line", "not_exhaustive is [1], expected a list"),
        ({**region(), "width": 0}, "image-size", "width and height are (0, 8): 0, expected"),
        ({**region(), "height": 2.5}, "image-size", "width and height are (10, 2.5): 2.5"),
    ],
)
def test_a_faulty_line_is_left_out_and_the_others_stay(read, line, kind, message):
    entries, faults = faults_of(read, small.line(2, ("b", BOX)), line)
    assert [entry.line for entry in entries] == [1]
    [fault] = faults
    assert fault[0] == kind and fault[1] == "line 2" and fault[3] == (2,)
    assert message in fault[2]
    with pytest.raises(FaultError, match=r"set\.jsonl, line 2"):
        read(small.line(2, ("b", BOX)), line)


def test_two_lines_of_one_image_are_a_fault_of_the_second(read):
    entries, faults = faults_of(read, region(), region(text="b"), {**region(), "image_id": 7})
    assert [entry.line for entry in entries] == [1, 3]
    assert faults == [("id", "line 2", "line 1 is of the same image 1.png", (2,))]


@pytest.mark.parametrize(
    "changes, kind, message",
    [
        ({"text": ""}, "region", "a region has the text ''"),
        ({"text": None}, "region", "a region has the text None"),
        ({"colour": "red"}, "region", "a region has the keys ['colour']"),
        ({"box": [1, 1, 5]}, "region", "[1, 1, 5], expected 4 finite numbers"),
        ({"box": [5, 1, 1, 5]}, "region", "box"),
        ({"score": "high"}, "region", "'high', expected a finite number"),
        ({"is_thing": 3}, "region", "3, expected 0 or 1"),
        ({"extra": [1]}, "region", "extra is [1], expected a mapping"),
        ({"extra": {"iscrowd": "x"}}, "region", "'x', expected 0 or 1"),
        ({"mask": [[1, 2, 3]]}, "polygon", "a polygon of 3 values"),
        ({"mask": {"counts": []}}, "rle", "RLE counts []"),
        ({"mask": {"counts": [5]}}, "rle", "RLE runs add up to 5 pixels, expected 8*10"),
        ({"mask": {"size": [10, 8], "counts": [10, 20, 50]}}, "rle", "expected [8, 10]"),
        ({"mask": {"counts": [80]}}, "empty-mask", "covers no pixel"),
        ({"mask": [[20, 20, 30, 20, 30, 30]]}, "empty-mask", "covers no pixel"),
    ],
)
def test_a_faulty_region_is_left_out_and_the_others_keep_their_positions(
    read, changes, kind, message
):
    line = region(**changes)
    line["regions"] += [{"text": "b", "box": BOX}]
    [entry], faults = faults_of(read, line)
    assert [one.text for one in entry.regions] == ["b"] and entry.positions == [1]
    [fault] = faults
    assert fault[:2] == (kind, "line 1, regions[0]") and fault[3] == (1, "regions", 0)
    assert message in fault[2]


def test_a_region_that_is_no_mapping_is_left_out(read):
    line = region()
    line["regions"].insert(0, "a cat")
    [entry], faults = faults_of(read, line)
    assert entry.positions == [1]
    assert faults[0][2] == "a region is 'a cat', expected a mapping"


@pytest.mark.parametrize(
    "box, differs",
    [([1, 1, 7, 5], False), ([1, 1, 7.1, 5], True), ([3, 1, 5, 5], False), ([1, 1, 5, 2.9], True)],
)
def test_a_box_may_differ_from_its_mask_by_two_pixels(read, box, differs):
    policy = Collect()
    [entry] = read(region(box=box, mask=[small.SQUARE]), policy=policy)  # 1, 1, 5, 5
    [one] = entry.regions
    if differs:
        [fault] = policy.faults
        assert fault.kind == "box" and fault.mend == ("box", None)
        assert "the mask has [1, 1, 4, 4]" in fault.message
        assert one.box is None and one.mask == [small.SQUARE]
    else:
        assert policy.faults == [] and one.box == tuple(map(float, box))


def test_masks_and_boxes_of_one_image_are_not_mixed(read):
    mixed = small.line(1, ("a", BOX), ("b", BOX, [small.SQUARE]), ("c", None, [small.SQUARE]))
    entries, faults = faults_of(read, mixed, small.line(2, ("a", BOX), ("none",)))
    assert [entry.line for entry in entries] == [2]
    [(kind, field, message, entry)] = faults
    assert (kind, field, entry) == ("mixed", "line 1", (1,))
    assert message.startswith("1 regions have a box and no mask, 2 have masks")
    # A crowd is neither learned nor scored, so it may have another kind.
    mixed["regions"][0]["extra"] = {"iscrowd": 1}
    assert faults_of(read, mixed)[1] == []


def test_texts_are_classes_of_a_vocabulary_whatever_their_case(read):
    words = Vocabulary("v", ("car", "traffic light"))
    line = small.line(1, ("Traffic  Light", BOX), ("tram", BOX))
    [entry], faults = faults_of(read, line, vocabulary=words)
    [one] = entry.regions
    assert one.class_index == 1 and one.text == "traffic light"
    assert faults[0][2] == "region 'tram' is no class of vocabulary 'v'"


def test_names_with_unannotated_objects_are_classes_of_a_vocabulary_too(read):
    words = Vocabulary("v", ("car", "traffic light"))
    [entry] = read({**region(), "not_exhaustive": ["A  Tram"]})
    assert entry.not_exhaustive == ("A  Tram",) and entry.more == {}
    lines = [
        small.line(n, ("car", BOX), not_exhaustive=[name])
        for n, name in enumerate(("Traffic  Light", "tram"))
    ]
    [entry], faults = faults_of(read, *lines, vocabulary=words)
    assert entry.not_exhaustive == ("traffic light",)
    assert faults[0][2] == "not_exhaustive has 'tram', no class of vocabulary 'v'"


def test_a_decomposed_name_is_that_of_the_file_on_disk(read, tmp_path):
    composed, decomposed = "caf\u00e9.png", "cafe\u0301.png"
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / composed)
    [entry] = read({**region(), "file_name": decomposed}, image_root=tmp_path)
    assert entry.file_name == composed and entry.image_id == decomposed


@pytest.mark.parametrize("spelling", ["./a.png", ".\\a.png", "a.png"])
def test_a_picture_has_one_line_however_its_path_is_written(read, spelling):
    first = {"file_name": "a.png", "height": 8, "width": 10, "regions": []}
    with pytest.raises(FaultError, match="line 1 is of the same image"):
        read(first, {**first, "file_name": spelling})


def test_shares_of_the_sides_are_no_pixels(read):
    def lines(box):
        regions = [{"text": "a", "box": box}]
        return [{"file_name": i, "height": 8, "width": 10, "regions": regions} for i in "ab"]

    with pytest.raises(FaultError, match="all 2 regions lie within 0 and 1: multiply x by the"):
        read(*lines([0.1, 0.1, 0.5, 1.0]))
    assert len(read(*lines([0.1, 0.1, 0.5, 1.1]))) == 2
    tiny = [{**line, "height": 2, "width": 2} for line in lines([0, 0, 1, 1])]
    assert len(read(*tiny)) == 2


def test_half_a_character_is_no_text(read):
    line = '{"file_name": "a.png", "height": 8, "width": 10, "regions": [{"text": "a\\ud800b"}]}'
    with pytest.raises(FaultError, match="which is no Unicode"):
        read(line)
    with pytest.raises(FaultError, match="holds half a character"):
        read(line.replace("a.png", "\\ud800.png"))


def test_another_encoding_names_the_file(tmp_path):
    path = tmp_path / "l.jsonl"
    path.write_bytes('{"text": "caf\xe9"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="l.jsonl is not readable: it is not UTF-8"):
        read_region_lines(path, task=Task.REFERRING)
