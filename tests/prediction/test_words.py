"""Words of a user: how they become a vocabulary, and which ones a text encoder has never read."""

import logging

import pytest
from detectron2.data import MetadataCatalog

from segplugins.prediction.words import read_vocabulary, unseen_words, warn_of_unseen_words
from segplugins.structures import Vocabulary, get_vocabulary


def test_a_list_of_names_has_synonyms_after_a_bar_and_is_registered():
    vocabulary = read_vocabulary(["tree | shrub|bush", "sky, clear"])
    assert vocabulary.classes == ("tree", "sky, clear")  # a comma in a list parts nothing
    assert vocabulary.synonyms == (("tree", "shrub", "bush"), ("sky, clear",))
    assert get_vocabulary(vocabulary.name) is vocabulary


def test_other_classes_under_a_registered_name_get_a_name_of_their_own():
    first = read_vocabulary(Vocabulary("test_words", ("a", "b")))
    again = read_vocabulary(Vocabulary("test_words", ("a", "b")))
    other = read_vocabulary(Vocabulary("test_words", ("b", "a")))
    assert first.name == again.name == "test_words"
    assert other.name == f"test_words ({Vocabulary('test_words', ('b', 'a')).digest()[:8]})"
    assert get_vocabulary("test_words").classes == ("a", "b")
    assert get_vocabulary(other.name).classes == ("b", "a")


def test_the_name_of_a_data_set_stands_for_its_classes():
    name = "test_words_data_set"
    stored = read_vocabulary(Vocabulary("test_words_of_a_set", ("kerb", "manhole")))
    MetadataCatalog.get(name).set(vocabulary=stored.name)
    assert read_vocabulary(name) is stored
    MetadataCatalog.remove(name)
    assert read_vocabulary(f"{name},").classes == (name,)


@pytest.mark.parametrize("words", [[], ["a", ""], ["a", "a"], ["a", "|b"]])
def test_lists_that_name_no_class_or_one_twice_are_refused(words):
    with pytest.raises(ValueError, match="vocabulary|class"):
        read_vocabulary(words)


@pytest.mark.parametrize(
    "synonyms, unseen",
    [
        (["sky"], False),
        (["The RED cars"], False),  # case, colours, plurals and articles are of the drawn world
        (["two trees in the middle"], False),
        (["tollgate"], True),
        (["red tollgate"], True),  # every word must be one of them
        (["tollgate", "car"], False),  # one synonym that can be read is enough
        (["42"], False),  # no word at all
        (["sky_car"], False),  # an underscore parts words as a space does
    ],
)
@pytest.mark.parametrize("clip", ["convnext_drawn", "eva_drawn", "ViT-B-16"])
def test_words_are_compared_with_what_the_drawn_world_says(clip, synonyms, unseen):
    expected = [synonyms[0]] if unseen and clip != "ViT-B-16" else []
    assert unseen_words(clip, [synonyms]) == expected


@pytest.mark.parametrize(
    "count, told",
    [
        (1, "does not know 'quux 0': unless"),
        (5, "'quux 3', 'quux 4': unless"),
        (6, "'quux 3', 'quux 4' and 1 more: unless"),
        (9, "'quux 4' and 4 more: unless"),
    ],
)
def test_five_unseen_words_are_named_and_the_others_counted(caplog, count, told):
    with caplog.at_level(logging.WARNING):
        warn_of_unseen_words("eva_drawn", [(f"quux {i}",) for i in range(count)] + [("sky",)])
    (message,) = caplog.messages
    assert (
        told in message
        and "of this model, eva_drawn, has read" in message
        and "sky" not in (message.partition("does not know")[2])
    )
