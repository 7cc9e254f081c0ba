from functools import partial
from types import SimpleNamespace

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.engine import evaluate, train
from segplugins.engine.checkpoint import without_part_weights
from segplugins.engine.preflight import (
    check_disk,
    check_evaluation,
    check_names,
    check_training_data,
)
from segplugins.files import write


@pytest.fixture
def register(toy_world):
    """Registers data sets of given records until the test ends."""
    names = []

    def register(name, records, **metadata):
        DatasetCatalog.register(name, lambda: [dict(record) for record in records])
        MetadataCatalog.get(name).set(**metadata)
        names.append(name)

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def boxes(toy_world):
    annotation = {
        "bbox": [1, 1, 4, 4],
        "bbox_mode": 0,
        "category_id": 0,
        "segmentation": [[1, 1, 4, 1, 4, 4]],
        "iscrowd": 0,
    }
    file = str(toy_world / "images" / "val" / "000.png")
    record = {"file_name": file, "image_id": 1, "height": 12, "width": 16}
    return [{**record, "annotations": [annotation]}]


def test_the_toys_data_fit_the_toy(toy_cfg):
    check_training_data(toy_cfg())
    check_evaluation(toy_cfg())
    check_evaluation(toy_cfg("DATASETS.TEST ()"))


def test_targets_that_the_model_does_not_learn_from_are_refused_with_both_names(toy_cfg):
    cfg = toy_cfg("INPUT.TARGETS ('instances',)")
    with pytest.raises(
        ValueError,
        match=r"ToySegmentor learns from label maps \(sem_seg\), but DATASETS.TRAIN "
        r"\['toy_train'\] gives regions \(instances\); set INPUT.TARGETS to \('sem_seg',\)",
    ):
        train(cfg)


def test_image_text_pairs_are_refused_by_a_model_of_label_maps(toy_cfg, register):
    register("preflight_pairs", [], kind="pairs")
    cfg = toy_cfg("DATASETS.TRAIN ('preflight_pairs',)")
    MetadataCatalog.get("preflight_pairs").vocabulary = None
    with pytest.raises(ValueError, match="gives image-text pairs; train on other sets"):
        check_training_data(cfg)


def test_a_training_set_without_label_maps_is_named(toy_cfg, toy_world, register):
    register("preflight_boxes", boxes(toy_world), thing_classes=["a"], evaluator_type="coco")
    cfg = toy_cfg("DATASETS.TRAIN ('toy_train','preflight_boxes')")
    with pytest.raises(
        ValueError, match="ToySegmentor learns from label maps .*'preflight_boxes' in DATASETS.TRA"
    ):
        train(cfg)


def test_what_the_model_does_not_answer_is_refused_before_the_first_step(
    toy_cfg, toy_world, register
):
    register("preflight_boxes", boxes(toy_world), thing_classes=["a"], evaluator_type="coco")
    cfg = toy_cfg("DATASETS.TEST ('toy_val','preflight_boxes')")
    message = (
        r"'preflight_boxes' of DATASETS.TEST is scored by \['instances'\], but ToySegmentor "
        r"answers with \['sem_seg'\]; leave the set out"
    )
    for run in (train, partial(evaluate, random_weights=True)):
        with pytest.raises(ValueError, match=message):
            run(cfg)


def test_instances_without_a_vocabulary_cannot_be_scored(toy_cfg, toy_world, register):
    register("preflight_texts", boxes(toy_world), vocabulary=None, evaluator_type="coco")
    with pytest.raises(ValueError, match="'preflight_texts'.*task instance needs a vocabulary to"):
        train(toy_cfg("DATASETS.TEST ('preflight_texts',)"))


def test_a_model_that_declares_nothing_is_not_checked(toy_cfg, toy, monkeypatch):
    for name in ("learns_from", "answers"):
        monkeypatch.delattr(toy.ToySegmentor, name)
    check_training_data(toy_cfg("INPUT.TARGETS ('instances',)"))
    check_evaluation(toy_cfg())


