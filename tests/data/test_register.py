import logging
from functools import partial

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from segplugins.config import add_shared_config
from segplugins.data import dataset_metadata, load_dataset, register_semantic, register_videos
from segplugins.data.catalog import PARTIAL_VARIABLE
from segplugins.data.read_regions import read_label_map
from segplugins.data.read_video import youtube_evaluation_records
from segplugins.evaluation.build import build_evaluator
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
    with pytest.raises(FileNotFoundError, match="c.png: no image c.<ending> in"):
        DatasetCatalog.get("test_set")


def test_a_folder_without_labels_is_an_error(root, save):
    write_set(root, save)
    register(label_ext="tif")
    message = "no label file <stem>.tif in .*pets/labels; it holds 2 files that end in .png"
    with pytest.raises(FileNotFoundError, match=message):
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


def test_registering_the_same_twice_does_no_harm(root, save):
    write_set(root, save)
    register(seen=[0])
    register(seen=(0,))
    assert len(DatasetCatalog.get("test_set")) == 2


@pytest.mark.parametrize(
    "keywords, differing",
    [({"ignore_label": 0}, "ignore_label"), ({"group": "x"}, "metadata"), ({"seen": [1]}, "seen")],
)
def test_another_set_of_the_same_name_is_an_error_that_says_what_differs(keywords, differing):
    register()
    message = f"'test_set' is registered already with another {differing}; choose another name"
    with pytest.raises(ValueError, match=message):
        register(**keywords)


def test_another_reader_of_videos_under_the_same_name_is_an_error():
    register_videos("test_v", partial(youtube_evaluation_records, split="valid"), root="v")
    register_videos("test_v", partial(youtube_evaluation_records, split="valid"), root="v")
    with pytest.raises(ValueError, match="registered already with another video_records"):
        register_videos("test_v", partial(youtube_evaluation_records, split="test"), root="v")


def test_a_mistyped_keyword_is_no_metadata():
    with pytest.raises(TypeError, match="unknown keyword 'image_exts', the nearest is 'image_ext'"):
        register(image_exts="png")
    register(group="pets")
    assert MetadataCatalog.get("test_set").group == "pets"


def test_category_numbers_of_detectron2s_lvis_become_class_indices():
    # They start at 1, and without a table class k is category k + 1.
    lists = {"neg_category_ids": [1, 3], "not_exhaustive_category_ids": [2]}
    DatasetCatalog.register("test_lvis", lambda: [{"file_name": "x", **lists}])
    MetadataCatalog.get("test_lvis").set(thing_classes=["a", "b", "c"])
    (record,) = load_dataset("test_lvis")
    assert record["negative_classes"] == [0, 2] and record["not_exhaustive_classes"] == [1]
    assert "neg_category_ids" not in record


def test_category_numbers_follow_the_table_of_the_set():
    DatasetCatalog.register("test_table", lambda: [{"neg_category_ids": [7, 9]}])
    table = {9: 0, 7: 1}
    MetadataCatalog.get("test_table").set(
        thing_classes=["a", "b"], thing_dataset_id_to_contiguous_id=table
    )
    assert load_dataset("test_table")[0]["negative_classes"] == [1, 0]


def labels_of(root, save, values, **keywords):
    """Returns the classes of a set of one label map."""
    save(root / "pets/images/a.jpg", np.zeros((1, len(values), 3), np.uint8))
    save(root / "pets/labels/a.png", np.array([values], np.uint8))
    register(**keywords)
    (record,) = load_dataset("test_set")
    metadata = dataset_metadata("test_set")
    return read_label_map(record, metadata).ids[0].tolist(), metadata


