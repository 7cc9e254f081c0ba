"""The same options give the same world: on any machine, by any number of workers, after a stop."""

import hashlib
import json

import pytest

from segplugins.drawn_world import WorldOptions, draw, write_drawn_world
from segplugins.drawn_world.clips import draw_clip

SMALL = {"train": 4, "val": 2, "pairs": 4, "clips": 1, "val_clips": 1, "size": 48, "shard": 3}

# SHA-256 of pictures, segments and parts of the drawings below, as arrays. Equal under numpy 1.26
# to 2.4 and OpenCV 4.11 to 5.0, with and without vector instructions. It changes when what is
# drawn changes: then FORMAT in world_file.py must change too, or a folder that was begun
# by the old code would be finished by the new one.
ARRAYS = "de41b15ab0da175278ddd57ae06bba702bc8b3b3cdb3562353d7036c6af60857"


def tree(root):
    """Every file of a folder: relative path to content."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_arrays_are_the_same_on_every_machine():
    options = WorldOptions(train=1, val=1, height=96, width=128, seed=1)
    digest = hashlib.sha256()
    for split in ("train", "val", "val_unseen", "pairs"):
        for index in range(8):
            picture = draw(options, split, index).picture
            for array in (picture.image, picture.segments, picture.parts):
                digest.update(array.tobytes())
    for picture in draw_clip(options, "clips_train", 0).pictures:
        digest.update(picture.image.tobytes())
    assert digest.hexdigest() == ARRAYS


def test_two_calls_write_the_same_bytes(tmp_path):
    first = tree(write_drawn_world(tmp_path / "a", **SMALL))
    second = tree(write_drawn_world(tmp_path / "b", **SMALL))
    assert first == second
    assert len(first) > 50


def test_another_seed_is_another_world(tmp_path):
    options = {**SMALL, "train": 1, "val": 0, "pairs": 0, "clips": 0, "val_clips": 0}
    first = tree(write_drawn_world(tmp_path / "a", **options))
    second = tree(write_drawn_world(tmp_path / "b", **options, seed=1))
    assert first["images/train/000000.png"] != second["images/train/000000.png"]


def test_an_image_does_not_depend_on_how_many_there_are():
    few = WorldOptions(train=3, val=1, height=48, width=48)
    many = WorldOptions(train=3000, val=100, height=48, width=48)
    assert (draw(few, "train", 2).picture.image == draw(many, "train", 2).picture.image).all()


class Stopped(Exception):
    """Thrown into a run in the middle."""


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path):
    whole = tree(write_drawn_world(tmp_path / "whole", **SMALL))
    steps = []

    def stop_after_two(count):
        steps.append(count)
        if len(steps) == 2:
            raise Stopped

    root = tmp_path / "stopped"
    with pytest.raises(Stopped):
        write_drawn_world(root, **SMALL, progress=stop_after_two)
    assert json.loads((root / "drawn.json").read_text())["complete"] is False
    finished = root / "images" / "train" / "000000.png"
    finished.write_bytes(b"not drawn again")
    write_drawn_world(root, **SMALL)
    assert finished.read_bytes() == b"not drawn again"
    finished.write_bytes(whole["images/train/000000.png"])
    assert tree(root) == whole


def test_a_complete_world_is_left_alone(tmp_path):
    root = write_drawn_world(tmp_path / "world", **SMALL)
    picture = root / "images" / "train" / "000000.png"
    picture.write_bytes(b"mine")
    reported = []
    write_drawn_world(root, **SMALL, progress=reported.append)
    assert picture.read_bytes() == b"mine"
    assert sum(reported) == 28  # 4 + 2 + 2 images, 4 pairs, 2 clips of 8 frames


def test_a_world_of_other_options_is_replaced_only_when_forced(tmp_path):
    root = write_drawn_world(tmp_path / "world", **SMALL)
    with pytest.raises(FileExistsError, match="other options .train 4 there, 3 asked.*--force"):
        write_drawn_world(root, **{**SMALL, "train": 3})
    write_drawn_world(root, **{**SMALL, "train": 3}, force=True)
    assert not (root / "images" / "train" / "000003.png").exists()


def test_a_folder_with_something_else_in_it_is_never_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(FileExistsError, match="is not empty and holds no drawn.json"):
            write_drawn_world(tmp_path, **SMALL, force=force)
    assert (tmp_path / "thesis.tex").exists()


def test_no_workers_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="workers is 0; at least 1"):
        write_drawn_world(tmp_path / "world", **SMALL, workers=0)


@pytest.mark.parametrize("size", ["128", (64, 64, 3), 64.0])
def test_a_size_is_a_number_or_a_pair(tmp_path, size):
    with pytest.raises(ValueError, match="expected pixels, or .height, width."):
        write_drawn_world(tmp_path / "world", **{**SMALL, "size": size})


def test_a_world_of_few_classes_shows_those_alone(tmp_path):
    root = write_drawn_world(
        tmp_path / "world",
        **{**SMALL, "train": 12},
        classes=("sky", "sea", "sand", "boat", "sun", "person"),
        unseen=("person",),
        unseen_pairs=("red boat",),
    )
    world = json.loads((root / "drawn.json").read_text())
    assert world["classes"] == ["sky", "sea", "sand", "boat", "sun", "person"]
    assert world["num_seen"] == 5
    content = json.loads((root / "annotations" / "instances_train.json").read_text())
    looks = {(e["category_id"], e["attributes"]["colour"]) for e in content["annotations"]}
    assert {index for index, _ in looks} == {4, 5}
    assert (4, "red") not in looks
