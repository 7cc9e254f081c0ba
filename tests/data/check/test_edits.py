"""What faults ask of a cleaned copy: entries left out, values set, values in normal form."""

from collections import Counter

import numpy as np
import pytest

from segplugins.data.check.edits import SAME_AS, Edits, normalised, without_arrays
from segplugins.files.faults import Fault
from segplugins.files.values import as_flag, as_id

FILE = "set.json"


def fault(kind="form", *, entry=None, mend=None, position=-1, file=FILE, remark=False):
    return Fault(kind, "", file, position=position, entry=entry, mend=mend, remark=remark)


def test_an_entry_without_a_mend_is_left_out_and_the_others_keep_their_numbers():
    edits = Edits([fault(entry=("annotations", 1))], FILE)
    assert edits.apply([{"a": 1}, {"a": 2}, {"a": 3}], "annotations") == [
        (0, {"a": 1}), (2, {"a": 3}),
    ]  # fmt: skip
    assert edits.apply([{"a": 1}, {"a": 2}], "images") == [(0, {"a": 1}), (1, {"a": 2})]
    assert edits.count() == Counter({"values mended": 0})


def test_what_is_no_mapping_is_left_out_of_a_list():
    assert Edits([], FILE).apply([None, {"a": 1}, 3, [1], "x"], "images") == [(1, {"a": 1})]


def test_a_mend_sets_a_value_or_removes_it():
    faults = [
        fault(entry=("annotations", 0), mend=("area", None)),
        fault(entry=("annotations", 0), mend=("iscrowd", 1)),
        fault(entry=("annotations", 1), mend=("bbox", None)),
    ]
    entries = [{"area": -1, "id": 3, "iscrowd": "x"}, {"id": 4, "bbox": [1]}]
    edits = Edits(faults, FILE)
    assert edits.apply(entries, "annotations") == [(0, {"id": 3, "iscrowd": 1}), (1, {"id": 4})]
    assert entries[0] == {"area": -1, "id": 3, "iscrowd": "x"}  # the file as read stays
    assert edits.count() == Counter({"values mended": 3})


def test_an_entry_that_is_left_out_is_so_whatever_could_be_mended():
    faults = [fault(entry=("images", 0), mend=("width", 3)), fault(entry=("images", 0))]
    assert Edits(faults, FILE).apply([{"width": 1}], "images") == []


def test_an_entry_that_stands_for_another_is_left_out_and_remembered():
    edits = Edits([fault(entry=("images", 1), mend=(SAME_AS, 7))], FILE)
    assert edits.apply([{"id": 7}, {"id": 8}], "images") == [(0, {"id": 7})]
    assert edits.same == {("images", 1): 7} and edits.values == {}


def test_nested_lists_are_told_apart_by_all_that_leads_to_them():
    edits = Edits([fault(entry=("annotations", 1, "segments_info", 0))], FILE)
    segments = [{"id": 5}, {"id": 6}]
    assert edits.apply(segments, "annotations", 0, "segments_info") == [*enumerate(segments)]
    assert edits.apply(segments, "annotations", 1, "segments_info") == [(1, {"id": 6})]


@pytest.mark.parametrize(
    "unused",
    [
        fault(entry=("annotations", 0), remark=True),
        fault(entry=("annotations", 0), file="another.json"),
        fault(entry=None),
        fault(entry="annotations"),
    ],
    ids=["a remark", "of another file", "of the whole file", "no place"],
)
def test_faults_that_name_no_entry_of_the_file_change_nothing(unused):
    edits = Edits([unused], FILE)
    assert edits.apply([{"a": 1}], "annotations") == [(0, {"a": 1})]
    assert not (edits.left_out or edits.values or edits.records or edits.regions)


def test_faults_of_records_are_of_a_region_or_of_the_whole_record():
    faults = [
        fault("polygon", entry=11, position=0),
        fault("rle", entry=0, position=4),
        fault("sentence", entry=None, position=1),
        fault("image-size", entry=12, position=2),
        fault("area", entry=300, position=3, mend=("area", 20)),
    ]
    edits = Edits(faults, FILE)
    assert edits.regions == {(0, 11), (4, 0)}
    assert edits.records == {1, 2}  # no region named, or a fault that is none of a region
    assert edits.region_values == {(3, 300): ("area", 20)}
    assert edits.left_out == set()
    assert edits.count() == Counter({"values mended": 1})


def test_values_get_their_normal_form_and_equal_ones_stay_as_written():
    done = Counter()
    entry = {"id": "12", "image_id": 3, "iscrowd": True, "category_id": 2.0, "score": "x"}
    forms = {
        "id": as_id,
        "image_id": as_id,
        "category_id": as_id,
        "iscrowd": lambda value: int(as_flag(value)),
        "area": as_id,
    }
    given = entry["image_id"]
    result = normalised(entry, forms, done)
    assert result is entry and "area" not in entry and entry["image_id"] is given
    assert entry == {"id": 12, "image_id": 3, "iscrowd": 1, "category_id": 2, "score": "x"}
    assert [type(entry[key]) for key in ("id", "iscrowd", "category_id")] == [int, int, int]
    assert done == Counter({"values brought to normal form": 3})


def test_a_value_without_a_normal_form_stays():
    done = Counter()
    assert normalised({"id": [1]}, {"id": as_id}, done) == {"id": [1]}
    assert not done


def test_what_a_pickle_holds_becomes_what_json_has():
    held = {
        1: np.int64(3),
        "a": np.array([[1, 2], [3, 4]]),
        "b": (b"caf\xc3\xa9", b"\xff", {np.float32(0.5)}),
        "c": [None, True, "x", 2.5],
    }
    expected = {"1": 3, "a": [[1, 2], [3, 4]], "b": ["caf\u00e9", "\ufffd", [0.5]]}
    result = without_arrays(held)
    assert result == {**expected, "c": [None, True, "x", 2.5]}
    assert type(result["1"]) is int and type(result["b"][2][0]) is float
