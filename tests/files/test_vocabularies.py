import codecs
import json
import logging

import pytest

from segplugins.data.sources import KINDS
from segplugins.files.vocabularies import KINDS_OF_THINGS, parse_vocabulary, vocabulary_of
from segplugins.structures import Vocabulary, register_vocabulary


def test_text_gives_classes_in_order_with_their_synonyms():
    vocabulary = parse_vocabulary("red car, tree|shrub, sky")
    assert vocabulary.classes == ("red car", "tree", "sky")
    assert vocabulary.synonyms == (("red car",), ("tree", "shrub"), ("sky",))
    assert len(vocabulary) == 3


def test_a_trailing_comma_is_no_class():
    assert parse_vocabulary("car, sky,").classes == ("car", "sky")


def test_empty_text_is_an_empty_vocabulary():
    with pytest.raises(ValueError, match="is empty"):
        parse_vocabulary("")


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
        (
            "classes: [{name: car, sysnonyms: [auto]}]",
            "class 0: unknown key 'sysnonyms', the nearest is 'synonyms'",
        ),
        ("classes: [car]\ntemplate: x", "unknown key 'template', the nearest is 'templates'"),
        (
            "classes: [{name: car, synonyms: auto}]",
            "class 0 has the synonyms 'auto'; expected a li",
        ),
        ("classes: [car]\nclasses: [sky]", "key 'classes' stands twice, again in line 2"),
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


@pytest.fixture
def pets():
    vocabulary = Vocabulary("test_parsed_pets", ("cat", "dog"))
    register_vocabulary(vocabulary)
    return vocabulary


def test_a_registered_name_gives_its_vocabulary(pets, tmp_path):
    assert parse_vocabulary("test_parsed_pets") is pets
    assert vocabulary_of("test_parsed_pets", name="n", source="s", folder=tmp_path) is pets


def test_a_mistyped_name_is_no_class(pets, tmp_path):
    message = "no vocabulary 'test_parsed_pet' is registered; the nearest is 'test_parsed_pets'"
    with pytest.raises(ValueError, match=message):
        parse_vocabulary("test_parsed_pet")
    assert parse_vocabulary("test_parsed_pet,").classes == ("test_parsed_pet",)
    assert parse_vocabulary("zebra").classes == ("zebra",)
    message = "s: 'test_parsed_pet' is neither a registered vocabulary nor a file .*_pets'; classes"
    with pytest.raises(ValueError, match=message):
        vocabulary_of("test_parsed_pet", name="n", source="s", folder=tmp_path)


@pytest.mark.parametrize("text", ["test_parsed_pet", "Test_Parsed_Pets", "test_prsd_pets"])
def test_an_identifier_near_a_registered_name_is_refused(pets, text):
    with pytest.raises(ValueError, match="the nearest is 'test_parsed_pets'. If it is the name of"):
        parse_vocabulary(text)


def test_a_plain_word_near_a_registered_name_stays_a_class_and_a_line_says_so(caplog):
    register_vocabulary(Vocabulary("testcreatures", ("cat", "dog")))
    with caplog.at_level(logging.WARNING):
        assert parse_vocabulary("testcreature").classes == ("testcreature",)
    assert "read as the name of one class" in caplog.text and "'testcreatures'" in caplog.text


STREETS = """
kind: {kind}
vocabulary: {words}
sets:
  streets_train: {{images: a, labels: b}}
  streets_val: {{images: c, labels: d{own}}}
"""


@pytest.fixture
def streets(tmp_path):
    """Writes a description of data sets; returns its path as text."""

    def write(words="[sky, 'tree, shrub']", kind="semantic", own="", name="streets.yaml"):
        (tmp_path / name).write_text(STREETS.format(kind=kind, words=words, own=own))
        return str(tmp_path / name)

    return write


def test_a_description_of_data_sets_gives_their_vocabulary(streets):
    words = parse_vocabulary(streets())
    assert words == Vocabulary("streets.yaml", ("sky", "tree, shrub"))
    assert words.synonyms[1] == ("tree", "shrub")


