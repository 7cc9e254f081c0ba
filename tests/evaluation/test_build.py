"""From a registered data set to its evaluator, under its own names and under the user's."""

import logging

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

import segplugins.data  # noqa: F401, registers the data sets
from segplugins.config import add_shared_config
from segplugins.evaluation import EVALUATORS, OpenVocabEvaluator, build_evaluator
from segplugins.evaluation.semantic_scores import semantic_metrics
from segplugins.evaluation.setting import match_names, read_setting
from segplugins.files.vocabularies import parse_vocabulary
from segplugins.structures import Vocabulary, register_vocabulary

OWN = Vocabulary("build_test_rooms", ("cat", "sofa, couch", "wall", "potted plant, plant"))
SET = "build_test_set"
TRUTH = np.array([[0, 0, 1, 1], [2, 2, 3, 255]], np.uint8)


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    return cfg


@pytest.fixture
def dataset(tmp_path):
    """Registers one image of 2 x 4 pixels; returns a function that sets more metadata."""
    register_vocabulary(OWN)
    Image.fromarray(TRUTH).save(tmp_path / "truth.png")
    Image.new("RGB", (4, 2)).save(tmp_path / "image.png")
    record = {
        "file_name": str(tmp_path / "image.png"),
        "sem_seg_file_name": str(tmp_path / "truth.png"),
    }
    DatasetCatalog.register(SET, lambda: [record])

    def describe(**metadata):
        known = {"evaluator_type": "sem_seg", "vocabulary": OWN.name, "ignore_label": 255}
        known["stuff_classes"] = list(OWN.classes)
        MetadataCatalog.get(SET).set(**{**known, **metadata})
        return record

    yield describe
    DatasetCatalog.remove(SET)
    MetadataCatalog.pop(SET, None)


def run(evaluator, record, labels, vocabulary=None):
    evaluator.reset()
    evaluator.process([{**record, "vocabulary": vocabulary}], [{"sem_seg": torch.tensor(labels)}])
    return evaluator.evaluate()


def test_a_semantic_set_is_measured_under_its_own_vocabulary(cfg, dataset):
    record = dataset(seen=(0, 1))
    evaluator = build_evaluator(cfg, SET)
    assert isinstance(evaluator, OpenVocabEvaluator)
    result = run(evaluator, record, [[0, 0, 1, 1], [2, 3, 3, 0]], OWN.name)["sem_seg"]
    # cat 1, sofa 1, wall 1 of 2, plant 1 of 2.
    assert result["mIoU"] == pytest.approx(75.0)
    assert result["IoU-potted plant, plant"] == pytest.approx(50.0)
    assert result["mIoU_seen"] == pytest.approx(100.0)
    assert result["mIoU_unseen"] == pytest.approx(50.0)
    assert result["hIoU"] == pytest.approx(2 * 100 * 50 / 150)


@pytest.mark.parametrize("kind", [None, "keypoints", ["sem_seg", "keypoints"]])
def test_an_unknown_kind_of_evaluation_ends_the_run(cfg, dataset, kind):
    dataset(evaluator_type=kind)
    with pytest.raises(
        ValueError, match=f"'{SET}' has evaluator_type.*known are.*sem_seg"
    ) as error:
        build_evaluator(cfg, SET)
    # detectron2 would take this one for "no evaluator" and report an empty result.
    assert not isinstance(error.value, NotImplementedError)


def test_image_text_pairs_are_told_to_be_no_set_to_score(cfg, dataset):
    dataset(evaluator_type=None, kind="pairs")
    with pytest.raises(ValueError, match=f"'{SET}' holds image-text pairs, .*out of DATASETS.TEST"):
        build_evaluator(cfg, SET)


def test_an_unknown_data_set_is_named(cfg):
    with pytest.raises(KeyError, match="no data set 'nowhere' is registered"):
        build_evaluator(cfg, "nowhere")


