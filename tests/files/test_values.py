import unicodedata

import numpy as np
import pytest

from segplugins.files.values import (
    as_box,
    as_flag,
    as_id,
    as_mask,
    as_number,
    as_path,
    as_side,
    as_size,
    existing_form,
    is_unicode,
)

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]
PAIRS = [[1, 1], [5, 1], [5, 5], [1, 5]]


@pytest.mark.parametrize(
    "value, expected",
    [
        (3, 3),
        (3.0, 3),
        ("3", 3),
        (" 3 ", 3),
        ("-3", -3),
        (np.int64(3), 3),
        (np.float32(3), 3),
        ("007", "007"),  # a name, not the number 7
        ("a.png", "a.png"),
        (2**60, 2**60),
    ],
)
def test_ids_are_whole_numbers_or_text(value, expected):
    assert as_id(value) == expected and type(as_id(value)) is type(expected)


@pytest.mark.parametrize("value", [None, True, 1.5, float("nan"), float("inf"), "", [1], {}])
def test_anything_else_is_no_id(value):
    with pytest.raises(ValueError, match="is no id, expected a whole number or text"):
        as_id(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "false", "False", None, np.int64(0)])
def test_false_in_all_its_forms(value):
    assert as_flag(value) is False


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "true", " True ", np.bool_(True)])
def test_true_in_all_its_forms(value):
    assert as_flag(value) is True


@pytest.mark.parametrize("value", [2, -1, "no", "", [], {}, 0.5, float("nan")])
def test_what_is_no_truth_value_is_refused(value):
    with pytest.raises(ValueError, match="expected 0 or 1"):
        as_flag(value)


def test_numbers_are_finite_and_of_ordinary_size():
    assert as_number("2.5") == 2.5 and as_number(np.float32(2)) == 2 and as_number(7) == 7
    for value in (True, None, "x", float("nan"), float("inf"), 2**53, -(2**53), [1], 10**400):
        with pytest.raises(ValueError, match="expected a finite number"):
            as_number(value)


def test_sides_are_whole_and_above_0():
    assert [as_side(value) for value in (640, "640", 640.0)] == [640, 640, 640]
    for value in (0, -1, 640.5, 2**20, "x", None, True):
        with pytest.raises(ValueError, match="expected a number of pixels"):
            as_side(value)


def test_boxes_are_four_numbers():
    assert as_box(["1", 2, np.float64(3), 4.5]) == [1, 2, 3, 4.5]
    assert as_box(np.arange(4)) == [0, 1, 2, 3]
    for value in ([1, 2, 3], [1, 2, 3, float("nan")], None, "1234", {"x": 1}):
        with pytest.raises(ValueError, match="expected 4 finite numbers"):
            as_box(value)


@pytest.mark.parametrize(
    "value",
    [
        [SQUARE],
        [PAIRS],
        SQUARE,
        PAIRS,
        [tuple(SQUARE)],
        np.array([SQUARE]),
        [[str(v) for v in SQUARE]],
        [SQUARE, []],
    ],
)
def test_polygons_are_read_flat_in_pairs_and_without_the_outer_list(value):
    assert as_mask(value) == [SQUARE]


@pytest.mark.parametrize("value", [None, [], {}, [[]], [[], []]])
def test_no_mask_in_all_its_forms(value):
    assert as_mask(value) is None


def test_an_rle_is_read_bare_in_a_list_and_with_counts_of_any_type():
    rle = {"size": [8, 10], "counts": [10, 70]}
    assert as_mask(rle) == as_mask([rle]) == as_mask({**rle, "counts": np.array([10, 70])}) == rle
    assert as_mask({**rle, "size": ["8", 10.0]}) == rle
    assert as_mask({"counts": b"0`2"}) == {"size": None, "counts": "0`2"}


@pytest.mark.parametrize(
    "value, message",
    [
        ([[1, 2, 3, 4]], "a polygon of 4 values"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon of 7 values"),
        ([[1, 2, 3, 4, 5, None]], "a polygon holds None"),
        ([5], "a polygon of 1 values"),
        ("x", "expected an RLE or polygons"),
        ([{"counts": [1]}, {"counts": [1]}], "a list of 2 RLEs, expected one RLE"),
        ({"size": [1, 2]}, "RLE counts None"),
        ({"size": [1], "counts": [2]}, "expected .height, width"),
        ([SQUARE, 5], "a polygon is 5, expected a list"),
    ],
)
def test_what_is_no_mask_is_refused_by_name(value, message):
    with pytest.raises(ValueError, match=message):
        as_mask(value)


def test_polygons_of_two_points_are_left_to_the_reader_beside_others():
    assert as_mask([SQUARE, [1, 2, 3, 4]]) == [SQUARE, [1, 2, 3, 4]]


@pytest.mark.parametrize(
    "value, expected",
    [("a\\b.jpg", "a/b.jpg"), ("./a.jpg", "a.jpg"), (".\\a//b.jpg", "a/b.jpg"), ("a b", "a b")],
)
def test_paths_of_windows_and_with_a_dot_are_read(value, expected):
    assert as_path(value) == expected


@pytest.mark.parametrize(
    "value, message",
    [
        ("/etc/passwd", "is an absolute path; write paths relative to"),
        ("\\a.jpg", "is an absolute path"),
        ("C:\\a.jpg", "is an absolute path"),
        ("../a.jpg", "leaves the folder of the set; name the folder above"),
        ("a/../../b.jpg", "leaves the folder"),
        ("a\\..\\b.jpg", "leaves the folder"),
        ("", "expected the path"),
        (".", "expected the path"),
        ("a\0b", "expected the path"),
        (5, "got 5, expected the path"),
    ],
)
def test_paths_that_leave_the_folder_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        as_path(value)


def test_a_name_is_found_in_the_form_that_the_disk_has(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "ä.png") for form in ("NFC", "NFD"))
    (tmp_path / decomposed).write_bytes(b"")
    assert existing_form(tmp_path, composed) == decomposed
    assert existing_form(tmp_path, "ö.png") == "ö.png"  # neither is there: the message names it


@pytest.mark.parametrize(
    "value, expected",
    [
        (2**62 - 1, 2**62 - 1),
        (1 - 2**62, 1 - 2**62),
        (str(2**62 - 1), 2**62 - 1),
        (str(2**62), str(2**62)),  # text as any other
        ("9" * 5000, "9" * 5000),
        ("007", "007"),
        ("-5", -5),
    ],
)
def test_ids_fit_into_64_bits(value, expected):
    assert as_id(value) == expected and type(as_id(value)) is type(expected)


@pytest.mark.parametrize("value", [2**62, -(2**62), 10**400, float(2**53)])
def test_numbers_beyond_the_largest_id_are_none(value):
    with pytest.raises(ValueError, match="is no id, expected a whole number or text"):
        as_id(value)


def test_pictures_have_no_more_pixels_than_one_can_be_read_with():
    assert as_size("12000", 12_500.0) == (12_000, 12_500)
    with pytest.raises(ValueError, match="12501x12000 pixels, expected at most 150000000"):
        as_size(12_000, 12_501)
    with pytest.raises(ValueError, match="expected a number of pixels"):
        as_size(0, 5)


def test_half_characters_are_no_unicode_and_bytes_of_file_names_are():
    assert is_unicode("caf\xe9 \U0001f600") and is_unicode("a\udcff")
    assert not is_unicode("a\ud800")
