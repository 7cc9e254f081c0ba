"""What values of a description may be: final forms, bounds and messages."""

from pathlib import Path

import numpy as np
import pytest

from segplugins.data.sources import values
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary

WORDS = Vocabulary("test_values", ("sky",))


@pytest.mark.parametrize(
    ("check", "value", "form"),
    [
        (values.text, " a ", " a "),
        (values.set_name, "a b-ü.1", "a b-ü.1"),
        (values.path, "", ""),
        (values.path, Path("a/b"), "a/b"),
        (values.paths, ["a", Path("b")], ("a", "b")),
        (values.paths, "a", "a"),
        (values.boolean, False, False),
        (values.whole(1, 3), 1, 1),
        (values.whole(1, 3), np.int64(3), 3),
        (values.choice("a", "b"), "b", "b"),
        (values.tasks(Task.PART), "part", Task.PART),
        (values.count, 1, 1),
        (values.count, [2, np.int64(3)], (2, 3)),
        (values.endings, ".PNG", ("png",)),
        (values.endings, ["jpg", ".Tif"], ("jpg", "tif")),
        (values.label_endings, "png", ("png",)),
        (values.affix, "_mask", "_mask"),
        (values.affix, "", ""),
        (values.labels, -(2**31), (-(2**31),)),
        (values.labels, [2**32 - 1, 0, 0], (2**32 - 1, 0)),
        (values.label_values, {7: "sky", 8: 0, 9: None}, ((7, "sky"), (8, 0), (9, None))),
        (values.label_values, [(7, "sky")], ((7, "sky"),)),
        (values.colour, "#0a0B0c", (10, 11, 12)),
        (values.colour, "ff0001", (255, 0, 1)),
        (values.colour, [0, 255, np.uint8(3)], (0, 255, 3)),
        (values.colours, [1, 2, 3], ((1, 2, 3),)),
        (values.colours, [[1, 2, 3], "#000000"], ((1, 2, 3), (0, 0, 0))),
        (values.colours, "#010203", ((1, 2, 3),)),
        (values.colour_table, {"sky": [1, 2, 3]}, (("sky", ((1, 2, 3),)),)),
        (values.colour_table, [("sky", "#010203")], (("sky", ((1, 2, 3),)),)),
        (values.classes, range(2), (0, 1)),
        (values.classes, ["sky", np.int64(1)], ("sky", 1)),
        (values.words, ["sky", "sea"], ("sky", "sea")),
        (values.words, "voc", "voc"),
        (values.words, WORDS, WORDS),
    ],
)
def test_a_value_has_one_final_form(check, value, form):
    got = check(value)
    assert got == form and type(got) is type(form)


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (values.text, ["", "  ", 3, None], "expected a text"),
        (values.set_name, [".", "..", "a/b", "a\\b", "a\nb"], "a name without slashes"),
        (values.path, [3, "a\0b", None], "expected a path"),
        (values.paths, [[], ["a", 3], 3], "expected a path"),
        (values.boolean, [0, 1, "true", None], "expected true or false"),
        (values.whole(1, 3), [0, 4, 2.0, True, "2"], "expected a whole number from 1 to 3"),
        (values.choice("a", "b"), ["c", "A", ["a"], None], "expected one of a, b"),
        (values.tasks(Task.PART), ["semantic", "x", 3, None], "expected one of part"),
        (values.count, [0, -1, [], [1, 0], True, 1.0], "a whole number above 0, or a list"),
        (values.endings, ["xyz", [], 3, ["png", "xyz"]], "expected one or a list of jpg, jpeg"),
        (values.label_endings, ["jpg", ["png", "webp"]], "a format that keeps values, as png does"),
        (values.affix, ["a/b", "a\\b", 3], "a text that is part of a file name"),
        (values.affix, ["_mask.png", "x.JPG"], "between stem and ending, without the ending"),
        (values.labels, [2**32, -(2**31) - 1, True, "1", [1.0]], "whole number or a list of them"),
        (values.label_values, [{}, [], 3, [1, 2]], "a mapping from label values to classes"),
        (values.label_values, [{"7": 0}, {7: 1.5}, {True: 0}], "null., got "),
        (values.colour, ["#12345", "#1234567", [1, 2], [0, 0, 256], [0, -1, 0]], r"\[R, G, B\]"),
        (values.colour_table, [{}, [], 3, ["ab", 3]], "mapping from class names to colours"),
        (values.classes, ["sky", [True], [1.0], None], "a list of class names or indices"),
        (values.words, [3, ["a", 1], None], "a vocabulary, its name, or a list"),
    ],
)
def test_another_value_is_refused_with_what_is_expected(check, wrong, message):
    for value in wrong:
        with pytest.raises(ValueError, match=message):
            check(value)


def test_the_message_says_where_which_key_and_what_was_got():
    with pytest.raises(ValueError, match="^set 'a', split: got 3, expected a text$"):
        values.checked(values.text, 3, where="set 'a'", key="split")
    assert values.checked(values.text, "x", where="", key="") == "x"


@pytest.mark.parametrize(("given", "index"), [("sea", 1), (0, 0), (1, 1)])
def test_a_class_is_given_by_name_or_index(given, index):
    assert values.class_index(given, ("sky", "sea"), "seen") == index


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (2, "seen holds 2, expected 0 to 1"),
        (-1, "seen holds -1, expected 0 to 1"),
        ("Sea", "seen holds 'Sea', which is no class of .'sky', 'sea'."),
    ],
)
def test_a_class_that_is_not_there_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        values.class_index(given, ("sky", "sea"), "seen")