def test_the_users_names_are_measured_where_they_mean_a_class(cfg, dataset, caplog):
    record = dataset()
    cfg.TEST.VOCABULARY = "dog, Couch, plant, CAT"
    with caplog.at_level(logging.WARNING):
        evaluator = build_evaluator(cfg, SET)
    assert "3 of its 4 classes" in caplog.text
    assert "ignored: ['wall']" in caplog.text and "wrong: ['dog']" in caplog.text
    # cat: 1 of 2, the other is called a dog. sofa 2 of 2. plant right; both walls are called plants
    # and sofas, which costs nothing since there is no word for a wall.
    result = run(evaluator, record, [[3, 0, 1, 1], [2, 1, 2, 0]])["sem_seg"]
    assert result["IoU-CAT"] == pytest.approx(50.0)
    assert result["IoU-Couch"] == pytest.approx(100.0)
    assert result["IoU-plant"] == pytest.approx(100.0)
    assert np.isnan(result["IoU-wall"])
    assert result["mIoU"] == pytest.approx(250 / 3)


def test_two_names_for_one_class_count_together(cfg, dataset):
    record = dataset()
    cfg.TEST.VOCABULARY = "sofa, couch, cat"
    result = run(build_evaluator(cfg, SET), record, [[2, 1, 0, 1], [0, 0, 0, 0]])["sem_seg"]
    assert result["IoU-sofa|couch"] == pytest.approx(100 * 2 / 3)
    assert result["IoU-cat"] == pytest.approx(50.0)


def test_a_permuted_vocabulary_gives_the_same_numbers(cfg, dataset):
    record = dataset()
    labels = np.array([[0, 0, 1, 3], [2, 1, 3, 0]])
    expected = run(build_evaluator(cfg, SET), record, labels.tolist())
    order = [2, 0, 3, 1]
    register_vocabulary(OWN.select(order, name="build_test_permuted"))
    cfg.TEST.VOCABULARY = "build_test_permuted"
    permuted = np.argsort(order)[labels]
    assert run(build_evaluator(cfg, SET), record, permuted.tolist()) == expected


def test_names_that_mean_nothing_here_are_an_error_not_a_zero(cfg, dataset):
    dataset()
    cfg.TEST.VOCABULARY = "zebra, giraffe"
    with pytest.raises(ValueError, match=f"none of the 2 names.*'{SET}'.*cat.*wall"):
        build_evaluator(cfg, SET)


def test_a_name_that_could_mean_two_classes_is_an_error():
    own = Vocabulary("two", ("crane, bird", "crane, machine", "dock"))
    with pytest.raises(ValueError, match="class 'crane' .*'crane, bird', 'crane, machine'"):
        match_names(parse_vocabulary("crane, dock"), own)
    assert match_names(Vocabulary("one", ("crane, bird", " DOCK")), own) == [0, 2]


def test_synonyms_of_either_side_meet():
    own = Vocabulary("furniture", ("sofa, couch", "tv, television"))
    assert match_names(parse_vocabulary("settee|couch, lamp, television"), own) == [0, None, 1]


def test_folded_classes_are_measured_under_the_users_names_too(cfg, dataset):
    # Evaluated: cat, and background for all else.
    record = dataset(class_map=(0, 1, 1, 1), stuff_classes=["cat", "background"])
    classes = np.array([[0, 0, 1, 1], [1, 1, 255, 255]], np.uint8)
    Image.fromarray(classes).save(record["sem_seg_file_name"])
    result = run(build_evaluator(cfg, SET), record, [[0, 3, 1, 2], [3, 0, 0, 0]])["sem_seg"]
    assert result["IoU-cat"] == pytest.approx(100 * 1 / 3)
    assert result["IoU-background"] == pytest.approx(100 * 3 / 5)
    cfg.TEST.VOCABULARY = "wall, cat"
    result = run(build_evaluator(cfg, SET), record, [[1, 0, 0, 0], [0, 1, 0, 0]])["sem_seg"]
    assert result["IoU-cat"] == pytest.approx(100 * 1 / 3)
    assert result["IoU-background"] == pytest.approx(100 * 3 / 5)


