import json

import numpy as np
import pytest

from segplugins.data import (
    SegMapper,
    dataset_metadata,
    load_dataset,
    read_regions,
    register_instances,
    register_panoptic,
)
from segplugins.data.catalog import existing_file, existing_folder
from segplugins.files import coco
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, get_vocabulary

SQUARE = [[0, 0, 2, 0, 2, 2, 0, 2]]


def annotation(**changes):
    given = {
        "id": 1,
        "image_id": 10,
        "category_id": 7,
        "bbox": [0, 0, 2, 2],
        "area": 4,
        "iscrowd": 0,
        "segmentation": SQUARE,
    }
    return {**given, **changes}


def write(root, *annotations, **content):
    given = {
        "images": [
            {"id": 10, "file_name": "a.jpg", "height": 4, "width": 6},
            {"id": 11, "file_name": "b.jpg", "height": 4, "width": 6},
        ],
        "annotations": list(annotations),
        "categories": [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}],
    }
    (root / "images").mkdir(exist_ok=True)
    (root / "set.json").write_text(json.dumps({**given, **content}))


def register(name="test_coco", **keywords):
    register_instances(name, json_file="set.json", image_root="images", **keywords)


def test_instances_are_read_with_the_vocabulary_of_the_file(root):
    write(root, annotation())
    register(licence="CC0")
    with_cat, empty = load_dataset("test_coco")
    (cat,) = read_regions(with_cat, dataset_metadata("test_coco"))
    # Categories in the order of their ids: cat 7, dog 9.
    assert (cat.text, cat.class_index, cat.box) == ("cat", 0, (0, 0, 2, 2))
    assert empty["annotations"] == []  # an image without objects is kept
    assert (with_cat["task"], with_cat["vocabulary"]) == (Task.INSTANCE, "test_coco")
    metadata = dataset_metadata("test_coco")
    assert metadata.json_file == str(root / "set.json")
    assert metadata.thing_dataset_id_to_contiguous_id == {7: 0, 9: 1}


def test_asking_for_the_metadata_reads_the_classes_of_the_file(root):
    write(root)
    register()
    assert get_vocabulary(dataset_metadata("test_coco").vocabulary).classes == ("cat", "dog")


def test_categories_are_found_in_a_given_vocabulary_by_name(root):
    write(root, annotation())
    words = Vocabulary("test_words", ("sky", "dog", "cat, kitten"))
    register(vocabulary=words)
    assert load_dataset("test_coco")[0]["annotations"][0]["category_id"] == 2


