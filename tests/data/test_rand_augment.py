"""RandAugment and the centre crop: what they do to pictures, and to boxes that cannot follow."""

import random

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import transforms as T

from segplugins.config import add_shared_config
from segplugins.data.augmentations import CentreCrop, build_augmentations
from segplugins.data.draws import draws_of
from segplugins.data.mapper import input_at_test
from segplugins.data.rand_augment import RandAugment
from segplugins.structures.regions import Task

PICTURE = np.arange(40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8)


def drawn(policy, seed):
    with draws_of(seed):
        given = T.AugInput(PICTURE)
        RandAugment(policy, 40, (124, 116, 104))(given)
    return given.image


def test_it_draws_from_the_place_in_the_run_and_keeps_size_and_type():
    first = drawn("rand-m9-mstd0.5-inc1", 1)
    assert first.shape == PICTURE.shape and first.dtype == np.uint8
    assert np.array_equal(first, drawn("rand-m9-mstd0.5-inc1", 1))
    assert any(not np.array_equal(first, drawn("rand-m9-mstd0.5-inc1", s)) for s in range(2, 6))


def test_boxes_cannot_follow_and_another_text_is_refused():
    transform = RandAugment("rand-m9", 40, (0, 0, 0)).get_transform(PICTURE)
    with pytest.raises(ValueError, match="boxes and masks would no longer fit; train on sets of"):
        transform.apply_box(np.array([[0.0, 0.0, 1.0, 1.0]]))
    with pytest.raises(ValueError, match="boxes and masks"):
        transform.apply_segmentation(PICTURE[..., 0])
    with pytest.raises(ValueError, match="RAND_AUGMENT is 'auto', expected timm's text"):
        RandAugment("auto", 40, (0, 0, 0))
    with pytest.raises(ValueError, match="timm refuses it"):
        RandAugment("rand-x9", 40, (0, 0, 0))


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_shared_config(cfg)
    return cfg


def test_the_config_puts_it_behind_the_flip(cfg):
    cfg.INPUT.RESIZE, cfg.INPUT.SIZE, cfg.INPUT.RAND_AUGMENT = "random_area", 32, "rand-m9"
    names = [type(a).__name__ for a in build_augmentations(cfg, is_train=True)]
    assert names == ["RandomArea", "RandomFlip", "RandAugment"]
    assert "RandAugment" not in [type(a).__name__ for a in build_augmentations(cfg, False)]


def test_an_image_to_classify_is_shown_from_its_middle(cfg):
    cfg.INPUT.CENTRE_CROP = (8, 6)
    wide = np.zeros((4, 16, 3), np.uint8)  # becomes 8 x 32; its middle is 6 x 6
    wide[:, 7:9] = 255
    augmentations = T.AugmentationList(build_augmentations(cfg, False, Task.CLASSIFICATION))
    record = input_at_test(wide, augmentations)
    assert record["image"].shape == (3, 6, 6) and "image_box" not in record
    white = record["image"][0, 3] > 128
    assert white.tolist() == [False, True, True, True, True, False]
    small = T.AugInput(np.zeros((3, 9, 3), np.uint8))
    CentreCrop(5)(small)
    assert small.image.shape == (3, 5, 3)


def test_python_draws_are_left_as_they_were():
    random.seed(3)
    state = random.getstate()
    drawn("rand-m9-mstd0.5-inc1", 1)
    assert random.getstate() == state
