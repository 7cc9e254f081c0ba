import numpy as np
import pytest

from segplugins.annotation.interfaces import Image, View
from segplugins.annotation.sample import (
    Sample,
    clipped,
    image_identity,
    prompt_box,
    whole_box,
    with_mask,
)
from segplugins.structures.regions import Region, Task


def test_ids_of_the_same_content_or_the_same_stem_differ():
    names = ["a/x.jpg", "b/x.jpg", "x.png", "x.jpg", "a/x.jpg/x.jpg"]
    ids = {image_identity(name, content) for name in names for content in (b"1", b"2")}
    assert len(ids) == 10 and all(each.startswith("x-") for each in ids)
    assert image_identity("a/x.jpg", b"1") == image_identity("a/x.jpg", b"1")
    # Where the name ends and the content begins makes a difference.
    assert image_identity("a", b"b") != image_identity("ab", b"")


def test_regions_are_numbered_for_good(sample, add):
    for name in "abc":
        add(name, (0, 0, 10, 10))
    sample.judge("1 stage", {1: False, 2: True}, {1: 0.1234567, 2: 0.9}, 0.5)
    add("d", (0, 0, 10, 10))
    assert [(r.text, r.extra["region_id"]) for r in sample.regions] == [
        ("a", 0), ("c", 2), ("d", 3),
    ]  # fmt: skip
    assert [d.as_data() for d in sample.decisions] == [
        {"stage": "1 stage", "region_id": 1, "text": "b", "kept": False, "value": 0.12346,
         "threshold": 0.5},
        {"stage": "1 stage", "region_id": 2, "text": "c", "kept": True, "value": 0.9,
         "threshold": 0.5},
    ]  # fmt: skip


def test_a_failure_that_does_not_drop_is_counted(sample, add):
    add("a", (0, 0, 10, 10))
    for stage in ("one", "two"):
        sample.judge(stage, {0: False}, {0: None}, drop=False)
    assert sample.regions[0].extra["failed"] == ["one", "two"]


def test_a_dropped_region_leaves_its_text_as_not_exhaustive(sample, add):
    for name in ("b", "a", "c", "d", "a"):
        add(name, (0, 0, 10, 10))
    assert "not_exhaustive" not in sample.as_record(Task.INSTANCE)
    sample.judge("counts only", {0: False}, {}, drop=False)
    assert sample.not_exhaustive == []
    sample.judge("drops", {0: False, 1: False, 2: False, 3: True, 4: False}, {}, surplus=[2])
    assert [region.text for region in sample.regions] == ["d"]
    record = sample.as_record(Task.INSTANCE)
    assert record["not_exhaustive"] == ["a", "b"]
    aside = [(region["text"], region["extra"]["dropped_by"]) for region in record["set_aside"]]
    assert aside == [("b", "drops"), ("a", "drops"), ("a", "drops")]


def test_changes_are_taken_back(sample, add):
    add("a", (0, 0, 10, 10))
    state = sample.state()
    add("b", (0, 0, 10, 10))
    sample.tags.append({"name": "b"})
    sample.more["source_id"] = 1
    sample.judge("1 stage", {0: False}, {}, None)
    sample.restore(state)
    assert [r.text for r in sample.regions] == ["a"] and not sample.tags and not sample.decisions
    assert not sample.not_exhaustive and not sample.more
    assert add("c", (0, 0, 10, 10)).extra["region_id"] == 1


def test_a_mask_brings_its_tight_box_and_the_prompt_stays(sample, make):
    region = with_mask(Region("a", (1.5, 2, 30, 20)), make["rectangle"](3, 4, 20, 15), quality=0.8)
    assert region.box == (3, 4, 20, 15)
    assert region.extra == {"prompt_box": [1.5, 2.0, 30.0, 20.0], "quality": 0.8}
    assert prompt_box(region, sample.image) == (1.5, 2.0, 30.0, 20.0)
    again = with_mask(region, make["rectangle"](5, 5, 9, 9))
    assert again.extra["prompt_box"] == [1.5, 2.0, 30.0, 20.0] and again.box == (5, 5, 9, 9)
    with pytest.raises(ValueError, match="region 'b' has no box and no mask"):
        prompt_box(Region("b"), sample.image)


def test_boxes_are_whole_pixels_inside_the_image(sample):
    assert whole_box((10.2, 5.9, 12.1, 8), sample.image) == (10, 5, 13, 8)
    assert whole_box((10, 10, 30, 20), sample.image, grow=0.2) == (8, 9, 32, 21)
    assert whole_box((-5, -5, 100, 100), sample.image) == (0, 0, 60, 40)
    assert whole_box((70, 50, 80, 60), sample.image) == (59, 39, 60, 40)
    np.testing.assert_array_equal(
        clipped(np.array([[-1, 3, 61, 41.0]]), sample.image), [[0, 3, 60, 40]]
    )


def test_a_faded_view_goes_to_the_mean_colour_of_the_image(make):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 200  # half of the image: the mean is 100
    shown = make["rectangle"](0, 0, 10, 40)
    view = View(Image(pixels), (5, 0, 35, 10), shown, 0.5)
    row = view.pixels()[0, :, 0]
    assert view.pixels().shape == (10, 30, 3)
    assert row[:5].tolist() == [200] * 5  # shown
    assert row[5:25].tolist() == [150] * 20 and row[25:].tolist() == [50] * 5
    assert View(Image(pixels), (5, 0, 35, 10)).pixels()[0, :, 0].tolist() == [200] * 25 + [0] * 5


def test_a_record_has_the_keys_of_a_region_line(make):
    sample = Sample(Image(np.zeros((40, 60, 3), np.uint8), "a/x.jpg"), "x-1", "set")
    sample.add(with_mask(Region("dog", score=0.123456), make["rectangle"](0, 0, 5, 5)))
    record = sample.as_record(Task.INSTANCE)
    assert list(record) == ["image_id", "source", "file_name", "height", "width", "task", "tags",
                            "captions", "regions", "schema_version"]  # fmt: skip
    assert (record["height"], record["width"], record["task"]) == (40, 60, "instance")
    (region,) = record["regions"]
    assert region["score"] == 0.1235 and region["box"] == [0, 0, 5, 5]
    assert region["extra"] == {"region_id": 0}
