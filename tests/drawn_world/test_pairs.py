"""Image-text pairs: captions are true, name little, and come without masks."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from segplugins.drawn_world import draw
from segplugins.drawn_world.captions import full_caption, short_caption, tags
from segplugins.drawn_world.classes import all_things
from segplugins.drawn_world.dice import Dice
from segplugins.drawn_world.palette import lights


@pytest.fixture(scope="module")
def samples(world):
    """key -> {extension: bytes} over all tars, in order."""
    found = {}
    for path in sorted((world.root / "pairs").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                found.setdefault(key, {})[kind] = tar.extractfile(member).read()
    return found


def test_tars_hold_every_pair_once_and_no_more_than_a_shard_each(world, samples):
    assert len(list((world.root / "pairs").glob("*.tar"))) == 2  # 14 pairs, 8 to a shard
    assert len(samples) == 14
    for members in samples.values():
        assert set(members) == {"png", "txt", "json"}
        assert members["txt"].decode() == json.loads(members["json"])["caption"]


def test_a_sample_is_the_drawing_of_its_number(world, samples):
    for index, members in enumerate(samples.values()):
        drawing = draw(world.options, "pairs", index)
        image = np.asarray(Image.open(io.BytesIO(members["png"])))
        np.testing.assert_array_equal(image, drawing.picture.image)


def nouns_in(text):
    """Class -> colours with which a caption names it, in its singular or plural."""
    found = {}
    words = text.replace(",", "").split()
    for kind in all_things().values():
        for place, word in enumerate(words):
            if word in (kind.name, kind.plural):
                before = words[place - 1] if place else ""
                after = words[place + 2] if words[place + 1 : place + 2] == ["in"] else ""
                colour = next((one for one in (before, after) if one in kind.colours), "")
                found.setdefault(kind.name, set()).add(colour)
    return found


def test_captions_name_only_what_is_there(world, samples):
    for index, members in enumerate(samples.values()):
        data = json.loads(members["json"])
        shown = {}
        for seen in draw(world.options, "pairs", index).things:
            shown.setdefault(seen.name, {""}).add(seen.colour)
        for text in data["captions"]:
            for name, colours in nouns_in(text).items():
                assert colours <= shown.get(name, set()), text


def test_the_short_caption_leaves_out_what_the_full_one_names(samples):
    short, full = 0, 0
    for members in samples.values():
        data = json.loads(members["json"])
        assert 0 < len(nouns_in(data["caption"])) <= 2
        short += len(nouns_in(data["caption"]))
        full += len(nouns_in(data["full_caption"]))
        assert set(nouns_in(data["full_caption"])) <= set(data["tags"])
    assert full > 2 * short


def test_tags_are_the_classes_that_can_be_seen(world, samples):
    for index, members in enumerate(samples.values()):
        data = json.loads(members["json"])
        drawing = draw(world.options, "pairs", index)
        assert set(data["tags"]) <= {seen.name for seen in (*drawing.things, *drawing.stuff)}
        assert len(set(data["tags"])) == len(data["tags"])
        assert {seen.name for seen in drawing.things if seen.worded} <= set(data["tags"])


def test_pairs_know_unseen_classes_but_no_masks(world, samples):
    named = set()
    for members in samples.values():
        data = json.loads(members["json"])
        named |= set(data["tags"])
        for region in data["regions"]:
            assert region["mask"] is None
            left, top, right, bottom = region["box"]
            assert 0 <= left < right <= data["width"] == 104
            assert 0 <= top < bottom <= data["height"] == 72
    assert named & set(world.classes.unseen)


def test_region_lines_carry_masks_captions_and_tags(world):
    lines = (world.root / "regions" / "train.jsonl").read_text().splitlines()
    assert len(lines) == 12
    for line in map(json.loads, lines):
        assert (world.root / "images" / "train" / line["file_name"]).is_file()
        kinds = {region["is_thing"] for region in line["regions"]}
        assert False in kinds
        for region in line["regions"]:
            assert region["mask"]["size"] == [72, 104]
            assert region["text"] in world.classes.seen
            assert len(set(region["extra"]["captions"])) == len(region["extra"]["captions"]) > 0


def test_a_landscape_without_things_is_described_by_what_it_is(world):
    stuff = draw(world.options, "train", 0).stuff
    day = lights()["day"]
    assert short_caption(Dice(0, 0, 0), [], stuff, day)
    assert full_caption([], stuff, day).endswith("on a sunny day")
    assert set(tags([], stuff)) <= {seen.name for seen in stuff}
