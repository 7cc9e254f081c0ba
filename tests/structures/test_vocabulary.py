import pytest

from segplugins.structures import (
    Vocabulary,
    get_vocabulary,
    register_vocabulary,
)
from segplugins.structures.vocabulary import (
    check_templates,
    vocabulary_doubts,
    vocabulary_from_data,
)


def test_class_lists_write_synonyms_after_a_comma():
    vocabulary = Vocabulary("a847", ("building, edifice", "bed "))
    assert vocabulary.classes == ("building, edifice", "bed ")  # names are shown as they stand
    assert vocabulary.synonyms == (("building", "edifice"), ("bed ",))


@pytest.mark.parametrize(
    "classes, message",
    [
        ((), "is empty: give at least one"),
        (("car", " "), "class 1 has an empty name ' '; take out a comma"),
        (("car", "sky", "car"), "'car' stands twice, as class 0 and class 2"),
        (("Car", "sky", "car "), r"'car ' stands twice, as class 0 \('Car' but for case .*class 2"),
        (("traffic light", "traffic  light"), "stands twice, as class 0"),
        (("caf\u00e9", "cafe\u0301"), "stands twice, as class 0"),
        ("car, sky", "must be a list of names, got the text"),
        (("car, , van",), r"class 'car, , van' has an empty synonym .*a \| too many"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary("v", classes)


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
        Vocabulary("one", ("car", "sky"), none_class="sky"),
        Vocabulary("one", ("car", "sky"), none_class="car"),
    ]
    assert len({one.digest(), *(other.digest() for other in others)}) == 7


def test_the_registry_knows_a_vocabulary_by_name():
    vocabulary = Vocabulary("test_registry_pets", ("cat", "dog"))
    register_vocabulary(vocabulary)
    register_vocabulary(vocabulary)  # the same again does no harm
    assert get_vocabulary("test_registry_pets") is vocabulary
    with pytest.raises(ValueError, match="of 2 classes is registered already and differs"):
        register_vocabulary(Vocabulary("test_registry_pets", ("dog", "cat")))
    with pytest.raises(KeyError, match="unknown vocabulary 'fish'; the nearest registered one is"):
        get_vocabulary("fish")


def test_an_unknown_vocabulary_names_the_nearest():
    register_vocabulary(Vocabulary("test_nearest_pets", ("cat", "dog")))
    with pytest.raises(KeyError, match="'test_nearest_pet'; the nearest registered one is 'test_n"):
        get_vocabulary("test_nearest_pet")


@pytest.mark.parametrize("synonyms", ["car", ("car", "sky"), (("car",), "sky")])
def test_a_text_is_no_list_of_synonyms(synonyms):
    # tuple("sky") would be three synonyms of one letter.
    with pytest.raises(
        ValueError, match="synonyms must be a list of texts per class, got the text"
    ):
        Vocabulary("v", ("car", "sky"), synonyms)


@pytest.mark.parametrize(
    "synonyms, doubt",
    [
        (
            (("car", "auto"), ("bus", "auto")),
            "'auto' is a synonym of class 0 'a' and of class 1 'b'",
        ),
        ((("Auto",), ("auto",)), "'auto' is a synonym of class 0"),
        (
            (("traffic-light",), ("traffic light",)),
            "'traffic-light' and 'traffic light' are one text",
        ),
        ((("salt &amp; pepper",), ("salt & pepper",)), "are one text for a tokenizer"),
        ((("car", "CAR"), ("bus",)), None),  # of one class
        ((("car",), ("bus",)), None),
        ((("+",), ("-",)), None),  # nothing but signs: they are what tells them apart
    ],
)
def test_texts_that_tell_no_classes_apart_are_doubts(synonyms, doubt):
    doubts = vocabulary_doubts(Vocabulary("v", ("a", "b"), synonyms))
    assert len(doubts) == (doubt is not None)
    assert doubt is None or doubt in doubts[0]


def test_the_digest_is_sixteen_digits_and_knows_a_class_from_its_synonym():
    digest = Vocabulary("v", ("car", "sky")).digest()
    assert len(digest) == 16 and int(digest, 16) >= 0
    assert digest != Vocabulary("v", ("auto", "sky"), (("car",), ("sky",))).digest()
    # A none-class that `select` has left out is none, and the digest is that of a list without.
    whole = Vocabulary("v", ("car", "other"), none_class="other")
    assert whole.select([0]).digest() == Vocabulary("v", ("car",)).digest()


def test_a_selection_may_have_a_name_of_its_own_and_keeps_the_templates():
    whole = Vocabulary("v", ("car", "sky"), templates=("a {}.",))
    assert whole.select([1]).name == "v"
    chosen = whole.select([1], name="part")
    assert (chosen.name, chosen.templates, len(chosen)) == ("part", ("a {}.",), 1)


def test_data_with_all_keys_becomes_a_vocabulary():
    data = {
        "name": "pets",
        "classes": [{"name": "cat", "thing": True, "synonyms": ["cat", "kitty"]}, "sky, heaven"],
        "templates": ["a {}."],
        "none_class": "sky, heaven",
    }
    vocabulary = vocabulary_from_data(data, name="file", source="pets.json")
    assert vocabulary == Vocabulary(
        "pets",
        ("cat", "sky, heaven"),
        (("cat", "kitty"), ("sky", "heaven")),
        (True, False),
        ("a {}.",),
        "sky, heaven",
    )


def test_a_bare_list_takes_the_name_that_is_given():
    vocabulary = vocabulary_from_data(["cat", "dog"], name="file", source="pets.json")
    assert (vocabulary.name, vocabulary.classes) == ("file", ("cat", "dog"))


@pytest.mark.parametrize(
    "data, message",
    [
        ("cat, dog", "pets.json: expected a list of classes or a mapping with 'classes'"),
        ({"classes": "cat"}, "expected a list of classes or a mapping"),
        ({"names": ["cat"]}, "expected a list of classes or a mapping"),
        ({"classes": ["cat"], "template": []}, "unknown key 'template', the nearest is 'templates"),
        ([{"name": "cat", "things": True}], "class 0: unknown key 'things', the nearest is 'thing"),
        (["cat", True], "class 1 is True; expected a name.*quote it"),
        (["cat", {"name": 5}], "class 1 is .*5.*expected a name"),
        ([{"name": "cat", "synonyms": "kitty"}], "class 0 has the synonyms 'kitty'"),
        ([{"name": "cat", "synonyms": ["kitty", 3]}], r"class 0 has the synonyms \['kitty', 3\]"),
    ],
)
def test_data_of_another_form_names_its_file_and_the_class(data, message):
    with pytest.raises(ValueError, match=f"^pets.json.*{message}|^{message}"):
        vocabulary_from_data(data, name="file", source="pets.json")


def test_templates_that_are_a_text_or_none_at_all_are_refused():
    for templates in ("a {}.", ()):
        with pytest.raises(ValueError, match="templates of my model: expected a list of at least"):
            check_templates(templates, owner="my model")
    assert check_templates(["a {}."], owner="my model") == ("a {}.",)


def test_a_class_and_the_synonym_of_another_are_a_doubt_that_names_both():
    vocabulary = Vocabulary("v", ("car", "van", "bus"), (("car",), ("van",), ("Car", "bus")))
    (doubt,) = vocabulary_doubts(vocabulary)
    assert "'Car' is a synonym of class 0 'car' and of class 2 'bus'" in doubt


def test_lists_become_tuples_and_numbers_truth_values():
    vocabulary = Vocabulary("v", ["car", "sky"], [["car", "auto"], ["sky"]], [1, 0])
    assert vocabulary.classes == ("car", "sky")
    assert vocabulary.synonyms == (("car", "auto"), ("sky",))
    assert vocabulary.is_thing == (True, False) and vocabulary.is_thing[0] is True
    same = Vocabulary("w", ("car", "sky"), (("car", "auto"), ("sky",)), (True, False))
    assert vocabulary.digest() == same.digest()
    assert Vocabulary("v", ["car"]).is_thing == (False,)


@pytest.mark.parametrize("synonyms", ["auto", ("auto", ("sky",)), (("car",), "sky")])
def test_a_bare_text_is_no_list_of_synonyms(synonyms):
    with pytest.raises(ValueError, match="a list of texts per class, got the text '(auto|sky)'"):
        Vocabulary("v", ("car", "sky"), synonyms)


def test_lists_of_synonyms_are_as_many_as_classes():
    with pytest.raises(ValueError, match="1 entries in synonyms for 2 classes; give one per class"):
        Vocabulary("v", ("car", "sky"), (("car",),))


@pytest.mark.parametrize("given, thing", [(None, False), (0, False), (1, True), (True, True)])
def test_thing_is_a_truth_value(given, thing):
    data = [{"name": "a", "thing": given}]
    assert vocabulary_from_data(data, name="v", source="f").is_thing == (thing,)


def test_values_of_another_type_are_named():
    with pytest.raises(ValueError, match="f, class 0: thing is 'no', expected true or false"):
        vocabulary_from_data([{"name": "a", "thing": "no"}], name="v", source="f")
    with pytest.raises(ValueError, match="templates of vocabulary 'v': expected a list.* got 7"):
        vocabulary_from_data({"classes": ["a"], "templates": 7}, name="v", source="f")
