"""A folder of pictures for every class: records, labels, what is refused; ImageNet's sets."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

import segplugins.data.datasets  # noqa: F401
from segplugins.data import load_dataset
from segplugins.data.register import register_classes
from segplugins.evaluation.zero_shot import ClassificationEvaluator
from segplugins.files.faults import FaultError
from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task
from segplugins.structures.zero_shot import zero_shot_set


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """Returns how to register a folder of a dog, two cats and what else is in it."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name in ("n2/b.png", "n2/deep/a.jpg", "n1/c.png"):
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(path)

    def register(**keywords):
        keywords = {"vocabulary": ["dog", "cat"], "folders": ["n1", "n2"], **keywords}
        register_classes("class_pets", image_root="pets", **keywords)

    yield register
    if "class_pets" in DatasetCatalog.list():
        DatasetCatalog.remove("class_pets")
    MetadataCatalog.pop("class_pets", None)


def test_a_picture_has_the_class_of_its_folder(pets):
    pets()
    records = load_dataset("class_pets")
    assert [(r["image_id"], r["class_index"]) for r in records] == [
        ("n1/c", 0),
        ("n2/b", 1),
        ("n2/deep/a", 1),
    ]
    assert {r["task"] for r in records} == {Task.CLASSIFICATION}
    assert MetadataCatalog.get("class_pets").evaluator_type == "classification"


def test_pictures_outside_of_the_folders_are_a_fault_and_a_set_without_any_is_an_error(pets):
    pets(vocabulary=["dog"], folders=["n1"])
    with pytest.raises(FaultError, match="2 pictures of .*pets are in no folder of a class, first"):
        load_dataset("class_pets")


@pytest.mark.parametrize(
    "folders, message",
    [
        (["n1"], r"1 folders \(1 different\) for 2 classes"),
        (["n1", "n1"], r"2 folders \(1 different\) for 2 classes; name one for each"),
    ],
)
def test_folders_must_fit_the_classes(pets, folders, message):
    with pytest.raises(ValueError, match=message):
        pets(folders=folders)


def test_another_number_of_pictures_is_told(pets):
    pets(expected=4)
    with pytest.raises(FaultError, match="3"):
        load_dataset("class_pets")


def test_imagenets_two_double_names_are_two_classes_asked_for_alike():
    words = get_vocabulary(MetadataCatalog.get("imagenet_1k_val").vocabulary)
    names = zero_shot_set("imagenet_v2").classes
    assert list(words.synonyms) == [(name,) for name in names]
    assert len(set(words.classes)) == 1000
    double = [name for name in words.classes if name.startswith(("missile", "sunglasses"))]
    assert len(double) == 4 and all(name.endswith(")") for name in double)
    assert MetadataCatalog.get("imagenet_a").evaluator_type == "classification"
    assert len(get_vocabulary("imagenet_r_clip")) == 200


def test_scores_of_whole_pictures_are_measured_on_it(pets):
    pets()
    evaluator = ClassificationEvaluator("class_pets", distributed=False)
    for record, scores in zip(load_dataset("class_pets"), ([2.0, 1.0], [0.0, 3.0], [5.0, 3.0])):
        evaluator.process([record], [{"class_scores": torch.tensor(scores)}])
    figures = evaluator.evaluate()["classification"]
    assert figures["top1"] == pytest.approx(200 / 3) and figures["mean_per_class"] == 75.0
