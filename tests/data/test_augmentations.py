import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import transforms as T

from segplugins.config import add_shared_config
from segplugins.data.augmentations import IGNORED, PadToSquare, build_augmentations


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_shared_config(cfg)
    return cfg


def test_padding_is_grey_at_the_right_and_the_bottom_and_carries_no_class():
    given = T.AugInput(np.zeros((2, 3, 3), np.uint8), sem_seg=np.ones((2, 3)))
    PadToSquare(4)(given)
    assert given.image.shape == (4, 4, 3)
    assert given.image[:2, :3].max() == 0
    assert (given.image[2:] == 128).all() and (given.image[:, 3:] == 128).all()
    assert given.sem_seg.tolist() == [[1, 1, 1, IGNORED]] * 2 + [[IGNORED] * 4] * 2


def test_an_image_larger_than_the_square_stays():
    given = T.AugInput(np.zeros((5, 9, 3), np.uint8))
    PadToSquare(4)(given)
    assert given.image.shape == (5, 9, 3)


def test_a_square_without_area_is_refused():
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        PadToSquare(0)


def test_the_order_is_resize_crop_colour_flip_pad(cfg):
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.COLOR_AUG_SSD = True
    cfg.INPUT.PAD_TO = 32
    names = [type(a).__name__ for a in build_augmentations(cfg, is_train=True)]
    assert names == [
        "ResizeShortestEdge",
        "RandomCrop_CategoryAreaConstraint",
        "ColorJitterSSD",
        "RandomFlip",
        "PadToSquare",
    ]
    assert len(build_augmentations(cfg, is_train=False)) == 1


def test_colours_change_and_labels_do_not(cfg):
    cfg.INPUT.COLOR_AUG_SSD = True
    cfg.INPUT.MIN_SIZE_TRAIN = (8,)
    cfg.INPUT.RANDOM_FLIP = "none"
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    labels = np.arange(64.0).reshape(8, 8)
    given = T.AugInput(image.copy(), sem_seg=labels.copy())
    T.AugmentationList(build_augmentations(cfg, is_train=True))(given)
    assert given.image.shape == image.shape and (given.image != image).any()
    assert (given.sem_seg == labels).all()


def test_a_crop_avoids_windows_that_one_class_fills(cfg):
    # 3 of 4 columns are class 0: a window of one column is always one class, one of all four
    # columns holds 75 % of it, so of the windows 2 wide only the one on the border is mixed.
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "absolute", [4, 2]
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.6
    crop = build_augmentations(cfg, is_train=True)[1]
    labels = np.zeros((4, 4))
    labels[:, 3] = 1
    np.random.seed(0)
    mixed = 0
    for _ in range(50):
        given = T.AugInput(np.zeros((4, 4, 3), np.uint8), sem_seg=labels)
        crop(given)
        mixed += len(np.unique(given.sem_seg)) == 2
    # Ten tries of probability 1/3 fail together with (2/3)^10 = 1.7 %; without the rule 1/3 pass.
    assert mixed >= 45
