"""All formats tell the same story: read back from disk, each is held against the others."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

SPLITS = ("train", "val", "val_unseen")


def maps_of(world, split):
    """Yields (panoptic entry, ids (H, W), semantic (H, W)) of every image of a split."""
    for entry in world.json(f"annotations/panoptic_{split}.json")["annotations"]:
        rgb = world.pixels(f"annotations/panoptic/{split}/{entry['file_name']}").astype(np.int64)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        yield entry, ids, world.pixels(f"annotations/semantic/{split}/{entry['file_name']}")


@pytest.mark.parametrize("split", SPLITS)
def test_panoptic_segments_cover_the_image_and_agree_with_the_semantic_map(world, split):
    for entry, ids, semantic in maps_of(world, split):
        assert ids.shape == (72, 104)
        listed = {segment["id"]: segment for segment in entry["segments_info"]}
        assert set(np.unique(ids)) == set(listed)
        for identity, segment in listed.items():
            mask = ids == identity
            assert mask.sum() == segment["area"]
            assert (semantic[mask] == segment["category_id"] - 1).all()
            rows, columns = np.nonzero(mask)
            left, top, width, height = segment["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("split", SPLITS)
def test_instances_are_the_thing_segments(world, split):
    content = world.json(f"annotations/instances_{split}.json")
    masks = {}
    for entry in content["annotations"]:
        mask = coco_mask.decode(entry["segmentation"]).astype(bool)
        assert mask.sum() == entry["area"] > 0
        masks.setdefault(entry["image_id"], []).append((entry["category_id"], mask))
    things = {category["id"] for category in content["categories"]}
    for entry, ids, _ in maps_of(world, split):
        segments = [s for s in entry["segments_info"] if s["category_id"] in things]
        ours = masks.get(entry["image_id"], [])
        assert len(segments) == len(ours)
        for segment in segments:
            same = [m for c, m in ours if c == segment["category_id"]]
            assert any((mask == (ids == segment["id"])).all() for mask in same)


def test_ids_are_unique_over_all_splits(world):
    images, annotations = [], []
    for split in SPLITS:
        content = world.json(f"annotations/instances_{split}.json")
        images += [entry["id"] for entry in content["images"]]
        annotations += [entry["id"] for entry in content["annotations"]]
    assert len(set(images)) == len(images) == 12 + 5 + 9
    assert len(set(annotations)) == len(annotations)


@pytest.mark.parametrize("split", SPLITS)
def test_parts_lie_inside_their_things(world, split):
    names = [entry["name"] for entry in world.json("annotations/parts.json")["categories"]]
    assert names[-1] == "background"
    found = 0
    for entry, _, semantic in maps_of(world, split):
        parts = world.pixels(f"annotations/parts/{split}/{entry['file_name']}")
        assert parts.max() < len(names)
        for value in set(np.unique(parts)) - {len(names) - 1}:
            owner = world.classes.names.index(names[value].split()[0])
            assert (semantic[parts == value] == owner).all(), names[value]
            found += 1
    assert found > 10


@pytest.mark.parametrize("name", ["house", "car", "tree", "person"])
def test_things_that_are_all_parts_have_no_pixel_without_one(world, name):
    background = len(world.json("annotations/parts.json")["categories"]) - 1
    index = world.classes.names.index(name)
    for entry, _, semantic in maps_of(world, "train"):
        parts = world.pixels(f"annotations/parts/train/{entry['file_name']}")
        assert (parts[semantic == index] != background).all()


@pytest.mark.parametrize("split", SPLITS)
def test_attributes_refine_the_classes(world, split):
    looks = world.classes.looks
    for entry, _, semantic in maps_of(world, split):
        attributes = world.pixels(f"annotations/attributes/{split}/{entry['file_name']}")
        for value in np.unique(attributes):
            assert (
                semantic[attributes == value] == world.classes.names.index(looks[value][0])
            ).all()


def test_what_is_salient_is_one_whole_thing_that_does_not_hang_in_the_sky(world):
    found = sorted((world.root / "annotations/salient/train").glob("*.png"))
    assert found, "no picture of twelve has a thing that stands out"
    truth = {
        entry["file_name"]: (ids, semantic) for entry, ids, semantic in maps_of(world, "train")
    }
    for path in found:
        mask = world.pixels(path)
        assert set(np.unique(mask)) == {0, 255}
        ids, semantic = truth[path.name]
        (identity,) = np.unique(ids[mask == 255])
        np.testing.assert_array_equal(mask == 255, ids == identity)
        name = world.classes.names[semantic[mask == 255][0]]
        assert world.classes.is_thing(name)
        assert name not in ("sun", "moon", "cloud")


def test_training_shows_no_unseen_class_and_no_unseen_pair(world):
    for split in ("train", "val"):
        for entry, _, semantic in maps_of(world, split):
            assert semantic.max() < world.classes.num_seen
            attributes = world.pixels(f"annotations/attributes/{split}/{entry['file_name']}")
            shown = [world.classes.looks[value] for value in np.unique(attributes)]
            assert all(world.classes.is_seen(name, colour) for name, colour in shown)


def test_every_picture_of_val_unseen_shows_what_training_does_not(world):
    for entry, _, _ in maps_of(world, "val_unseen"):
        attributes = world.pixels(f"annotations/attributes/val_unseen/{entry['file_name']}")
        shown = [world.classes.looks[value] for value in np.unique(attributes)]
        assert not all(world.classes.is_seen(name, colour) for name, colour in shown)


def test_images_have_the_size_asked_for_and_are_no_two_alike(world):
    pictures = [world.pixels(path) for path in sorted((world.root / "images").rglob("*.png"))]
    assert {picture.shape for picture in pictures} == {(72, 104, 3)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_colours_are_what_they_are_called(world):
    # In the light of day a red car has more red in it than a blue one, and the other way round.
    from segplugins.drawn_world.palette import paint_of

    red, blue = (np.array(paint_of("main", 0, colour, "night")) for colour in ("red", "blue"))
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]