@pytest.mark.parametrize(
    "values, keywords, expected",
    [
        ([0, 1, 255], {}, [0, 1, -1]),
        ([0, 1, 2], {"first_label": 1, "ignore_label": 0}, [-1, 0, 1]),
        ([0, 1, 2, 9], {"first_label": 1, "ignore_label": [0, 9]}, [-1, 0, 1, -1]),
        ([0, 255], {"label_values": {0: "cat", 255: "dog"}}, [0, 1]),
        ([0, 7, 255], {"label_values": {0: None, 7: 1}}, [-1, 1, -1]),
        ([[9, 9, 9], [1, 2, 3]], {"label_colours": {"cat": "#010203", "dog": [9, 9, 9]}}, [1, 0]),
        (
            [[9, 9, 9], [8, 8, 8], [0, 0, 0]],
            {
                "label_colours": {"cat": [[9, 9, 9], [8, 8, 8]], "dog": [1, 1, 1]},
                "ignore_colours": [0, 0, 0],
            },
            [0, 0, -1],
        ),
    ],
)
def test_keys_say_what_the_values_of_label_files_mean(root, save, values, keywords, expected):
    classes, metadata = labels_of(root, save, values, **keywords)
    assert classes == expected
    assert metadata.ignore_label == 255  # of the maps that a model is given
    # The evaluator reads them as training does: the same classes as a prediction are all right.
    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.OUTPUT_DIR = str(root)
    evaluator = build_evaluator(cfg, "test_set")
    evaluator.reset()
    answer = {"sem_seg": torch.tensor([[max(k, 0) for k in expected]])}
    evaluator.process(load_dataset("test_set"), [answer])
    assert evaluator.evaluate()["sem_seg"]["pACC"] == 100


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


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"first_label": 1, "label_values": {0: 0}}, "first_label and label_values exclude each"),
        ({"label_values": {0: "cow"}}, "label_values holds 'cow', which is no class of"),
        ({"label_values": {0: 2}}, "label_values holds 2, expected 0 to 1"),
        ({"label_values": {0: "cat"}, "ignore_label": 0}, "label 0 is both class 'cat' and in ign"),
        ({"ignore_colours": [0, 0, 0]}, "ignore_colours needs label_colours"),
        ({"label_colours": {"cat": "#000000"}}, "label_colours gives no colour for class 'dog'"),
        (
            {"label_colours": {"cat": "#000000", "dog": [0, 0, 0]}},
            "label 0 is both class 0 and class 1",
        ),
        (
            {"label_colours": {"cat": "#000000", "dog": "#000001"}, "ignore_label": 0},
            "ignore_label is for numbers",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keywords, message):
    with pytest.raises(ValueError, match=f"data set 'test_set': {message}"):
        register(**keywords)


def test_many_classes_with_values_of_their_own_need_an_ignored_label_of_16_bits():
    names = [f"c{k}" for k in range(256)]
    register(vocabulary=names, first_label=1, ignore_label=0)
    assert MetadataCatalog.get("test_set").ignore_label == 65535


def test_a_vocabulary_that_counts_as_other_classes_is_none_of_label_maps():
    message = "'voc_20b' holds names to ask for.*class_map of 'voc_2012_test_background_sem_seg'.*"
    with pytest.raises(ValueError, match=message + "voc_21"):
        register(vocabulary="voc_20b")
    register(vocabulary="voc_21")
    classes = MetadataCatalog.get("test_set").stuff_classes
    assert [classes[k] for k in (0, 7, 15, 20)] == ["background", "car", "person", "tvmonitor"]


def test_names_of_files_may_differ_by_what_is_added(root, save):
    for stem in ("a", "b"):
        save(root / f"im/x/{stem}_rgb.png", np.zeros((2, 2, 3), np.uint8))
        save(root / f"gt/x/m_{stem}_ids.png", np.zeros((2, 2), np.uint8))
    (root / "list.txt").write_bytes(b"\xef\xbb\xbfx/b\r\n")
    keywords = {"image_suffix": "_rgb", "label_prefix": "m_", "label_suffix": "_ids"}
    register(image_root="im", label_root="gt", list_file="list.txt", **keywords)
    (record,) = load_dataset("test_set")
    assert record["image_id"] == "x/b"
    assert record["file_name"] == str(root / "im/x/b_rgb.png")
    assert record["sem_seg_file_name"] == str(root / "gt/x/m_b_ids.png")
