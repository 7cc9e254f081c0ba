import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.data import dataset_metadata, load_dataset, register_semantic
from segplugins.data.catalog import PARTIAL_VARIABLE
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, get_vocabulary

PETS = Vocabulary(name="test_pets", classes=("cat", "dog"))


def write_set(root, save, stems=("a", "b")):
    for stem in stems:
        save(root / "pets" / "images" / f"{stem}.jpg", np.zeros((4, 6, 3), np.uint8))
        save(root / "pets" / "labels" / f"{stem}.png", np.zeros((4, 6), np.uint8))


def register(name="test_set", **keywords):
    arguments = {"image_root": "pets/images", "label_root": "pets/labels", "vocabulary": PETS}
    register_semantic(name, **{**arguments, **keywords})


def test_a_registered_set_gives_records_and_metadata(root, save):
    write_set(root, save)
    register(licence="CC0", seen=[0], expected=2)
    records = DatasetCatalog.get("test_set")
    assert [record["image_id"] for record in records] == ["a", "b"]
    assert records[0] == {
        "file_name": str(root / "pets/images/a.jpg"),
        "sem_seg_file_name": str(root / "pets/labels/a.png"),
        "image_id": "a",
        "dataset": "test_set",
        "task": Task.SEMANTIC,
        "vocabulary": "test_pets",
    }
    metadata = MetadataCatalog.get("test_set")
    assert metadata.evaluator_type == "sem_seg"
    assert metadata.stuff_classes == ["cat", "dog"]
    assert (metadata.seen, metadata.class_map, metadata.licence) == ((0,), None, "CC0")


def test_the_root_is_looked_up_when_the_set_is_loaded(root, save, monkeypatch, tmp_path):
    register()
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(elsewhere))
    write_set(elsewhere, save)
    assert DatasetCatalog.get("test_set")[0]["file_name"].startswith(str(elsewhere))


def test_a_missing_folder_is_named_with_root_and_script(root):
    register(prepare="python datasets/prepare_pets.py")
    with pytest.raises(FileNotFoundError) as error:
        DatasetCatalog.get("test_set")
    message = str(error.value)
    assert str(root / "pets/images") in message
    assert "DETECTRON2_DATASETS" in message and "prepare_pets.py" in message
    assert "\n" not in message


def test_images_without_a_label_are_left_out_and_counted(root, save, caplog):
    write_set(root, save)
    save(root / "pets/images/c.jpg", np.zeros((4, 6, 3), np.uint8))
    register()
    with caplog.at_level(logging.INFO, logger="segplugins"):
        assert len(DatasetCatalog.get("test_set")) == 2
    assert "1 images of" in caplog.text


def test_equal_numbers_of_files_are_still_paired_by_stem(root, save):
    write_set(root, save)
    (root / "pets/labels/a.png").rename(root / "pets/labels/c.png")
    register()
    with pytest.raises(FileNotFoundError, match="c.png: no image .c.jpg"):
        DatasetCatalog.get("test_set")


def test_a_folder_without_labels_is_an_error(root, save):
    write_set(root, save)
    register(label_ext="tif")
    with pytest.raises(FileNotFoundError, match=r"no \*.tif label file in .*pets/labels"):
        DatasetCatalog.get("test_set")


def test_another_number_of_images_is_an_error_unless_a_part_is_asked_for(
    root, save, monkeypatch, caplog
):
    write_set(root, save)
    register(expected=3)
    with pytest.raises(ValueError, match="'test_set' has 2 records, expected 3"):
        DatasetCatalog.get("test_set")
    monkeypatch.setenv(PARTIAL_VARIABLE, "1")
    assert len(DatasetCatalog.get("test_set")) == 2
    assert "expected 3" in caplog.text


def test_the_first_existing_of_several_image_folders_is_taken(root, save):
    write_set(root, save)
    register(image_root=("absent", "pets/images"))
    assert len(DatasetCatalog.get("test_set")) == 2


def test_registering_twice_does_no_harm(root, save):
    write_set(root, save)
    register()
    register()
    assert len(DatasetCatalog.get("test_set")) == 2


def test_class_names_alone_become_a_vocabulary_of_that_name():
    register(name="test_named", vocabulary=["sun", "moon"])
    assert get_vocabulary("test_named").classes == ("sun", "moon")
    assert MetadataCatalog.get("test_named").vocabulary == "test_named"


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"eval_classes": ["pet"]}, "1 eval_classes for 2 classes.*class_map"),
        ({"eval_classes": ["pet"], "class_map": [0]}, "class_map has 1 entries for 2 classes"),
        ({"eval_classes": ["pet"], "class_map": [0, 1]}, "class_map holds 1, expected 0 to 0"),
        ({"seen": [2]}, "seen holds 2, expected 0 to 1"),
    ],
)
def test_a_class_map_that_does_not_fit_is_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        register(**keywords)


def test_an_unknown_set_is_answered_with_names_alike():
    with pytest.raises(KeyError, match="'camvid_vall'.*camvid_val_sem_seg"):
        dataset_metadata("camvid_vall")


def test_sets_that_detectron2_registers_get_a_vocabulary():
    metadata = dataset_metadata("coco_2017_val_panoptic")
    vocabulary = get_vocabulary(metadata.vocabulary)
    assert len(vocabulary) == 133
    # 80 things come first in COCO's list of categories.
    assert vocabulary.is_thing == (True,) * 80 + (False,) * 53
    assert dataset_metadata("coco_2017_val").vocabulary == "coco_2017_val"


def test_loaded_records_say_which_set_they_are_of(root, save):
    write_set(root, save)
    DatasetCatalog.register("test_plain", lambda: [{"file_name": "x"}])
    MetadataCatalog.get("test_plain").set(thing_classes=["a"])
    assert load_dataset("test_plain") == [
        {"file_name": "x", "dataset": "test_plain", "vocabulary": "test_plain"}
    ]
