import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T

from segplugins.config import add_shared_config
from segplugins.data import SegMapper, load_dataset, register_semantic
from segplugins.data.augmentations import PadToSquare
from segplugins.structures.regions import Task, validate_record

PETS = SimpleNamespace(stuff_classes=["cat", "dog", "cow"], ignore_label=255, vocabulary=None)


def semantic_record(tmp_path, save, labels, image=None):
    labels = np.asarray(labels)
    if image is None:
        image = np.zeros((*labels.shape[:2], 3), np.uint8)
    return {
        "file_name": save(tmp_path / "a.png", image),
        "sem_seg_file_name": save(tmp_path / "labels.png", labels),
        "image_id": "a",
        "vocabulary": "pets",
    }


def mapper(*augmentations, metadata=PETS, targets=("sem_seg",), is_train=True):
    metadata = {"pets": metadata} if metadata else None
    return SegMapper(is_train, augmentations=augmentations, targets=targets, metadata=metadata)


def test_training_gives_image_labels_and_what_they_mean(tmp_path, save):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    given = semantic_record(tmp_path, save, np.array([[0, 1, 255], [2, 2, 0]], np.uint8), pixels)
    record = mapper()(given)
    validate_record(record, training=True)
    assert record["image"].tolist() == pixels.transpose(2, 0, 1).tolist()
    assert record["sem_seg"].tolist() == [[0, 1, 255], [2, 2, 0]]
    assert (record["height"], record["width"]) == (2, 3)
    assert record["task"] is Task.SEMANTIC and record["vocabulary"] == "pets"
    assert "instances" not in record
    assert "height" not in given  # the catalog's record is not changed


def test_test_gives_the_image_and_no_target(tmp_path, save):
    record = mapper(T.Resize((4, 6)), is_train=False)(
        semantic_record(tmp_path, save, np.zeros((2, 3), np.uint8))
    )
    validate_record(record)
    assert record["image"].shape == (3, 4, 6)
    assert (record["height"], record["width"]) == (2, 3)
    assert "sem_seg" not in record and "sem_seg_file_name" in record


@pytest.mark.parametrize("ignored, classes", [(459, 459), (65535, 847)])
def test_sixteen_bit_labels_and_ignore_labels_above_255_survive(tmp_path, save, ignored, classes):
    metadata = SimpleNamespace(stuff_classes=["x"] * classes, ignore_label=ignored, vocabulary=None)
    labels = np.array([[0, 255, 256, classes - 1, ignored]], np.uint16)
    record = mapper(PadToSquare(5), metadata=metadata)(semantic_record(tmp_path, save, labels))
    assert record["sem_seg"][0].tolist() == [0, 255, 256, classes - 1, ignored]
    assert (record["sem_seg"][1:] == ignored).all()


def test_labels_are_resampled_as_torch_takes_the_nearest(tmp_path, save):
    labels = np.arange(10, dtype=np.uint8)[None].repeat(10, axis=0)
    record = mapper(T.Resize((10, 7)), metadata=None)(semantic_record(tmp_path, save, labels))
    # Output pixel j takes input pixel floor(j * 10 / 7).
    assert record["sem_seg"][0].tolist() == [0, 1, 2, 4, 5, 7, 8]


def test_a_map_of_classes_gives_one_instance_per_class(tmp_path, save):
    labels = np.array([[2, 2, 255, 0], [2, 255, 255, 0]], np.uint8)
    record = mapper(targets=["sem_seg", "instances"])(semantic_record(tmp_path, save, labels))
    instances = record["instances"]
    assert instances.gt_classes.tolist() == [0, 2]
    assert instances.gt_boxes.tensor.tolist() == [[3, 0, 4, 2], [0, 0, 2, 2]]
    assert instances.gt_masks.tensor.sum(dim=(1, 2)).tolist() == [2, 3]


def test_an_image_without_a_labelled_pixel_is_kept(tmp_path, save):
    labels = np.full((2, 3), 255, np.uint8)
    record = mapper(targets=["instances"])(semantic_record(tmp_path, save, labels))
    validate_record(record, training=True)
    assert len(record["instances"]) == 0
    assert record["instances"].gt_masks.tensor.shape == (0, 2, 3)


