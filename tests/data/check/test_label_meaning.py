import numpy as np
import pytest

from segplugins.data import register_semantic
from segplugins.data.check import check_dataset
from segplugins.data.check.label_meaning import label_remarks, name_remarks
from segplugins.files.label_coding import LabelCoding, coding_of
from segplugins.structures import Vocabulary

NAMES = ["sky", "grass", "house"]


@pytest.mark.parametrize(
    "labels, coding, message",
    [
        ({0: 5, 255: 3}, coding_of(3, 255), "say `label_values: {0: sky, 255: grass}`"),
        ({1: 5, 2: 3}, coding_of(3, 255), r"no pixel holds 0 \('sky'\).*say `first_label: 1`"),
        ({1: 5, 2: 3}, coding_of(3, 0), "ignore_label 0 is class 'sky' too.*say `first_label: 1`"),
        (
            {0: 5, 1: 3},
            coding_of(3, 2),
            "ignore_label 2 is class 'house' too.*another ignore_label",
        ),
        ({255: 9}, coding_of(3, 255), "no pixel carries a class: the maps hold only 255"),
        ({7: 9, 8: 1}, LabelCoding(3, (7, 8), first_label=1), "only 7, 8, which is ignored"),
    ],
)
def test_labels_that_may_mean_something_else_are_remarks_with_the_key(labels, coding, message):
    (remark,) = label_remarks(labels, coding, NAMES)
    assert remark.remark and remark.kind == "label-meaning"
    with pytest.raises(ValueError, match=message):
        raise ValueError(remark.message)


@pytest.mark.parametrize(
    "labels, coding",
    [
        ({0: 5, 1: 3}, coding_of(3, 255)),
        ({0: 5, 1: 1, 255: 3}, coding_of(3, 255)),
        ({0: 5}, coding_of(3, 255)),
        ({2: 5}, coding_of(3, 255)),  # without 1 it is no shift by one
        ({0: 5, 255: 3}, LabelCoding(3, (7,), values=((0, 0), (255, 1)))),
        ({1: 5, 2: 3}, LabelCoding(3, (0,), first_label=1)),
        ({}, coding_of(3, 255)),
    ],
)
def test_ordinary_labels_are_no_remark(labels, coding):
    assert label_remarks(labels, coding, NAMES) == []


def test_one_class_and_the_ignored_label_are_no_remark():
    assert label_remarks({0: 5, 255: 3}, coding_of(1, 255), ["sky"]) == []


def test_the_check_of_a_set_counts_labels_over_all_its_maps(root, save):
    for name, values in (("a", [0, 0]), ("b", [255, 0])):
        save(root / f"im/{name}.png", np.zeros((1, 2, 3), np.uint8))
        save(root / f"gt/{name}.png", np.array([values], np.uint8))
    words = Vocabulary("test_meaning", ("background", "house"))
    register_semantic("masks", image_root="im", label_root="gt", vocabulary=words)
    checked = check_dataset("masks")
    assert not checked.faults and checked.findings.labels == {0: 3, 255: 1}
    assert [remark.kind for remark in checked.remarks] == ["label-meaning"]
    assert "class 'house' is never shown" in checked.remarks[0].message
    meaning = {0: "background", 255: "house"}
    register_semantic(
        "meant", image_root="im", label_root="gt", vocabulary=words, label_values=meaning
    )
    checked = check_dataset("meant")
    assert not checked.faults and not checked.remarks
    assert checked.findings.pixels == {0: 3, 1: 1}


def test_doubts_about_names_are_remarks(root, save):
    words = Vocabulary("test_doubts", ("a", "b"), (("auto",), ("auto", "bus")))
    (remark,) = name_remarks(words)
    assert remark.remark and "'auto' is a synonym of class 0 'a' and of class 1 'b'" in str(remark)
    save(root / "im/a.png", np.zeros((1, 2, 3), np.uint8))
    save(root / "gt/a.png", np.array([[0, 1]], np.uint8))
    register_semantic("named", image_root="im", label_root="gt", vocabulary=words)
    assert check_dataset("named").remarks == [remark]