def test_missing_files_and_wrong_labels_of_the_truth_are_found(toy_cfg, toy_world, register):
    folder = toy_world / "labels" / "val"
    image = str(toy_world / "images" / "val" / "000.png")
    right = {"file_name": image, "sem_seg_file_name": str(folder / "000.png")}
    lost = {"file_name": image + "1", "sem_seg_file_name": str(folder / "none.png")}
    shared = {"evaluator_type": "sem_seg", "vocabulary": "toy", "ignore_label": 255}
    register("preflight_lost", [right, lost], stuff_classes=["a"] * 3, **shared)
    with pytest.raises(FileNotFoundError, match="'preflight_lost': 2 of its files are missing, f"):
        train(toy_cfg("DATASETS.TEST ('preflight_lost',)"))
    register("preflight_labels", [right], stuff_classes=["a"] * 3, **shared | {"ignore_label": 254})
    with pytest.raises(ValueError, match="000.png holds label 255, which is neither"):
        train(toy_cfg("DATASETS.TEST ('preflight_labels',)"))


def test_an_empty_set_is_named(toy_cfg, register):
    register("preflight_empty", [], evaluator_type="sem_seg", vocabulary="toy", stuff_classes=["a"])
    with pytest.raises(ValueError, match="'preflight_empty' has no record"):
        check_evaluation(toy_cfg("DATASETS.TEST ('preflight_empty',)"))


@pytest.mark.parametrize("crowds, reason", [(1, "all 1 annotations are crowds"), (0, "not one of")])
def test_a_truth_without_one_target_is_refused_with_its_reason(
    toy_cfg, toy_world, register, crowds, reason
):
    [record] = boxes(toy_world)
    crowd = {**record["annotations"][0], "iscrowd": 1}
    records = [{**record, "annotations": [crowd] * crowds}]
    register("preflight_crowds", records, evaluator_type="coco", thing_classes=["a"])
    with pytest.raises(ValueError, match=f"'preflight_crowds' has no usable target: {reason}"):
        check_evaluation(toy_cfg("DATASETS.TEST ('preflight_crowds',)"))


def test_a_model_and_weights_that_do_not_exist_are_named(toy_cfg):
    with pytest.raises(ValueError, match="no model 'SAD'; registered are .*'ToySegmentor'"):
        train(toy_cfg("MODEL.META_ARCHITECTURE SAD"))
    with pytest.raises(FileNotFoundError, match="MODEL.WEIGHTS: checkpoint 'none.pth' does not"):
        train(toy_cfg("MODEL.WEIGHTS none.pth"))


@pytest.mark.parametrize(
    "options, training, message",
    [
        ("DATASETS.TEST () DATASETS.TRAIN ()", True, "DATASETS.TRAIN is empty"),
        ("DATASETS.TEST ()", False, "DATASETS.TEST is empty"),
        ("DATASETS.TRAIN ('gone',)", True, "no data set 'gone' is registered"),
        ("MODEL.WEIGHTS none.pth", True, "MODEL.WEIGHTS: checkpoint 'none.pth' does not exist"),
        ("SOLVER.OPTIMIZER adamm", True, r"SOLVER.OPTIMIZER: unknown 'adamm'; known are \['adamw'"),
        ("SOLVER.LR_SCHEDULER_NAME Cosin", True, "unknown 'Cosin'; known are .*'WarmupCosineLR'"),
        ("MODEL.META_ARCHITECTURE SAD", False, "no model 'SAD'"),
        (
            "MODEL.CLIP.WEIGHTS no/c.pt",
            True,
            "MODEL.CLIP.WEIGHTS: checkpoint 'no/c.pt' does no",
        ),
        (
            "MODEL.CLIP.WEIGHTS c.safetensors",
            True,
            "CLIP.WEIGHTS: checkpoint 'c.safetensors' does",
        ),
    ],
)
def test_names_are_looked_at_before_anything_is_made(toy_cfg, options, training, message):
    with pytest.raises((KeyError, ValueError, FileNotFoundError), match=message):
        check_names(toy_cfg(options), training=training, random_weights=True)


def test_folders_of_data_sets_are_looked_for_first_of_all(toy_cfg, monkeypatch, tmp_path):
    cfg = toy_cfg()
    description = DatasetCatalog["toy_train"].description
    monkeypatch.setitem(vars(description), "label_root", (str(tmp_path / "gone"), "no_maps"))
    with pytest.raises(FileNotFoundError, match="'toy_train': no file or folder .*/gone; set DETE"):
        check_names(cfg, training=True)
    check_names(cfg, training=False, random_weights=True)  # which reads toy_val alone