def test_the_vocabulary_of_a_description_is_a_file_beside_it_or_a_registered_name(
    streets, pets, tmp_path
):
    (tmp_path / "names.txt").write_text("road\nsky\n")
    assert parse_vocabulary(streets("names.txt")).classes == ("road", "sky")
    assert parse_vocabulary(streets("test_parsed_pets")) == pets
    assert parse_vocabulary(streets("test_parsed_pets", kind="coco")) == pets


@pytest.mark.parametrize("kind, thing", [("semantic", False), ("coco", True)])
def test_classes_of_a_description_are_things_where_its_kind_counts_instances(streets, kind, thing):
    assert parse_vocabulary(streets(kind=kind)).is_thing == (thing, thing)


def test_the_kinds_of_things_are_those_whose_readers_say_so():
    assert {name for name, source in KINDS.items() if source.things} == set(KINDS_OF_THINGS)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"own": ", vocabulary: [road]"}, "streets.yaml has 2 vocabularies and one is needed"),
        ({"words": "null"}, "streets.yaml has no vocabulary and one is needed"),
        ({"words": "streets.yaml"}, "'streets.yaml' is a description of data sets itself"),
        ({"words": "[sky, yes]"}, "streets.yaml, key 'vocabulary': class 1 is True"),
        ({"words": "nobody"}, "'nobody' is neither a registered vocabulary nor a file"),
    ],
)
def test_a_description_without_one_vocabulary_is_refused(streets, changes, message):
    with pytest.raises(ValueError, match=message):
        parse_vocabulary(streets(**changes))


@pytest.mark.parametrize("sets", ["[]", "{}", "null", "{a: null, b: 3}"])
def test_a_description_with_odd_sets_is_read_or_refused_in_a_line(tmp_path, sets):
    path = tmp_path / "s.yaml"
    path.write_text(f"kind: semantic\nvocabulary: [sky]\nsets: {sets}\n")
    if sets.startswith("{a"):
        assert parse_vocabulary(str(path)).classes == ("sky",)
    else:
        with pytest.raises(ValueError, match="'sets' names no data set"):
            parse_vocabulary(str(path))


def test_a_file_of_another_ending_is_no_class(tmp_path):
    (tmp_path / "names.csv").write_text("cat\n")
    with pytest.raises(ValueError, match="names.csv' is a file that ends in none of .txt, .json"):
        parse_vocabulary(str(tmp_path / "names.csv"))


@pytest.mark.parametrize(
    "file, text",
    [
        ("v.txt", "sky\r\ngrass, lawn\r\n\r\nhouse\r\n"),
        ("v.json", '["sky",\r\n "grass, lawn", "house"]'),
        ("v.yaml", "- sky\r\n- grass, lawn\r\n- house\r\n"),
        ("v.TXT", "sky\rgrass, lawn\rhouse"),
    ],
)
def test_marks_and_line_ends_of_other_systems_are_no_part_of_names(tmp_path, file, text):
    (tmp_path / file).write_bytes(codecs.BOM_UTF8 + text.encode())
    vocabulary = parse_vocabulary(str(tmp_path / file))
    assert vocabulary.classes == ("sky", "grass, lawn", "house")
    assert vocabulary.synonyms[1] == ("grass", "lawn")
    assert vocabulary_of(file, name="n", source="s", folder=tmp_path) == vocabulary


def test_doubts_are_told_once_each_and_not_without_end(tmp_path, caplog):
    names = [f"a{i}, shared{i}\nb{i}, shared{i}" for i in range(8)]
    (tmp_path / "v.txt").write_text("\n".join(names))
    with caplog.at_level(logging.WARNING):
        parse_vocabulary(str(tmp_path / "v.txt"))
    assert "'shared0' is a synonym of class 0 'a0, shared0' and of class 1" in caplog.text
    assert len(caplog.records) == 6 and "3 more such" in caplog.text


def test_classes_that_are_spelt_out_get_the_name_of_their_place(tmp_path):
    vocabulary = vocabulary_of(["cat", "dog"], name="n", source="s", folder=tmp_path)
    assert vocabulary == Vocabulary("n", ("cat", "dog"))
