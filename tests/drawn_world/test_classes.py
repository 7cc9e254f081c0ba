"""Which classes a world holds, shows and hides."""

import pytest

from segplugins.drawn_world.classes import all_parts, all_stuff, all_things, choose_classes


def test_seen_classes_come_first_and_keep_their_order():
    chosen = choose_classes(unseen=["sheep", "car"])
    known = [*all_stuff(), *all_things()]
    assert list(chosen.seen) == [name for name in known if name not in ("sheep", "car")]
    assert chosen.unseen == ("car", "sheep")
    assert chosen.names == chosen.seen + chosen.unseen


def test_the_usual_world_hides_four_things_and_three_pairs():
    chosen = choose_classes()
    assert set(chosen.unseen) == {"sheep", "kite", "balloon", "rocket"}
    assert set(chosen.unseen_pairs) == {("blue", "boat"), ("yellow", "car"), ("red", "house")}
    assert not chosen.is_seen("balloon", "red")
    assert not chosen.is_seen("boat", "blue")
    assert chosen.is_seen("boat", "red")


def test_the_vocabulary_says_what_is_a_thing():
    words = choose_classes().vocabulary("some")
    assert words.is_thing == tuple(name in all_things() for name in words.classes)


def test_parts_are_those_of_the_classes_chosen():
    chosen = choose_classes(["sky", "grass", "tree"])
    assert chosen.parts == (("tree", "trunk"), ("tree", "crown"))
    assert len(all_parts()) < 255, "part 255 would collide with ignored pixels"


def test_looks_give_one_entry_per_class_and_colour():
    chosen = choose_classes(["sky", "grass", "tree", "lamp"])
    assert chosen.looks == (
        ("sky", ""),
        ("grass", ""),
        ("tree", "green"),
        ("tree", "orange"),
        ("tree", "yellow"),
        ("lamp", ""),
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"names": ["sky", "grass", "dragon"]}, "unknown class 'dragon'; known are .*'house'"),
        ({"names": ["sky", "sky", "grass", "car"]}, "class names repeat"),
        ({"names": ["grass", "tree"]}, "'sky' and at least one of"),
        ({"names": ["sky", "hill", "tree"]}, "'sky' and at least one of"),
        ({"names": ["sky", "grass"]}, "add a thing"),
        ({"names": ["sky", "grass", "tree"], "unseen": ["car"]}, "unknown unseen class 'car'"),
        ({"unseen": ["sky"]}, "'sky' and at least one of"),
        ({"unseen_pairs": ["purple car"]}, "'purple car' is not drawn here"),
        ({"unseen_pairs": ["car"]}, "'car' is not drawn here"),
        (
            {"unseen_pairs": ["green tree", "orange tree", "yellow tree"]},
            "every colour of 'tree'; make it an unseen class",
        ),
    ],
)
def test_classes_that_make_no_world_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        choose_classes(**asked)
