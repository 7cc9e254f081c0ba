import json

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from segplugins.data import SegMapper, dataset_metadata, load_dataset
from segplugins.data.register_yaml import register_from_yaml
from segplugins.structures.regions import Region, Task
from segplugins.structures.vocabulary import get_vocabulary

SEMANTIC = """
kind: semantic
vocabulary: [sky, road, car]
licence: CC0
image_ext: png
sets:
  test_yaml_train: {images: images/train, labels: labels/train, ignore_label: 0}
  test_yaml_val: {images: images/val, labels: labels/val, expected: 1, seen: [sky, 2]}
"""


def write(folder, text, name="mine.yaml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def image(save, *path):
    save(path[0].joinpath(*path[1:]), np.zeros((2, 3, 3), np.uint8))


def write_semantic(folder, save):
    for split in ("train", "val"):
        image(save, folder, "images", split, "a.png")
        save(folder / "labels" / split / "a.png", np.zeros((2, 3), np.uint8))
    return write(folder, SEMANTIC)


def test_folders_of_label_maps_are_found_beside_the_file(tmp_path, save):
    path = write_semantic(tmp_path / "my", save)
    assert register_from_yaml(path) == ["test_yaml_train", "test_yaml_val"]
    (record,) = load_dataset("test_yaml_val")
    assert record["sem_seg_file_name"] == str(tmp_path / "my/labels/val/a.png")
    train = MetadataCatalog.get("test_yaml_train")
    assert (train.ignore_label, train.licence, train.seen) == (0, "CC0", None)
    assert train.stuff_classes == ["sky", "road", "car"]
    assert MetadataCatalog.get("test_yaml_val").seen == (0, 2)


def test_reading_a_file_again_is_no_error(tmp_path, save):
    path = write_semantic(tmp_path / "my", save)
    assert register_from_yaml(path) == register_from_yaml(path)


def test_the_root_can_be_the_folder_of_all_data_sets(root, tmp_path, save):
    write_semantic(tmp_path / "my", save)
    path = write(tmp_path / "elsewhere", "root: $DETECTRON2_DATASETS/my\n" + SEMANTIC)
    register_from_yaml(path)
    assert len(load_dataset("test_yaml_train")) == 1


def test_a_vocabulary_can_stand_in_a_file_beside_it(tmp_path, save):
    write(tmp_path / "my", "sky\nroad, street\n", name="names.txt")
    text = SEMANTIC.replace("[sky, road, car]", "names.txt").replace(", seen: [sky, 2]", "")
    register_from_yaml(write(tmp_path / "my", text))
    words = get_vocabulary(MetadataCatalog.get("test_yaml_val").vocabulary)
    assert words.synonyms == (("sky",), ("road", "street"))


def test_instances_can_take_the_categories_of_their_file(tmp_path):
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    path = write(tmp_path, "kind: coco\nsets: {test_yaml_coco: {images: ., annotations: a.json}}")
    (tmp_path / "a.json").write_text(json.dumps(content))
    register_from_yaml(path)
    assert load_dataset("test_yaml_coco") == []
    assert MetadataCatalog.get("test_yaml_coco").thing_classes == ["cat"]


def test_boxes_without_masks_are_a_key(tmp_path):
    text = "kind: coco\nvocabulary: [cat]\nsets:\n  test_yaml_boxes: "
    text += "{images: ., annotations: a.json, boxes_only: true}"
    register_from_yaml(write(tmp_path, text))
    metadata = MetadataCatalog.get("test_yaml_boxes")
    assert metadata.task is Task.DETECTION
    assert get_vocabulary(metadata.vocabulary).is_thing == (True,)


def test_lines_of_regions_masks_phrases_and_videos_are_kinds(tmp_path, save):
    image(save, tmp_path, "im", "a.jpg")
    save(tmp_path / "gt/a.png", np.zeros((2, 3), np.uint8))
    (tmp_path / "a.jsonl").write_text('{"file_name": "a.jpg", "regions": [{"text": "a cat"}]}')
    for kind, keys in (
        ("regions", "{images: im, lines: a.jsonl, task: instance, vocabulary: [a cat]}"),
        ("salient", "{images: im, masks: gt, phrase: the thing}"),
        ("referring", "{images: im, refs: r.p, annotations: i.json, split: val, sample: image}"),
        ("panoptic", "{images: im, annotations: p.json, maps: gt}"),
        ("video", "{videos: ., split: valid}"),
    ):
        text = f"kind: {kind}\nsets:\n  test_yaml_{kind}: {keys}"
        register_from_yaml(write(tmp_path, text, name=f"{kind}.yaml"))
    assert load_dataset("test_yaml_regions")[0]["regions"] == [Region("a cat", class_index=0)]
    assert load_dataset("test_yaml_salient")[0]["texts"] == ["the thing"]
    with pytest.raises(FileNotFoundError, match="no file .*r.p"):
        load_dataset("test_yaml_referring")
    with pytest.raises(FileNotFoundError, match="no file .*p.json"):
        load_dataset("test_yaml_panoptic")
    assert MetadataCatalog.get("test_yaml_video").evaluator_type == "video"


def test_panoptic_phrases_and_videos_reach_the_model_by_a_file_alone(tmp_path, save):
    image(save, tmp_path, "im", "a.jpg")
    one = {"id": 1, "file_name": "a.jpg", "height": 2, "width": 3}
    categories = [{"id": 4, "name": "cat", "isthing": 1}]
    segments = [{"id": 1, "category_id": 4, "area": 6}]
    panoptic = {"images": [one], "categories": categories}
    panoptic["annotations"] = [{"image_id": 1, "file_name": "a.png", "segments_info": segments}]
    square = {"bbox": [0, 0, 2, 2], "area": 4, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    objects = {"images": [one], "categories": categories}
    objects["annotations"] = [{"id": 1, "image_id": 1, "category_id": 4, "iscrowd": 0, **square}]
    ref = {"ref_id": 1, "ann_id": [1], "image_id": 1, "split": "val"}
    ref["sentences"] = [{"raw": "the cat", "sent": "the cat", "sent_id": 0}]
    said = {"v": {"expressions": {"0": {"exp": "a dog", "obj_id": "1"}}, "frames": ["0"]}}
    files = {"panoptic.json": panoptic, "instances.json": objects, "grefs(me).json": [ref]}
    files["meta_expressions/train/meta_expressions.json"] = {"videos": said}
    files["train/meta.json"] = {"videos": {"v": {"objects": {"1": {"frames": ["0"]}}}}}
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    save(tmp_path / "maps/a.png", np.array([[[1, 0, 0]] * 3] * 2, np.uint8))
    image(save, tmp_path, "train", "JPEGImages", "v", "0.jpg")
    save(tmp_path / "train/Annotations/v/0.png", np.ones((2, 3), np.uint8))
    refs = "refs: grefs(me).json, annotations: instances.json, split: val, sample: object"
    sets = {
        "panoptic": "{images: im, annotations: panoptic.json, maps: maps}",
        "referring": "{images: im, " + refs + ", generalised: true}",
        "video": "{videos: ., split: train}",
    }
    for kind, keys in sets.items():
        name = f"test_yaml_{kind}"
        register_from_yaml(write(tmp_path, f"kind: {kind}\nsets:\n  {name}: {keys}"))
        mapper = SegMapper(True, augmentations=[], metadata={name: dataset_metadata(name)})
        (record,) = load_dataset(name)
        mapped = mapper(record)
        pixels = mapped["instances"].gt_masks.tensor.sum().item()
        assert pixels == (4 if kind == "referring" else 6), kind
    assert mapped["texts"] == ["a dog"]
    assert MetadataCatalog.get("test_yaml_referring").evaluator_type == "generalised_referring"


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("kind: semantic", "kind: pixels", "set 'test_yaml_train': kind is 'pixels', expected"),
        ("labels: labels/val, ", "", "set 'test_yaml_val': key 'labels' is missing"),
        ("licence", "license", "unknown key 'license', nearest is 'licence'"),
        ("[sky, road, car]", "[sky, sky]", "'sky' stands twice"),
        ("[sky, road, car]", "[]", "vocabulary 'mine.yaml' is empty"),
        ("[sky, 2]", "[sea]", "seen holds 'sea', which is no class"),
        ("sets:", "sorts:", "expected 'sets'"),
        ("kind: semantic", "kind: [", "not readable"),
        ("test_yaml_val", "camvid_val_sem_seg", "registered already; rename it"),
        ("kind: semantic", "kind: !!python/object:os.system", "not readable"),
    ],
)
def test_a_file_that_describes_no_set_is_an_error(tmp_path, old, new, message):
    path = write(tmp_path, SEMANTIC.replace(old, new))
    with pytest.raises(ValueError, match=f"mine.yaml.*{message}"):
        register_from_yaml(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set file .*gone.yaml"):
        register_from_yaml(tmp_path / "gone.yaml")