def test_a_mirror_exchanges_classes_that_name_a_side(tmp_path, save):
    metadata = SimpleNamespace(
        stuff_classes=["left", "right", "hat"],
        ignore_label=255,
        vocabulary=None,
        flip_pairs=[(0, 1)],
    )
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    record = mapper(T.RandomFlip(prob=1.0), metadata=metadata)(
        semantic_record(tmp_path, save, labels)
    )
    assert record["sem_seg"].tolist() == [[255, 2, 0, 1]]


def test_a_label_map_of_another_size_is_an_error(tmp_path, save):
    given = semantic_record(
        tmp_path, save, np.zeros((3, 2), np.uint8), image=np.zeros((2, 3, 3), np.uint8)
    )
    with pytest.raises(ValueError, match="record a: label map .*labels.png is 3x2.*a.png is 2x3"):
        mapper()(given)


@pytest.mark.parametrize(
    "value, kind, file",
    [(3, np.uint8, "b.png"), (300, np.uint16, "b.png"), (-2, np.int32, "b.tif")],
)
def test_a_label_outside_the_classes_is_an_error_with_value_count_and_file(
    tmp_path, save, value, kind, file
):
    given = semantic_record(tmp_path, save, np.zeros((1, 3), np.uint8))
    given["sem_seg_file_name"] = save(tmp_path / file, np.array([[0, value, value]], kind))
    with pytest.raises(
        ValueError,
        match=rf"{file}, record a: the label map holds {value} \(2 pixels\); expected 0 to 2",
    ):
        mapper()(given)


def test_a_missing_label_map_is_named(tmp_path, save):
    given = semantic_record(tmp_path, save, np.zeros((2, 3), np.uint8))
    given["sem_seg_file_name"] = str(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match="gone.png, record a: the label map does not exist"):
        mapper()(given)


def test_label_maps_cannot_be_had_from_boxes(tmp_path, save):
    given = {
        "file_name": save(tmp_path / "a.png", np.zeros((2, 3, 3), np.uint8)),
        "annotations": [],
    }
    with pytest.raises(ValueError, match="has no label map, only annotations"):
        mapper()(given)


@pytest.mark.parametrize("targets", [[], ["masks"]])
def test_an_unknown_target_is_refused(targets):
    with pytest.raises(ValueError, match="expected one or more of.*sem_seg.*instances"):
        mapper(targets=targets)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN = (12,)
    cfg.INPUT.MIN_SIZE_TEST = 16
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.TARGETS = ["sem_seg"]
    return cfg


def test_the_config_decides_for_a_registered_set(root, save, cfg):
    save(root / "images/a.jpg", np.zeros((6, 9, 3), np.uint8))
    save(root / "labels/a.png", np.full((6, 9), 7, np.uint8))
    register_semantic(
        "test_mapped",
        image_root="images",
        label_root="labels",
        vocabulary=["one", "two"],
        ignore_label=7,
    )
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("test_mapped",)
    given = load_dataset("test_mapped")[0]
    record = pickle.loads(pickle.dumps(SegMapper(cfg, True)))(given)  # as a worker gets it
    assert record["image"].shape == (3, 12, 18)
    assert (record["sem_seg"] == 7).all() and record["vocabulary"] == "test_mapped"
    assert SegMapper(cfg, is_train=False)(given)["image"].shape == (3, 16, 24)


def test_images_are_read_as_rgb_only(cfg):
    cfg.INPUT.FORMAT = "BGR"
    with pytest.raises(ValueError, match="INPUT.FORMAT is 'BGR'.*'RGB'"):
        SegMapper(cfg, True)


def test_a_set_whose_labels_are_not_its_vocabulary_cannot_be_trained_on(cfg):
    with pytest.raises(ValueError, match="'voc_2012_test_background_sem_seg'.*evaluation only"):
        SegMapper(cfg, True, dataset_names=["voc_2012_test_background_sem_seg"])


def test_a_record_of_no_set_is_an_error_where_several_are_served(tmp_path, save):
    given = semantic_record(tmp_path, save, np.zeros((2, 3), np.uint8))
    two = SegMapper(True, augmentations=[], targets=["sem_seg"], metadata={"a": PETS, "b": PETS})
    with pytest.raises(ValueError, match="has no 'dataset'.*load_dataset"):
        two(given)
    assert torch.equal(
        two({**given, "dataset": "b"})["sem_seg"], torch.zeros(2, 3, dtype=torch.int64)
    )
