import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.data import transforms as T

from segplugins.config import add_shared_config
from segplugins.data.augmentations import (
    IGNORED,
    CategoryCrop,
    LetterBox,
    PadToSquare,
    RandomArea,
    RandomScale,
    ShortestEdge,
    Stretch,
    build_augmentations,
    tasks_apart,
)
from segplugins.structures.regions import Task


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
        "ShortestEdge",
        "CategoryCrop",
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


def test_a_crop_by_class_needs_a_label_map():
    crop = CategoryCrop("absolute", [2, 2], 0.5)
    with pytest.raises(ValueError, match="SINGLE_CATEGORY_MAX_AREA below 1.0 needs label maps"):
        crop(T.AugInput(np.zeros((4, 4, 3), np.uint8)))
    assert CategoryCrop("absolute", [2, 2], 1.0).get_transform(np.zeros((4, 4, 3)), None).w == 2


@pytest.mark.parametrize("size", [(480, 640), (500, 375), (333, 1000), (1, 9)])
def test_a_letter_box_holds_the_whole_image_in_its_middle(size):
    given = T.AugInput(np.full((*size, 3), 255, np.uint8), sem_seg=np.ones(size))
    transforms = LetterBox(96, (1.2, 2.7, 3.0))(given)
    assert given.image.shape == (96, 96, 3) and given.sem_seg.shape == (96, 96)
    inside = given.sem_seg == 1
    assert (given.image[~inside] == (1, 3, 3)).all() and (given.image[inside] == 255).all()
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert max(len(rows), len(columns)) == 96
    # What is left over is shared by both sides, to the pixel.
    assert abs(rows[0] - (95 - rows[-1])) <= 1 and abs(columns[0] - (95 - columns[-1])) <= 1
    box = transforms.apply_box(np.array([[0.0, 0, size[1], size[0]]]))[0]
    assert box.round().tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("size", [(480, 640), (500, 375), (333, 1000)])
def test_a_mask_survives_the_way_into_a_letter_box_and_back(size):
    yy, xx = np.mgrid[: size[0], : size[1]]
    centre, radius = np.array(size) / 2, min(size) / 3
    mask = (yy - centre[0]) ** 2 + (xx - centre[1]) ** 2 < radius**2
    given = T.AugInput(np.zeros((*size, 3), np.uint8), sem_seg=mask.astype(float))
    x0, y0, x1, y1 = (
        LetterBox(480, (0, 0, 0))(given)
        .apply_box(np.array([[0.0, 0, size[1], size[0]]]))[0]
        .round()
        .astype(int)
    )
    inside = given.sem_seg[y0:y1, x0:x1]
    inside = torch.from_numpy(inside.clip(min=0))[None, None]
    back = (F.interpolate(inside, size, mode="bilinear", align_corners=False)[0, 0] > 0.5).numpy()
    assert (back & mask).sum() / (back | mask).sum() > 0.99


def test_a_square_takes_the_pixel_under_the_centre_of_each_new_one():
    given = T.AugInput(np.zeros((4, 10, 3), np.uint8), sem_seg=np.arange(10.0)[None].repeat(4, 0))
    Stretch(4)(given)
    # Centres at 1.25, 3.75, 6.25, 8.75.
    assert given.sem_seg.tolist() == [[1, 3, 6, 8]] * 4


def test_jitter_cuts_or_pads_to_a_square_of_one_size(cfg):
    cfg.INPUT.RESIZE, cfg.INPUT.SIZE, cfg.INPUT.JITTER = "jitter", 32, (0.5, 2.0)
    np.random.seed(0)
    shares = []
    for _ in range(20):
        given = T.AugInput(np.zeros((20, 40, 3), np.uint8), sem_seg=np.ones((20, 40)))
        T.AugmentationList(build_augmentations(cfg, is_train=True))(given)
        assert given.image.shape == (32, 32, 3)
        shares.append((given.sem_seg == 1).mean())
        assert (given.image[given.sem_seg == IGNORED] == 128).all()
    assert min(shares) < 0.25 < 0.75 < max(shares)
    # At test the shortest edge counts.
    assert type(build_augmentations(cfg, is_train=False)[0]).__name__ == "ShortestEdge"


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_squares_are_made_in_training_and_at_test(cfg, resize, is_train):
    cfg.INPUT.RESIZE, cfg.INPUT.SIZE = resize, 48
    given = T.AugInput(np.zeros((20, 40, 3), np.uint8))
    T.AugmentationList(build_augmentations(cfg, is_train))(given)
    assert given.image.shape == (48, 48, 3)