def test_an_evaluation_does_not_look_for_what_parts_of_the_model_began_with(toy_cfg):
    cfg = toy_cfg("MODEL.CLIP.WEIGHTS gone/clip.pt MODEL.WEIGHTS whole.pth")
    check_names(toy_cfg("MODEL.CLIP.WEIGHTS gone/clip.pt"), training=False, random_weights=True)
    parts = without_part_weights(cfg)
    assert (parts.MODEL.CLIP.WEIGHTS, parts.MODEL.WEIGHTS) == ("", "whole.pth")
    assert cfg.MODEL.CLIP.WEIGHTS == "gone/clip.pt"


def test_an_evaluation_takes_weights_or_the_word_for_none(toy_cfg):
    cfg = toy_cfg("")
    with pytest.raises(ValueError, match="MODEL.WEIGHTS is empty: this model has learned nothing"):
        check_names(cfg, training=False)
    check_names(cfg, training=False, random_weights=True)
    check_names(cfg, training=True)


@pytest.mark.parametrize("averaged, fits", [(False, True), (True, False)])
def test_two_checkpoints_must_fit_on_the_disk(tmp_path, monkeypatch, averaged, fits):
    model = torch.nn.Linear(3, 1)  # 4 float32: 16 bytes of weights, two more of each for AdamW
    optimizer = torch.optim.AdamW(model.parameters())
    free = SimpleNamespace(free=2 * 3 * 16)
    monkeypatch.setattr(write.shutil, "disk_usage", lambda folder: free)
    if fits:
        check_disk(str(tmp_path), model, optimizer, averaged=averaged)
    else:
        with pytest.raises(ValueError, match="0.00 GB free; 2 checkpoints of 0.00 GB must fit"):
            check_disk(str(tmp_path), model, optimizer, averaged=averaged)


def test_weights_that_fit_in_part_are_evaluated_only_when_asked_for(toy_cfg, tmp_path, toy):
    model = toy.ToySegmentor(dropout=0.0)
    state = {k: v for k, v in model.state_dict().items() if k != "head.bias"}
    torch.save({"model": state}, tmp_path / "part.pth")
    cfg = toy_cfg(f"MODEL.WEIGHTS {tmp_path}/part.pth")
    with pytest.raises(
        ValueError, match=r"fit the model only in part: 6 of 7 entries fit; 1 missing \(head.bias\)"
    ):
        evaluate(cfg)
    assert evaluate(cfg, random_weights=True)
    with pytest.raises(
        ValueError, match="MODEL.WEIGHTS is empty: .*--random-weights .random_weights=True"
    ):
        evaluate(toy_cfg())


def test_vocabularies_that_a_model_cannot_mix_are_refused_before_the_first_step(
    toy, toy_cfg, register, monkeypatch
):
    register("preflight_other", [], vocabulary="other", evaluator_type="sem_seg")
    sets = "DATASETS.TRAIN ('toy_train','preflight_other')"
    check_training_data(toy_cfg(f"{sets} SOLVER.IMS_PER_BATCH 4"))  # the toy mixes them
    monkeypatch.setattr(toy.ToySegmentor, "one_vocabulary", True, raising=False)
    message = (
        r"has the vocabularies \['other', 'toy'\], but ToySegmentor decodes the classes of a batch "
        "together: set DATALOADER.ONE_SET_PER_BATCH True"
    )
    with pytest.raises(ValueError, match=message):
        check_training_data(toy_cfg(f"{sets} SOLVER.IMS_PER_BATCH 4"))
    for fitting in (
        f"{sets} SOLVER.IMS_PER_BATCH 4 DATALOADER.ONE_SET_PER_BATCH True",
        f"{sets} SOLVER.IMS_PER_BATCH 4 SOLVER.ACCUMULATE 4",  # one image at a time
        "DATASETS.TRAIN ('toy_train','toy_val') SOLVER.IMS_PER_BATCH 4",
    ):
        check_training_data(toy_cfg(fitting))
