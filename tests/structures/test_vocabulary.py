import json

import pytest

from segplugins.structures import (
    Vocabulary,
    get_vocabulary,
    parse_vocabulary,
    register_vocabulary,
)


def test_text_gives_classes_in_order_with_their_synonyms():
    vocabulary = parse_vocabulary("red car, tree|shrub, sky")
    assert vocabulary.classes == ("red car", "tree", "sky")
    assert vocabulary.synonyms == (("red car",), ("tree", "shrub"), ("sky",))
    assert len(vocabulary) == 3


def test_a_trailing_comma_is_no_class():
    assert parse_vocabulary("car, sky,").classes == ("car", "sky")


def test_class_lists_write_synonyms_after_a_comma():
    vocabulary = Vocabulary("a847", ("building, edifice", "bed "))
    assert vocabulary.classes == ("building, edifice", "bed ")  # names are shown as they stand
    assert vocabulary.synonyms == (("building", "edifice"), ("bed ",))


@pytest.mark.parametrize(
    "classes, message",
    [
        ((), "is empty: give at least one"),
        (("car", " "), "class 1 has an empty name ' '"),
        (("car", "sky", "car"), "'car' stands twice, as class 0 and class 2"),
        ("car, sky", "must be a list of names, got the text"),
        (("car, , van",), "class 'car, , van' has an empty synonym"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary("v", classes)


def test_empty_text_is_an_empty_vocabulary():
    with pytest.raises(ValueError, match="is empty"):
        parse_vocabulary("")


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_a_template_needs_one_placeholder(template):
    with pytest.raises(ValueError, match="exactly once, where the class name goes"):
        Vocabulary("v", ("car",), templates=("a {}.", template))


def test_lists_must_be_as_long_as_the_classes():
    with pytest.raises(ValueError, match="1 entries in is_thing for 2 classes"):
        Vocabulary("v", ("car", "sky"), is_thing=(True,))


def test_the_none_class_is_one_of_the_classes():
    assert Vocabulary("v", ("car", "other"), none_class="other").none_index == 1
    assert Vocabulary("v", ("car", "other")).none_index is None
    with pytest.raises(ValueError, match="none_class 'nothing' is not one of its 2 classes"):
        Vocabulary("v", ("car", "other"), none_class="nothing")


def test_select_permutes_everything_that_belongs_to_a_class():
    vocabulary = Vocabulary(
        "v", ("car", "sky", "other"), (("car", "auto"), ("sky",), ("rest",)), (True, False, False),
        none_class="other",
    )  # fmt: skip
    chosen = vocabulary.select([1, 0])
    assert chosen.classes == ("sky", "car")
    assert chosen.synonyms == (("sky",), ("car", "auto"))
    assert chosen.is_thing == (False, True)
    assert chosen.none_class is None
    assert vocabulary.select([2, 1, 0]).none_index == 0


def test_the_digest_follows_the_content_and_not_the_name():
    one = Vocabulary("one", ("car", "sky"))
    assert one.digest() == Vocabulary("two", ("car", "sky")).digest()
    others = [
        Vocabulary("one", ("sky", "car")),
        Vocabulary("one", ("car", "sky"), templates=("a {}.",)),
        Vocabulary("one", ("car", "sky"), is_thing=(True, False)),
        Vocabulary("one", ("car", "sky"), (("car", "van"), ("sky",))),
    ]
    assert len({one.digest(), *(other.digest() for other in others)}) == 5


def test_files_of_every_kind_give_the_same_vocabulary(tmp_path):
    (tmp_path / "v.txt").write_text("car, auto\n\nsky\n")
    (tmp_path / "v.json").write_text(json.dumps(["car, auto", "sky"]))
    (tmp_path / "v.yaml").write_text("- car, auto\n- sky\n")
    read = [parse_vocabulary(str(tmp_path / f"v.{kind}")) for kind in ("txt", "json", "yaml")]
    assert read[0] == read[1] == read[2] == Vocabulary("v", ("car, auto", "sky"))


def test_a_mapping_in_a_file_can_say_everything(tmp_path):
    path = tmp_path / "v.yaml"
    path.write_text(
        "name: streets\n"
        "templates: ['a {}.']\n"
        "none_class: other\n"
        "classes:\n"
        "  - {name: car, synonyms: [car, auto], thing: true}\n"
        "  - other\n"
    )
    assert parse_vocabulary(str(path)) == Vocabulary(
        "streets",
        ("car", "other"),
        (("car", "auto"), ("other",)),
        (True, False),
        ("a {}.",),
        "other",
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("classes: {a: 1}", "expected a list of classes or a mapping with 'classes'"),
        ("classes: [car, yes]", "class 1 is True; expected a name .* quote it"),
        ("classes: [{name: car, sysnonyms: [auto]}]", r"class 0: unknown keys \['sysnonyms'\]"),
        ("classes: [car]\ntemplate: x", r"unknown keys \['template'\]; known are"),
        ("classes: [car", "is not readable"),
        ("!!python/object/apply:os.getcwd []", "is not readable"),
    ],
)
def test_a_file_that_describes_no_vocabulary_is_refused(tmp_path, text, message):
    path = tmp_path / "v.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        parse_vocabulary(str(path))


def test_a_missing_file_is_not_taken_for_a_class_name():
    with pytest.raises(FileNotFoundError, match="no vocabulary file 'my_classes.txt'"):
        parse_vocabulary("my_classes.txt")


def test_the_registry_knows_a_vocabulary_by_name():
    vocabulary = Vocabulary("test_registry_pets", ("cat", "dog"))
    register_vocabulary(vocabulary)
    register_vocabulary(vocabulary)  # the same again does no harm
    assert get_vocabulary("test_registry_pets") is vocabulary
    assert parse_vocabulary("test_registry_pets") is vocabulary
    with pytest.raises(ValueError, match="of 2 classes is registered already and differs"):
        register_vocabulary(Vocabulary("test_registry_pets", ("dog", "cat")))
    with pytest.raises(KeyError, match="unknown vocabulary 'fish'. Known: .*test_registry_pets"):
        get_vocabulary("fish")
