import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from segplugins.data import SegMapper, dataset_metadata, load_dataset
from segplugins.data.register_yaml import register_from_yaml
from segplugins.data.sources import KINDS
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
        ("licence", "license", "unknown key 'license', the nearest is 'licence'"),
        ("[sky, road, car]", "[sky, sky]", "'sky' stands twice"),
        ("[sky, road, car]", "[]", "vocabulary 'mine.yaml' is empty"),
        ("[sky, 2]", "[sea]", "seen holds 'sea', which is no class"),
        ("sets:", "sorts:", "expected 'sets'"),
        ("kind: semantic", "kind: [", "not readable"),
        ("test_yaml_val", "camvid_val_sem_seg", "registered already with another"),
        ("kind: semantic", "kind: !!python/object:os.system", "not readable"),
        ("licence: CC0", "image_ext: jpg\nlicence: CC0", "key 'image_ext' stands twice"),
        ("[sky, road, car]", "vok_20", "neither a registered vocabulary nor a file .*'voc_20'"),
        ("[sky, road, car]", "gone.txt", "no vocabulary file '.*gone.txt'"),
        ("[sky, road, car]", "[sky, road, Sky]", "'Sky' stands twice, as class 0"),
        ("[sky, road, car]", "{name: camvid, classes: [sky, road, car]}", "choose another name"),
        ("[sky, road, car]", "[{name: sky, synonyms: heaven}]", "has the synonyms 'heaven'"),
        ("ignore_label: 0", "ignore_label: zero", "key 'ignore_label': got 'zero', expected a who"),
        ("ignore_label: 0", "ignore_label: true", "key 'ignore_label': got True, expected a whole"),
        ("ignore_label: 0", "ignore_label: 0.5", "key 'ignore_label': got 0.5, expected a whole"),
        ("ignore_label: 0", "first_label: -1", "key 'first_label': got -1, expected a whole numb"),
        ("ignore_label: 0", "label_values: [1]", "key 'label_values': got .1., expected a mappin"),
        ("ignore_label: 0", "label_values: {0: x}", "label_values holds 'x', which is no class"),
        ("ignore_label: 0", "label_colours: {sky: red}", 'expected .R, G, B. of 0 to 255 or "#rr'),
        ("ignore_label: 0", "label_suffix: _m.png", "expected what stands between stem and ending"),
        ("ignore_label: 0", "label_ext: jpg", "expected a format that keeps values"),
        ("ignore_label: 0", "image_ext: [jpg, doc]", "expected one or a list of jpg, jpeg"),
        ("ignore_label: 0", "image_ext: 3", "key 'image_ext': got 3, expected one or a list of"),
        ("ignore_label: 0", "task: instance", "got 'instance', expected one of semantic, part"),
        ("seen: [sky, 2]", "seen: sky", "key 'seen': got 'sky', expected a list of class names"),
        ("seen: [sky, 2]", "seen: [3]", "seen holds 3, expected 0 to 2"),
        ("expected: 1", "expected: many", "key 'expected': got 'many', expected a whole number ab"),
        ("labels: labels/val", "labels: 3", "key 'labels': got 3, expected a path"),
        ("licence: CC0", "licence: [CC0]", "key 'licence': got .'CC0'., expected a text"),
        ("licence: CC0", "root: 3", "key 'root': got 3, expected a path"),
    ],
)
def test_a_file_that_describes_no_set_is_an_error(tmp_path, old, new, message):
    path = write(tmp_path, SEMANTIC.replace(old, new))
    with pytest.raises(ValueError, match=f"mine.yaml.*{message}"):
        register_from_yaml(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set file .*gone.yaml"):
        register_from_yaml(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    "kind, keys, message",
    [
        ("coco", "boxes_only: 1", "key 'boxes_only': got 1, expected true or false"),
        ("coco", "seen: [cat]", "seen holds names, which need a vocabulary"),
        (
            "referring",
            "refs: r.p, split: val, sample: images",
            "one of object, image, exp",
        ),
        ("referring", "refs: r.p, split: val, sample: image, generalised: x", "true or false"),
        ("regions", "lines: a.jsonl, task: part", "got 'part', expected one of instance, detec"),
        ("video", "videos: v, split: val", "got 'val', expected one of train, valid, test"),
        ("salient", "masks: m, phrase: 3", "key 'phrase': got 3, expected a text"),
        ("salient", "masks: m, label_ext: png", "unknown key 'label_ext', the nearest is"),
        ("pixels", "", "kind is 'pixels', expected one of class_list, .*, pairs, pan"),
        ("[coco]", "", r"kind is \['coco'\], expected one of"),
    ],
)
def test_keys_of_every_kind_are_checked(tmp_path, kind, keys, message):
    files = "" if kind == "video" else "images: ., "
    files += "annotations: a.json, " if kind in ("coco", "referring") else ""
    text = f"kind: {kind}\nsets:\n  test_yaml_checked: {{{files}{keys}}}"
    with pytest.raises(ValueError, match=f"mine.yaml, set 'test_yaml_checked'.*{message}"):
        register_from_yaml(write(tmp_path, text))


@pytest.mark.parametrize("sets", ["{}", "{a: 3}", "{a: [images]}"])
def test_sets_are_mappings(tmp_path, sets):
    with pytest.raises(ValueError, match="'sets' names no data set|expected a mapping of keys"):
        register_from_yaml(write(tmp_path, f"kind: semantic\nsets: {sets}"))


def test_files_of_one_name_have_vocabularies_of_their_own(tmp_path, save):
    text = "kind: semantic\nvocabulary: {}\nsets:\n  {}: {{images: images, labels: labels}}"
    for folder, classes, name in (
        ("a", "[sky, grass]", "test_yaml_meadow"),
        ("b", "[wall, house]", "test_yaml_houses"),
        ("c", "[sky, grass]", "test_yaml_again"),
    ):
        register_from_yaml(write(tmp_path / folder, text.format(classes, name), name="data.yaml"))
    names = [
        MetadataCatalog.get(f"test_yaml_{name}").vocabulary
        for name in ("meadow", "houses", "again")
    ]
    assert names == ["data.yaml", "b/data.yaml", "data.yaml"]
    assert get_vocabulary(names[1]).classes == ("wall", "house")


def test_vocabulary_files_of_one_name_are_told_apart_too(tmp_path):
    text = "kind: coco\nvocabulary: names.txt\nsets:\n  {}: {{images: ., annotations: a.json}}"
    for folder, classes in (("a", "sky\n"), ("b", "cat\n")):
        write(tmp_path / folder, classes, name="names.txt")
        register_from_yaml(write(tmp_path / folder, text.format(f"test_yaml_{folder}")))
    assert MetadataCatalog.get("test_yaml_a").thing_classes == ["sky"]
    assert MetadataCatalog.get("test_yaml_b").thing_classes == ["cat"]


def test_every_key_of_every_kind_stands_in_the_table_of_the_readme():
    text = (Path(__file__).parents[2] / "datasets" / "README.md").read_text(encoding="utf-8")
    (common,) = [line for line in text.splitlines() if line.startswith("For all: `")]
    for kind, source in KINDS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{kind}` | `")]
        for key in source.yaml_keys():
            assert f"`{key}`" in row or f"`{key}`" in common, f"{kind}: {key}"


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "a\\b", "a\nb"])
def test_a_data_set_cannot_name_where_results_are_written(tmp_path, name):
    path = tmp_path / "s.yaml"
    sets = {name: {"images": "i", "labels": "l"}}
    path.write_text(json.dumps({"kind": "semantic", "vocabulary": ["a"], "sets": sets}))
    with pytest.raises(ValueError, match="name: got .* expected a name without slashes"):
        register_from_yaml(path)
