"""Phrases, read back from disk and understood a second time by the plain rules below."""

import pickle
from collections import defaultdict

import pytest


@pytest.fixture
def pictures(world):
    """image id -> list of what can be seen in it, from instances.json alone."""
    content = world.json("referring/instances.json")
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    shown = defaultdict(list)
    for entry in content["annotations"]:
        left, top, width, height = entry["bbox"]
        shown[entry["image_id"]].append(
            {
                "id": entry["id"],
                "name": names[entry["category_id"]],
                "area": entry["area"],
                "x": (left + width / 2) / 104,
                "box": (left, top, left + width, top + height),
                **entry["attributes"],
            }
        )
    return shown


def means(meaning, shown):
    """Things that a phrase means, as a reader would take it: no grey zones."""
    found = [
        one
        for one in shown
        if one["name"] == meaning["name"]
        and one["colour"] == meaning.get("colour", one["colour"])
        and one["support"] == meaning.get("support", one["support"])
    ]
    side = meaning.get("side")
    if side:
        limits = {"left": (-1, 0.4), "middle": (0.4, 0.6), "right": (0.6, 2)}[side]
        found = [one for one in found if limits[0] <= one["x"] < limits[1]]
    size = meaning.get("size")
    if size and found:
        choose = max if size == "biggest" else min
        found = [choose(found, key=lambda one: one["area"])]
    relation = meaning.get("relation")
    if relation:
        name, colour = meaning["anchor"]
        (anchor,) = [one for one in shown if one["name"] == name and colour in ("", one["colour"])]
        found = [one for one in found if one is not anchor and related(one, anchor, relation)]
    return {one["id"] for one in found}


def related(one, anchor, relation):
    if relation == "above":
        return one["box"][3] <= anchor["box"][1]
    return (one["x"] < anchor["x"]) == (relation == "left of")


def test_every_phrase_means_its_target_and_nothing_else(world, pictures):
    refs = world.json("referring/refs(drawn).json")
    assert len(refs) > 60
    for ref in refs:
        for sentence in ref["sentences"]:
            (meaning,) = sentence["meaning"]
            assert means(meaning, pictures[ref["image_id"]]) == {ref["ann_id"]}, sentence["raw"]


def test_general_phrases_mean_exactly_their_targets_also_when_there_are_none(world, pictures):
    numbers = set()
    for ref in world.json("referring/grefs(drawn).json"):
        for sentence in ref["sentences"]:
            shown = pictures[ref["image_id"]]
            found = set().union(*(means(meaning, shown) for meaning in sentence["meaning"]))
            expected = set() if ref["ann_id"] == [-1] else set(ref["ann_id"])
            assert found == expected, sentence["raw"]
            numbers.add(min(len(expected), 2))
    assert numbers == {0, 1, 2}


def test_phrases_use_attributes_places_and_relations(world):
    used = set()
    for ref in world.json("referring/refs(drawn).json"):
        for sentence in ref["sentences"]:
            used |= set(sentence["meaning"][0])
            for word in sentence["meaning"][0].get("anchor", ()):
                assert word in sentence["raw"]
            assert sentence["meaning"][0].get("colour", "") in sentence["raw"]
            assert sentence["tokens"] == sentence["raw"].split()
    assert used >= {"name", "colour", "side", "size", "relation", "anchor", "support"}


def test_no_phrase_of_training_names_what_training_must_not_know(world):
    hidden = set(world.classes.unseen)
    for kind in ("refs", "grefs"):
        for ref in world.json(f"referring/{kind}(drawn).json"):
            if ref["split"] == "val_unseen":
                continue
            for sentence in ref["sentences"]:
                assert not hidden & set(sentence["tokens"]), sentence["raw"]
                for meaning in sentence["meaning"]:
                    pair = (meaning.get("colour", ""), meaning["name"])
                    assert pair not in world.classes.unseen_pairs, sentence["raw"]


def test_ids_and_files_are_those_of_the_instances(world):
    content = world.json("referring/instances.json")
    images = {entry["id"]: entry for entry in content["images"]}
    annotations = {entry["id"]: entry for entry in content["annotations"]}
    for kind in ("refs", "grefs"):
        refs = world.json(f"referring/{kind}(drawn).json")
        assert len({ref["ref_id"] for ref in refs}) == len(refs)
        sentences = [sentence["sent_id"] for ref in refs for sentence in ref["sentences"]]
        assert len(set(sentences)) == len(sentences)
        for ref in refs:
            image = images[ref["image_id"]]
            assert ref["file_name"] == image["file_name"]
            assert (world.root / "images" / image["file_name"]).is_file()
            assert ref["file_name"].startswith(ref["split"] + "/")
            if kind == "refs":
                assert annotations[ref["ann_id"]]["image_id"] == ref["image_id"]
                assert annotations[ref["ann_id"]]["category_id"] == ref["category_id"]


def test_the_pickle_is_the_json(world):
    raw = (world.root / "referring" / "refs(drawn).p").read_bytes()
    assert pickle.loads(raw) == world.json("referring/refs(drawn).json")
