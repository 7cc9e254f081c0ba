import numpy as np
import pytest
from PIL import Image

from segplugins.files.faults import Collect, FaultError
from segplugins.files.label_coding import (
    IGNORED,
    LabelCoding,
    coding_of,
    colour_number,
    read_classes,
    read_truth,
)


def classes(coding, values, dtype=np.uint8):
    found, unknown = coding.classes(np.array([values], dtype))
    assert not unknown.size
    return found[0].tolist()


def unknown_of(coding, values, dtype=np.uint8):
    return coding.classes(np.array(values, dtype))[1].tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_plain_label_is_its_class(dtype):
    coding = coding_of(3, 255)
    assert coding.is_plain
    assert classes(coding, [0, 2, 255], dtype) == [0, 2, IGNORED]
    assert unknown_of(coding, [0, 3, 254], dtype) == [False, True, True]


def test_an_ignored_label_wins_over_a_class():
    assert classes(coding_of(3, 0), [0, 1, 2]) == [IGNORED, 1, 2]


def test_labels_may_start_at_any_number():
    coding = LabelCoding(3, ignored=(0,), first_label=1)
    assert not coding.is_plain
    assert classes(coding, [0, 1, 2, 3]) == [IGNORED, 0, 1, 2]
    assert unknown_of(coding, [0, 3, 4]) == [False, False, True]
    assert coding.expected() == "1 to 3, or 0 for pixels without a class"


def test_several_labels_may_carry_no_class():
    coding = LabelCoding(2, ignored=(254, 255, -1, 70000))
    assert not coding.is_plain
    assert classes(coding, [0, 254, 255, 1]) == [0, IGNORED, IGNORED, 1]
    assert classes(coding, [-1, 70000, 1], np.int32) == [IGNORED, IGNORED, 1]
    assert unknown_of(coding, [-2, 70001, 65536, 0], np.int32) == [True, True, True, False]


def test_every_value_may_have_a_meaning_of_its_own():
    coding = LabelCoding(2, ignored=(128,), values=((0, 0), (255, 1), (200, 1), (90000, 0)))
    assert classes(coding, [0, 128, 200, 255]) == [0, IGNORED, 1, 1]
    assert classes(coding, [90000, 0], np.int32) == [0, 0]
    assert unknown_of(coding, [1, 0]) == [True, False]


def test_without_a_number_of_classes_any_label_is_one():
    coding = coding_of(None, 255)
    assert classes(coding, [0, 254, 255, 65535], np.uint16) == [0, 254, IGNORED, 65535]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"values": ((0, 0), (255, 2))}, "label 255 is class 2, expected 0 to 1"),
        ({"values": ((0, 0), (0, 1))}, "label 0 is both class 0 and class 1"),
    ],
)
def test_a_meaning_that_cannot_be_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        LabelCoding(2, **options)


@pytest.fixture
def labels_file(tmp_path):
    def write(values, dtype=np.uint8):
        path = tmp_path / "a.png"
        Image.fromarray(np.array(values, dtype)).save(path)
        return str(path)

    return write


def test_a_file_gives_classes(labels_file):
    found = read_classes(labels_file([[1, 0, 2]]), LabelCoding(2, ignored=(0,), first_label=1))
    assert found.tolist() == [[0, IGNORED, 1]] and found.dtype == np.int32


def test_the_truth_of_an_evaluation_has_one_label_for_no_class(labels_file):
    coding = LabelCoding(2, ignored=(0, 7), first_label=1)
    truth = read_truth(labels_file([[1, 0, 2, 7]]), coding=coding, ignore_label=255)
    assert truth.tolist() == [[0, 255, 1, 255]]


@pytest.mark.parametrize(
    "coding, values, message",
    [
        (coding_of(3, 255), [3, 3, 9], r"holds 3 \(2 pixels\), 9 \(1 pixels\); expected 0 to 2, "),
        (coding_of(3, 0), [1, 2, 3], "if label 1 is the first class, say `first_label: 1`"),
        (coding_of(2, 7), [0, 255, 0], "say `label_values: {0: 0, 255: 1}`"),
        (LabelCoding(2, (7,), values=((0, 0), (9, 1))), [0, 9, 8], "8 .*expected 0, 9, or 7 for"),
        (coding_of(1, 255), list(range(1, 9)), "and 3 more; expected 0 to 0, or 255"),
    ],
)
def test_a_value_without_a_meaning_is_told_with_its_pixels(labels_file, coding, values, message):
    path = labels_file([values])
    with pytest.raises(FaultError, match=f"^{path}: the label map .*{message}"):
        read_classes(path, coding)
    collected = Collect()
    assert read_classes(path, coding, collected) is None
    assert [fault.kind for fault in collected.faults] == ["label-value"]


def test_colours_are_looked_up(labels_file):
    red, blue, black = (255, 0, 0), (0, 0, 255), (0, 0, 0)
    coding = LabelCoding(
        2,
        ignored=(colour_number(black),),
        values=((colour_number(red), 1), (colour_number(blue), 0)),
        colours=True,
    )
    assert read_classes(labels_file([[red, blue, black]]), coding).tolist() == [[1, 0, IGNORED]]
    message = "holds #ff0001 .1 pixels.; expected #ff0000, #0000ff, or #000000 .*label_colours"
    with pytest.raises(FaultError, match=message):
        read_classes(labels_file([[red, (255, 0, 1)]]), coding)
