"""Clips: identities are kept, things move as they are said to, phrases hold in every frame."""

import numpy as np
import pytest

from segplugins.drawn_world.clips import FRAMES, draw_clip


def expressions(world, split):
    return world.json(f"videos/meta_expressions/{split}/meta_expressions.json")["videos"]


def masks(world, split, video):
    frames = expressions(world, split)[video]["frames"]
    folder = f"videos/{split}/Annotations/{video}"
    return np.stack([world.pixels(f"{folder}/{frame}.png") for frame in frames])


@pytest.mark.parametrize(("split", "count"), [("train", 3), ("valid", 2)])
def test_every_frame_has_a_picture_and_a_palette_mask(world, split, count):
    videos = expressions(world, split)
    assert len(videos) == count
    for name, video in videos.items():
        assert len(video["frames"]) == FRAMES == 8
        assert masks(world, split, name).shape == (8, 72, 104)
        for frame in video["frames"]:
            assert world.pixels(f"videos/{split}/JPEGImages/{name}/{frame}.jpg").shape == (
                72,
                104,
                3,
            )


def test_meta_lists_the_frames_in_which_each_object_can_be_seen(world):
    for name, video in world.json("videos/train/meta.json")["videos"].items():
        shown = masks(world, "train", name)
        assert set(map(int, video["objects"])) == set(np.unique(shown)) - {0}
        frames = expressions(world, "train")[name]["frames"]
        for number, entry in video["objects"].items():
            seen = [frame for frame, mask in zip(frames, shown) if (mask == int(number)).any()]
            assert entry["frames"] == seen
            assert entry["category"] in world.classes.seen


def test_phrases_name_objects_of_the_clip(world):
    total = 0
    for split in ("train", "valid"):
        meta = world.json(f"videos/{split}/meta.json")["videos"]
        for name, video in expressions(world, split).items():
            for expression in video["expressions"].values():
                category = meta[name]["objects"][expression["obj_id"]]["category"]
                assert category in expression["exp"]
                total += 1
    assert total > 15


def test_what_is_said_to_move_moves_that_way(world):
    moving = 0
    for split in ("train", "valid"):
        for name, video in expressions(world, split).items():
            shown = masks(world, split, name)
            for expression in video["expressions"].values():
                heading = expression["meaning"][0].get("heading")
                first, last = (shown[frame] == int(expression["obj_id"]) for frame in (0, -1))
                inside = not any(mask[:, [0, -1]].any() for mask in (first, last))
                if heading and inside:
                    moved = np.nonzero(last)[1].mean() - np.nonzero(first)[1].mean()
                    assert moved * (1 if heading == "right" else -1) > 0.5, expression["exp"]
                    moving += 1
    assert moving


def test_a_thing_keeps_its_number_class_and_colour(world):
    clip = draw_clip(world.options, "clips_train", 0)
    known = {}
    for seen in clip.visible:
        for one in seen:
            look = (one.name, one.colour, one.speed)
            assert known.setdefault(one.segment, look) == look
    assert len(known) > 3


def test_no_boat_leaves_the_sea_and_no_car_the_road(world):
    checked = 0
    for index in range(12):
        clip = draw_clip(world.options, "clips_valid", index)
        last = clip.scene.after(FRAMES - 1)
        for thing in last.things:
            x, y = thing.foot
            if thing.name in ("boat", "car") and 0 <= x < clip.scene.land.wide:
                assert clip.scene.land.stuff_at(x, y) == {"boat": "sea", "car": "road"}[thing.name]
                checked += 1
    assert checked


def test_the_landscape_stands_still(world):
    clip = draw_clip(world.options, "clips_train", 1)
    still = np.ones((72, 104), bool)
    for picture in clip.pictures:
        still &= picture.segments < 16
    first, last = clip.pictures[0], clip.pictures[-1]
    np.testing.assert_array_equal(first.segments[still], last.segments[still])