@pytest.mark.parametrize(
    "content, message",
    [
        ({"annotations": [annotation(image_id=12)]}, "annotation 1: image_id 12 is not listed"),
        ({"annotations": [annotation(category_id=8)]}, "annotation 1: category_id 8 is not listed"),
        ({"categories": [{"id": 7, "name": ""}]}, "category 7 has the name"),
        (
            {"categories": [{"id": 7, "name": "a"}, {"id": 8, "name": "a"}]},
            "the name .a. of category 7",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_an_error(root, content, message):
    write(root, **content)
    register()
    with pytest.raises(ValueError, match=message):
        load_dataset("test_coco")


def test_a_category_that_the_vocabulary_lacks_is_an_error(root):
    write(root)
    register(vocabulary=["cat", "cow"])
    with pytest.raises(ValueError, match="category 9 'dog'.*none of the 2 classes"):
        load_dataset("test_coco")


@pytest.mark.parametrize(
    "text, message",
    [("{", "not readable"), ("[]", "holds a list, expected a mapping")],
)
def test_a_file_of_another_kind_is_an_error(root, text, message):
    write(root)
    (root / "set.json").write_text(text)
    register()
    with pytest.raises(ValueError, match=message):
        load_dataset("test_coco")


def test_a_missing_file_is_named_with_the_root(root):
    register()
    with pytest.raises(FileNotFoundError, match="no file .*set.json; set DETECTRON2_DATASETS"):
        load_dataset("test_coco")


def test_a_missing_absolute_path_does_not_blame_the_root(root):
    message = f"'own': no {{}} {root}/none; correct the path where the data set is described"
    with pytest.raises(FileNotFoundError, match=message.format("folder")):
        existing_folder(f"{root}/none", "own")
    with pytest.raises(FileNotFoundError, match=message.format("file")):
        existing_file(f"{root}/none", "own")


def test_an_object_of_two_points_is_a_fault(root):
    write(root, annotation(segmentation=[[0, 0, 1, 1]]), annotation(id=2))
    register()
    with pytest.raises(ValueError, match="annotation 1: a polygon of 4 values"):
        load_dataset("test_coco")


def test_boxes_alone_are_cut_at_the_border(root):
    boxes = [[4, 1, 9, 2], [7, 0, 3, 3], [1, 1, 0.5, 3]]
    write(root, *(annotation(id=i + 1, bbox=box) for i, box in enumerate(boxes)))
    register(task=Task.DETECTION)
    (region,) = read_regions(load_dataset("test_coco")[0], dataset_metadata("test_coco"))
    assert region.box == (4, 1, 6, 3) and region.mask is None


def test_lvis_says_what_was_looked_for_in_vain(root):
    image = {
        "id": 10,
        "coco_url": "http://images.cocodataset.org/train2017/000000000010.jpg",
        "height": 4,
        "width": 6,
        "neg_category_ids": [9],
        "not_exhaustive_category_ids": [7],
    }
    write(root, annotation(), images=[image])
    register(evaluator_type="lvis")
    (record,) = load_dataset("test_coco")
    assert record["file_name"] == str(root / "images/train2017/000000000010.jpg")
    assert (record["negative_classes"], record["not_exhaustive_classes"]) == ([1], [0])


def test_the_mapper_hands_on_what_is_not_known(root, save):
    save(root / "images/a.jpg", np.zeros((4, 6, 3), np.uint8))
    image = {
        "id": 10,
        "file_name": "a.jpg",
        "height": 4,
        "width": 6,
        "neg_category_ids": [9],
        "not_exhaustive_category_ids": [],
    }
    write(root, annotation(), images=[image], categories=CATEGORIES)
    register()
    metadata = {"test_coco": dataset_metadata("test_coco")}
    (given,) = load_dataset("test_coco")
    record = SegMapper(True, augmentations=[], metadata=metadata)(given)
    # cat is present, dog looked for in vain, cow unknown
    assert record["ignore_negative"].tolist() == [False, False, True]
    record = SegMapper(True, augmentations=[], metadata=metadata, max_texts=9)(given)
    assert sorted(record["texts"]) == ["cat", "dog"] and record["vocabulary"] is None
    assert record["texts"][record["instances"].gt_classes[0]] == "cat"


CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}, {"id": 11, "name": "cow"}]


def write_panoptic(root, **changes):
    segments = [{"id": 5, "category_id": 9, "area": 3}, {"id": 6, "category_id": 7, "area": 3}]
    content = {
        "images": [{"id": 10, "file_name": "a.jpg", "height": 2, "width": 3}],
        "annotations": [{"image_id": 10, "file_name": "a.png", "segments_info": segments}],
        "categories": [
            {"id": 7, "name": "sky", "isthing": 0},
            {"id": 9, "name": "dog", "isthing": 1},
        ],
    }
    for folder in ("images", "maps"):
        (root / folder).mkdir(exist_ok=True)
    (root / "pan.json").write_text(json.dumps({**content, **changes}))


def register_pan():
    register_panoptic("test_pan", json_file="pan.json", map_root="maps", image_root="images")


def test_panoptic_segments_get_their_class_and_kind(root, save):
    write_panoptic(root)
    ids = np.zeros((2, 3, 3), np.uint8)
    ids[0, :, 0], ids[1, :, 0] = 5, 6
    save(root / "maps/a.png", ids)
    save(root / "images/a.jpg", np.zeros((2, 3, 3), np.uint8))
    register_pan()
    (given,) = load_dataset("test_pan")
    metadata = dataset_metadata("test_pan")
    dog, sky = sorted(read_regions(given, metadata), key=lambda region: region.text)
    assert (dog.class_index, dog.is_thing, sky.class_index, sky.is_thing) == (1, True, 0, False)
    assert get_vocabulary("test_pan").is_thing == (False, True)
    mapper = SegMapper(
        True,
        augmentations=[],
        targets=["sem_seg", "instances"],
        metadata={"test_pan": metadata},
    )
    record = mapper(given)
    assert record["sem_seg"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert record["instances"].gt_classes.tolist() == [1, 0]
    assert record["task"] is Task.PANOPTIC


def test_panoptic_segments_of_an_unknown_category_are_an_error(root):
    segments = [{"id": 5, "category_id": 8}]
    write_panoptic(
        root, annotations=[{"image_id": 10, "file_name": "a.png", "segments_info": segments}]
    )
    register_pan()
    with pytest.raises(ValueError, match="segment 5: category_id 8 is not listed"):
        load_dataset("test_pan")


def test_a_file_is_read_once_per_loading(root, monkeypatch):
    write(root, annotation())
    register()
    reads = []
    read = coco.read_json
    monkeypatch.setattr(coco, "read_json", lambda *a, **k: reads.append(1) or read(*a, **k))
    load_dataset("test_coco")
    dataset_metadata("test_coco")
    assert len(reads) == 1
