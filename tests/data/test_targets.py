"""Targets of maps: which classes are asked for, what is no region, what stays ignored."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segplugins.data import SegMapper
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, get_vocabulary, register_vocabulary

NAMES = ("cat", "dog", "cow", "hen", "fox", "nothing")
register_vocabulary(Vocabulary("targets-test", NAMES))
register_vocabulary(Vocabulary("targets-test-none", NAMES, none_class="nothing"))
LABELS = np.array([[4, 4, 255, 1], [4, 5, 5, 1]], np.uint8)


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


@pytest.fixture
def mapped(tmp_path, save):
    """Maps a record of a label map with classes 1, 4 and 5."""

    def build(*targets, vocabulary="targets-test", max_texts=0):
        metadata = SimpleNamespace(
            stuff_classes=list(NAMES), ignore_label=255, vocabulary=vocabulary
        )
        mapper = SegMapper(
            True,
            augmentations=[],
            targets=targets,
            metadata={"set": metadata},
            max_texts=max_texts,
        )
        return mapper(
            {
                "file_name": save(tmp_path / "a.png", np.zeros((2, 4, 3), np.uint8)),
                "sem_seg_file_name": save(tmp_path / "b.png", LABELS),
                "dataset": "set",
            }
        )

    return build


def test_the_none_class_is_a_label_of_pixels_and_no_region(mapped):
    record = mapped("sem_seg", "instances", vocabulary="targets-test-none")
    assert record["instances"].gt_classes.tolist() == [1, 4]
    assert record["sem_seg"].tolist() == LABELS.tolist()
    with_it = mapped("instances", vocabulary="targets-test")
    assert with_it["instances"].gt_classes.tolist() == [1, 4, 5]


@pytest.mark.parametrize("limit", [4, 5, 6])
def test_maps_are_asked_for_their_classes_and_others_at_random(mapped, limit):
    record = mapped("sem_seg", "instances", max_texts=limit)
    texts = record["texts"]
    assert record["vocabulary"] is None and len(texts) == len(set(texts)) == limit
    named = [[None if k == 255 else texts[k] for k in row] for row in record["sem_seg"].tolist()]
    expected = [[None if k == 255 else NAMES[k] for k in row] for row in LABELS.tolist()]
    assert named == expected
    regions = record["instances"]
    assert sorted(texts[k] for k in regions.gt_classes) == ["dog", "fox", "nothing"]
    for place, mask in zip(regions.gt_classes.tolist(), regions.gt_masks.tensor):
        assert torch.equal(mask, record["sem_seg"] == place)


def test_an_image_that_shows_more_than_the_limit_keeps_what_it_shows(mapped):
    assert sorted(mapped("sem_seg", max_texts=1)["texts"]) == ["dog", "fox", "nothing"]


def test_without_a_limit_the_vocabulary_stays(mapped):
    record = mapped("sem_seg")
    assert record["vocabulary"] == "targets-test" and "texts" not in record


def test_the_none_class_is_asked_for_with_label_maps_alone(mapped):
    options = {"vocabulary": "targets-test-none", "max_texts": 6}
    assert "nothing" not in mapped("instances", **options)["texts"]
    assert "nothing" in mapped("sem_seg", **options)["texts"]


def test_panoptic_maps_have_a_limit_too(tmp_path, save):
    metadata = SimpleNamespace(stuff_classes=list(NAMES), vocabulary="targets-test")
    ids = np.zeros((2, 4, 3), np.uint8)
    ids[..., 0] = [[7, 7, 0, 9], [7, 8, 8, 9]]  # red is the lowest byte of an id
    segments = [
        {"id": number, "category_id": category, "isthing": True, "iscrowd": 0}
        for number, category in ((7, 4), (8, 4), (9, 1))
    ]
    record = SegMapper(
        True,
        augmentations=[],
        targets=("sem_seg", "instances"),
        metadata={"set": metadata},
        max_texts=3,
    )(
        {
            "file_name": save(tmp_path / "a.png", np.zeros((2, 4, 3), np.uint8)),
            "pan_seg_file_name": save(tmp_path / "b.png", ids),
            "segments_info": segments,
            "dataset": "set",
            "task": Task.PANOPTIC,
        }
    )
    texts = record["texts"]
    assert len(texts) == 3 and {"dog", "fox"} <= set(texts) <= set(
        get_vocabulary("targets-test").classes
    )
    assert [texts[k] for k in record["instances"].gt_classes] == ["fox", "fox", "dog"]
    classes = record["sem_seg"].tolist()
    assert classes[0][2] == 255
    assert texts[classes[0][0]] == texts[classes[1][1]] == "fox" and texts[classes[0][3]] == "dog"
