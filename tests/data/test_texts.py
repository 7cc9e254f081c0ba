import random

import numpy as np
import pytest

from segplugins.data.texts import class_texts, drawn_text, mirrored, other_names, phrase_texts
from segplugins.structures.regions import Region

CLASSES = ["cat", "dog", "cow", "hen", "fox"]


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)


@pytest.mark.parametrize(
    "said, mirror",
    [
        ("Left dog, not the right one", "Right dog, not the left one"),
        ("leftmost man", "rightmost man"),
        ("bright copyright", "bright copyright"),
        ("man on right", "man on left"),
    ],
)
def test_a_mirror_exchanges_left_and_right_as_whole_words(said, mirror):
    assert mirrored(said) == mirror
    assert mirrored(mirror) == said


def test_every_sentence_of_an_object_is_drawn_in_turn():
    drawn = {drawn_text(["a left", "b"], flipped=True) for _ in range(50)}
    assert drawn == {"a right", "b"}


def test_targets_of_one_phrase_stay_together():
    several = [Region("two cats", extra={"sentences": ["two cats", "both cats"]})] * 2
    for _ in range(20):
        texts = phrase_texts([*several, Region("dog")], flipped=False)
        assert texts[0] == texts[1] and texts[2] == "dog"


def test_without_a_limit_the_whole_vocabulary_is_asked_for():
    chosen = class_texts(CLASSES, [2, 2, 0], {}, 0)
    assert chosen.texts is None and chosen.ignore_negative is None
    assert chosen.positions == {0: 0, 2: 2}


def test_with_a_limit_present_names_come_with_drawn_others():
    seen = set()
    for _ in range(60):
        chosen = class_texts(CLASSES, [2, 0, 2], {}, 3)
        assert len(set(chosen.texts)) == 3 and {"cat", "cow"} < set(chosen.texts)
        assert chosen.texts[chosen.positions[2]] == "cow"
        seen |= set(chosen.texts)
    assert seen == set(CLASSES)


def test_a_limit_below_what_is_present_drops_nothing():
    assert sorted(class_texts(CLASSES, [0, 1, 2], {}, 2).texts) == ["cat", "cow", "dog"]


FEDERATED = {"negative_classes": [3], "not_exhaustive_classes": [0]}


def test_nothing_is_learnt_from_names_that_nobody_looked_for():
    # Cat and cow are present, cat not marked everywhere, hen looked for in vain; dog, fox unknown.
    chosen = class_texts(CLASSES, [0, 2], FEDERATED, 0)
    assert chosen.ignore_negative.tolist() == [True, True, False, False, True]


def test_with_a_limit_only_names_looked_for_in_vain_are_asked_for():
    chosen = class_texts(CLASSES, [0, 2], FEDERATED, 5)
    assert sorted(chosen.texts) == ["cat", "cow", "hen"]
    ignored = [t for t, i in zip(chosen.texts, chosen.ignore_negative.tolist()) if i]
    assert ignored == ["cat"]


def test_other_names_leave_out_what_a_present_one_contains():
    pool = ["man", "old man", "tree", "sky"]
    drawn = set()
    for _ in range(40):
        drawn |= set(other_names(["old man"], pool, [1, 1, 1, 0], 2))
    assert drawn == {"tree"}
    assert other_names(["a"], [], [], 5) == []
