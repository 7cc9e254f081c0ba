import random
import time

import numpy as np
import pytest

from segplugins.data.texts import NamePool, class_texts, drawn_text, mirrored, phrase_texts
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


def test_a_name_with_unannotated_objects_is_no_negative_of_any_set():
    # Cat and cow are present; another cow and a fox were dropped by a filter.
    record = {"not_exhaustive_classes": [2, 4]}
    chosen = class_texts(CLASSES, [0, 2], record, 0)
    assert chosen.ignore_negative.tolist() == [False, False, True, False, True]
    chosen = class_texts(CLASSES, [0, 2], record, 9)
    assert sorted(chosen.texts) == ["cat", "cow", "dog", "hen"]
    ignored = [t for t, i in zip(chosen.texts, chosen.ignore_negative.tolist()) if i]
    assert ignored == ["cow"]


def test_other_names_leave_out_what_a_present_one_contains():
    pool = NamePool({"man": 1, "old man": 1, "tree": 1, "sky": 0})
    drawn = set()
    for _ in range(40):
        drawn |= set(pool.draw(["old man"], 2))
    assert drawn == {"tree"}
    assert pool.draw(["a"], 0) == []


def test_names_are_drawn_by_the_root_of_their_frequency():
    np.random.seed(0)
    pool = NamePool({"rare": 1, "common": 9, "never": 0, "other": 0})
    drawn = [pool.draw([], 1)[0] for _ in range(4000)]
    # sqrt(9) = 3 times as often: 3,000 of 4,000, with a standard deviation of 27.
    assert abs(drawn.count("common") - 3000) < 140 and "never" not in drawn


def test_drawing_from_many_names_takes_under_a_millisecond():
    pool = NamePool({f"name {number}": number + 1 for number in range(80_000)})
    shown = [f"thing {number}" for number in range(20)]
    pool.draw(shown, 100)
    times = []
    for _ in range(20):
        start = time.process_time()
        assert len(pool.draw(shown, 100)) == 100
        times.append(time.process_time() - start)
    assert min(times) < 1e-3


@pytest.mark.parametrize("counts", [{}, {"a": 0}, {"a": float("nan")}])
def test_frequencies_that_allow_no_draw_are_refused(counts):
    with pytest.raises(ValueError, match="frequencies of at least 0, and one above"):
        NamePool(counts)


@pytest.mark.parametrize(
    "said, mirror",
    [
        ("LEFT", "Right"),
        ("the left-hand side", "the right-hand side"),
        ("lefts and righty", "lefts and righty"),
        ("Rightmost; left.", "Leftmost; right."),
        ("", ""),
    ],
)
def test_only_the_words_of_sides_change(said, mirror):
    assert mirrored(said) == mirror


def test_a_region_without_sentences_says_its_text_and_both_are_mirrored():
    regions = [Region("left dog"), Region("cat", extra={"sentences": ["cat at the right"]})]
    assert phrase_texts(regions, flipped=False) == ["left dog", "cat at the right"]
    assert phrase_texts(regions, flipped=True) == ["right dog", "cat at the left"]
    assert phrase_texts([Region("a", extra={"sentences": []})], flipped=False) == ["a"]
    assert phrase_texts([], flipped=True) == []


@pytest.mark.parametrize("limit, asked", [(2, 2), (3, 3), (4, 4), (5, 5), (9, 5)])
def test_as_many_names_are_asked_for_as_the_limit_and_the_list_allow(limit, asked):
    chosen = class_texts(CLASSES, [4, 1, 4], {}, limit)
    assert len(chosen.texts) == len(set(chosen.texts)) == asked
    assert [chosen.texts[chosen.positions[k]] for k in (4, 1)] == ["fox", "dog"]
    assert chosen.ignore_negative is None
    assert set(chosen.positions) == {CLASSES.index(text) for text in chosen.texts}


def test_names_that_are_never_drawn_are_asked_for_only_if_present():
    for _ in range(20):
        assert set(class_texts(CLASSES, [0], {}, 9, never=(0, 3)).texts) == set(CLASSES) - {"hen"}


def test_an_image_without_regions_is_asked_for_others_alone():
    assert len(class_texts(CLASSES, [], {}, 3).texts) == 3
    chosen = class_texts(CLASSES, [], {"negative_classes": []}, 3)
    assert chosen.texts == [] and chosen.ignore_negative.tolist() == []


def test_present_names_come_at_any_place_of_the_list():
    places = {class_texts(CLASSES, [2], {}, 3).positions[2] for _ in range(60)}
    assert places == {0, 1, 2}


def test_a_present_class_listed_as_looked_for_in_vain_counts_as_present():
    record = {"negative_classes": [0, 3], "not_exhaustive_classes": []}
    chosen = class_texts(CLASSES, [0], record, 9)
    assert sorted(chosen.texts) == ["cat", "hen"] and not chosen.ignore_negative.any()
    whole = class_texts(CLASSES, [0], record, 0)
    assert whole.ignore_negative.tolist() == [False, True, True, False, True]


def test_a_class_not_marked_everywhere_is_unknown_even_if_looked_for_in_vain():
    record = {"negative_classes": [3], "not_exhaustive_classes": [1]}
    chosen = class_texts(CLASSES, [0], record, 0)
    assert chosen.ignore_negative.tolist() == [False, True, True, False, True]
    # Without negative classes a list is complete but for what the record names.
    chosen = class_texts(CLASSES, [0], {"not_exhaustive_classes": [1]}, 0)
    assert chosen.ignore_negative.tolist() == [False, True, False, False, False]
    assert class_texts(CLASSES, [0], {"not_exhaustive_classes": []}, 0).ignore_negative is None


def test_a_pool_gives_different_names_and_no_more_than_asked():
    pool = NamePool({"a": 1, "b": 1, "c": 1})
    for _ in range(20):
        drawn = pool.draw([], 2)
        assert len(drawn) == len(set(drawn)) == 2
    assert set(pool.draw([], 9)) <= {"a", "b", "c"}
    assert pool.draw(["a"], -1) == []


def test_the_ends_of_a_pool_can_be_drawn(monkeypatch):
    pool = NamePool({"first": 1, "never": 0, "last": 1})
    for draw, name in ((0.0, "first"), (0.499, "first"), (0.5, "last"), (0.9999999, "last")):
        monkeypatch.setattr(np.random, "random", lambda count, draw=draw: np.full(count, draw))
        assert pool.draw([], 3) == [name]


def test_a_name_that_holds_a_present_one_or_is_held_by_one_is_left_out():
    pool = NamePool({"car": 1, "red car": 1, "carpet": 1, "bus": 1})
    drawn = {name for _ in range(40) for name in pool.draw(["car"], 4)}
    assert drawn == {"bus"}
    drawn = {name for _ in range(40) for name in pool.draw(["old red car"], 4)}
    assert drawn == {"carpet", "bus"}