def test_the_threshold_of_the_config_wins_where_there_is_a_background(cfg, dataset):
    record = dataset(
        stuff_classes=["background", "sofa", "wall", "plant"], background_threshold=0.9
    )
    assert read_setting(cfg, SET).background_threshold == 0.9
    cfg.TEST.BACKGROUND_THRESHOLD = 0.5
    setting = read_setting(cfg, SET)
    assert (setting.background, setting.background_threshold) == (0, 0.5)
    scores = torch.zeros(4, 2, 4)
    scores[1] = torch.tensor([[0.4, 0.6, 0.6, 0.6], [0.6] * 4])
    evaluator = build_evaluator(cfg, SET)
    evaluator.process([record], [{"sem_seg": scores}])
    # Background on one of its two pixels, sofa on its two and on four others.
    result = evaluator.evaluate()["sem_seg"]
    assert result["IoU-background"] == pytest.approx(50.0)
    assert result["IoU-sofa"] == pytest.approx(100 * 2 / 6)
    # Wall and plant are never found. With background four classes, without it three.
    assert result["mIoU"] == pytest.approx((50 + 100 / 3 + 0 + 0) / 4)
    assert result["mIoU_foreground"] == pytest.approx(100 / 3 / 3)


def test_a_threshold_does_nothing_where_there_is_no_background(cfg, dataset):
    dataset()
    cfg.TEST.BACKGROUND_THRESHOLD = 0.5
    assert read_setting(cfg, SET).background_threshold is None


def test_a_none_class_of_the_vocabulary_is_the_background(cfg, dataset):
    vocabulary = Vocabulary("build_test_none", ("void", "a", "b"), none_class="void")
    register_vocabulary(vocabulary)
    dataset(vocabulary=vocabulary.name, stuff_classes=list(vocabulary.classes))
    cfg.TEST.BACKGROUND_THRESHOLD = 0.5
    assert read_setting(cfg, SET).background == 0


def test_a_model_asked_with_other_names_is_an_error(cfg, dataset):
    record = dataset()
    with pytest.raises(ValueError, match=f"with the vocabulary 'others'.*with '{OWN.name}'"):
        run(build_evaluator(cfg, SET), record, TRUTH.tolist(), "others")


def test_sets_that_detectron2_registers_need_no_vocabulary(cfg, dataset):
    record = dataset()
    MetadataCatalog.pop(SET)
    MetadataCatalog.get(SET).set(
        evaluator_type="sem_seg", stuff_classes=["a", "b", "c", "d"], ignore_label=255
    )
    labels = np.where(TRUTH == 255, 0, TRUTH).tolist()
    assert run(build_evaluator(cfg, SET), record, labels)["sem_seg"]["mIoU"] == 100.0


@pytest.mark.parametrize("kind", ["coco", "panoptic"])
def test_what_compares_class_by_class_refuses_other_names(cfg, dataset, kind):
    dataset(evaluator_type=kind)
    cfg.TEST.VOCABULARY = "cat, wall"
    with pytest.raises(ValueError, match="only be measured under its own names"):
        build_evaluator(cfg, SET)


def test_options_of_a_set_reach_its_evaluator(cfg, dataset):
    record = dataset(evaluator_options={"sem_seg": {"boundary": True}})
    labels = np.where(TRUTH == 255, 0, TRUTH).tolist()
    result = run(build_evaluator(cfg, SET), record, labels)["sem_seg"]
    assert "BoundaryIoU-cat" in result


def test_parts_are_averaged_with_and_without_the_background(cfg):
    # PartImageNet: 40 parts and background, LIP: 19 and background.
    for name, classes, background in (
        ("part_imagenet_val_parts", 41, 40),
        ("lip_val_parts", 20, 0),
    ):
        setting = read_setting(cfg, name)
        assert (len(setting.classes), setting.background) == (classes, background)
        confusion = np.diag([1] * classes + [0])
        confusion[background, background] = 0
        confusion[(background + 1) % classes, background] = 1  # the background is taken for a part
        result = semantic_metrics(confusion, setting.classes, background=background)
        # Background 0, the part that takes its pixel 1/2, all others 1.
        assert result["mIoU"] == pytest.approx(100 * (classes - 2 + 0.5) / classes)
        assert result["mIoU_foreground"] == pytest.approx(100 * (classes - 1.5) / (classes - 1))


def test_every_kind_says_what_it_is_called():
    assert {"sem_seg", "coco", "lvis", "panoptic", "referring"} <= EVALUATORS.keys()