def test_tasks_can_be_augmented_apart(cfg):
    cfg.INPUT.BY_TASK = [["referring", "RANDOM_FLIP", "none"], ["referring", "CROP.ENABLED", True]]
    assert tasks_apart(cfg) == [Task.REFERRING]
    names = [type(a).__name__ for a in build_augmentations(cfg, True, Task.REFERRING)]
    assert names == ["ShortestEdge", "CategoryCrop"]
    names = [type(a).__name__ for a in build_augmentations(cfg, True, Task.SEMANTIC)]
    assert names == ["ShortestEdge", "RandomFlip"]


@pytest.mark.parametrize(
    "entries, message",
    [
        ([["refering", "SIZE", 4]], "expected .task, key of INPUT, value"),
        ([["referring", "SIZE"]], "expected .task, key of INPUT, value"),
        ([["referring", "SICE", 4]], r"BY_TASK \[referring, SICE, 4\]: .*SICE"),
    ],
)
def test_a_mistake_in_the_tasks_is_told(cfg, entries, message):
    cfg.INPUT.BY_TASK = entries
    with pytest.raises(ValueError, match=message):
        [build_augmentations(cfg, True, task) for task in tasks_apart(cfg)]


def test_an_unknown_resize_is_refused(cfg):
    cfg.INPUT.RESIZE = "letter_box"
    with pytest.raises(ValueError, match="'letter_box', expected one of.*letterbox"):
        build_augmentations(cfg, is_train=True)


@pytest.mark.parametrize("shape", [(60, 100), (400, 20), (7, 300)])
def test_a_random_part_has_an_area_and_a_shape_within_their_ranges(shape):
    height, width = shape
    augmentation = RandomArea(32, (0.25, 0.5))
    np.random.seed(0)
    windows = np.array([augmentation._window(height, width) for _ in range(300)])
    left, top, wide, high = windows.T
    assert (left >= 0).all() and (top >= 0).all()
    assert (left + wide <= width).all() and (top + high <= height).all()
    assert (wide >= 1).all() and (high >= 1).all()
    if shape == (60, 100):
        share = wide * high / (height * width)
        assert 0.23 < share.min() < 0.28 and 0.47 < share.max() < 0.52
        assert 0.72 < (wide / high).min() < 0.78 and 1.28 < (wide / high).max() < 1.36
        assert len(np.unique(left)) > 20 and len(np.unique(top)) > 10
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    given = T.AugInput(image)
    augmentation(given)
    assert given.image.shape == (32, 32, 3)


def test_the_whole_area_of_a_square_is_that_square_resized():
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    ours, plain = T.AugInput(image), T.AugInput(image)
    RandomArea(20, (1.0, 1.0), ratio=(1.0, 1.0))(ours)
    Stretch(20)(plain)
    np.testing.assert_array_equal(ours.image, plain.image)


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1)])
@pytest.mark.parametrize(
    "augmentation", [ShortestEdge([32, 32], 64), RandomScale(0.1, 0.1, 64, 64)]
)
def test_a_picture_of_one_row_keeps_it(augmentation, shape):
    image = np.full((*shape, 3), 7, np.uint8)
    resized = augmentation.get_transform(image).apply_image(image)
    assert min(resized.shape[:2]) == 1 and (resized == 7).all()
    # 3000 to at most 64, or to a tenth of the square that fits.
    assert max(resized.shape[:2]) == (64 if isinstance(augmentation, ShortestEdge) else 6)
