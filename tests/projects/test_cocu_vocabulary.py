"""The vocabulary of concepts from captions, and which evaluation classes it holds."""

import logging
import random

import pytest

from segplugins.projects.cocu.curation.page import _written
from segplugins.projects.cocu.curation.vocabulary import (
    VocabularyRules,
    build_concept_vocabulary,
    shared_names,
    warn_of_shared_names,
)
from segplugins.projects.cocu.schedule import learning_rate_factor
from segplugins.structures import Vocabulary, register_vocabulary

register_vocabulary(Vocabulary("test-cocu-shared", ("Dog", "sky", "traffic light")))
register_vocabulary(Vocabulary("test-cocu-apart", ("unicorn",)))

CAPTIONS = [
    "A brown dog running on the grass.",
    "the dog sleeps in a house",
    "A man rides a horse, with the dog",
    "a horse near the house and a man in the grass",
    "the man is on a red and white horse",
    "a traffic light over the traffic, at the light",
    "the traffic light by a light of the traffic",
]


def test_nouns_are_told_from_other_words_by_their_use():
    rules = VocabularyRules(min_count=2, min_evidence=1)
    names = build_concept_vocabulary(CAPTIONS, rules)
    # By hand: captions that hold each, equal ones by name.
    assert names == [
        "dog", "horse", "man", "grass", "house", "light", "traffic", "traffic light",
    ]  # fmt: skip


def test_count_size_and_stop_words_bound_it():
    rules = VocabularyRules(min_count=3, min_evidence=1)
    assert build_concept_vocabulary(CAPTIONS, rules) == ["dog", "horse", "man"]
    assert build_concept_vocabulary(CAPTIONS, rules._replace(size=2)) == ["dog", "horse"]
    assert build_concept_vocabulary(CAPTIONS, rules._replace(stop=("dog",))) == ["horse", "man"]


def test_a_caption_counts_once_and_the_order_of_captions_does_not_matter():
    rules = VocabularyRules(min_count=2)
    repeated = ["a cat of a cat on a cat", "the cow in a cow", "a cow"]
    assert build_concept_vocabulary(repeated, rules) == ["cow"]
    shuffled = CAPTIONS[:]
    random.Random(0).shuffle(shuffled)
    assert build_concept_vocabulary(shuffled, rules) == build_concept_vocabulary(CAPTIONS, rules)


@pytest.mark.parametrize("captions", [[], ["", "...", "12 34"], ["running fast"]])
def test_captions_without_a_name_are_refused(captions):
    with pytest.raises(ValueError, match=f"{len(captions)} captions hold no name in 5 of them"):
        build_concept_vocabulary(captions)


def test_rules_below_one_are_refused():
    with pytest.raises(ValueError, match="size, min_count and min_evidence start at 1"):
        build_concept_vocabulary(CAPTIONS, VocabularyRules(size=0))


def test_evaluation_classes_among_the_concepts_are_listed(caplog):
    concepts = ["dog", "light", "traffic light", "skyline"]
    assert shared_names(concepts, ("Dog", "sky", "traffic light")) == ["Dog", "traffic light"]
    with caplog.at_level(logging.WARNING):
        shared = warn_of_shared_names(concepts, ["test-cocu-shared", "test-cocu-apart"])
    assert shared == {"test-cocu-shared": ["Dog", "traffic light"], "test-cocu-apart": []}
    assert [record.getMessage() for record in caplog.records] == [
        "2 of the 3 classes of test-cocu-shared are concepts of the curation: Dog, traffic light"
    ]


def test_the_learning_rate_by_hand():
    def factor(step):
        return learning_rate_factor(step, steps=8, warmup=2, first=0.2, last=0.1)

    assert [factor(0), factor(1)] == [0.2, 0.2]  # the second step repeats the first
    assert factor(2) == pytest.approx(0.6)  # half of the way up
    assert factor(5) == pytest.approx(0.55)  # four of eight steps: half of the way down
    assert factor(3) == pytest.approx(0.1 + 0.45 * (1 + 2**-0.5))  # the cosine counts the warm-up
    assert factor(9) == pytest.approx(0.1) and factor(20) == pytest.approx(0.1)


def test_the_end_of_a_phrase_behind_a_word_that_is_no_noun_is_one():
    captions = ["a red car on the road", "two blue cars", "a red car", "a man sitting on a car"]
    captions += ["a man standing", "the road of a man", "a blue bird flying", "the old boats"]
    rules = VocabularyRules(min_count=1, min_evidence=1)
    names = build_concept_vocabulary(captions, rules)
    assert {"car", "cars", "road", "man", "boats"} <= set(names)
    # Colours stand at no end; "sitting" and "standing" do, behind a noun; "flying" ends in -ing.
    assert not {"red", "blue", "old", "sitting", "standing", "flying"} & set(names)
    twice = build_concept_vocabulary(captions, VocabularyRules(min_count=1, min_evidence=2))
    assert "car" in twice and "boats" not in twice


def test_words_that_say_where_are_no_concepts():
    captions = ["the dog next to the house", "the next dog", "two of them together", "a next"] * 3
    names = build_concept_vocabulary(captions, VocabularyRules(min_count=2, min_evidence=1))
    assert "dog" in names and not {"next", "together"} & set(names)


def test_a_caption_that_is_too_long_for_its_place_on_the_page_ends_between_lines():
    # Lines are 18 pixels apart and 15 high: three of them fit into 60 pixels.
    picture = _written(["word " * 60], 200, 60)
    ink = (picture < 128).any(axis=(1, 2))
    assert picture.shape == (60, 200, 3) and ink[36:54].any() and not ink[54:].any()
    assert not (_written(["word"], 200, 60) < 128).any(axis=(1, 2))[18:].any()
