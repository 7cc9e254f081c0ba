"""Classification and retrieval as data sets: lists, boxes of objects; captions."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from segplugins.data import SegMapper, load_dataset, register_class_list, register_retrieval
from segplugins.data.register_yaml import register_from_yaml
from segplugins.files.faults import Skip
from segplugins.structures import get_vocabulary


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    before = set(DatasetCatalog.list())
    yield tmp_path
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


def picture(path, size=(20, 30)):
    """A picture of (height, width) whose red is the row and whose green is the column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[: size[0], : size[1]]
    Image.fromarray(np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)).save(path)


def test_a_list_gives_each_picture_the_number_of_its_class(root):
    picture(root / "a b.png")
    (root / "list.txt").write_text("a b.png 1\na b.png 2\n")
    register_class_list("zs_list", image_root="", list_file="list.txt", vocabulary=["x", "y"])
    with pytest.raises(ValueError, match="'a b.png 2' is no line of a list, .* a class, 0 to 1"):
        load_dataset("zs_list")
    skipped = Skip()
    (record,) = load_dataset("zs_list", skipped)
    assert record["file_name"] == str(root / "a b.png") and record["class_index"] == 1
    assert sum(skipped.counts.values()) == 1
    metadata = MetadataCatalog.get("zs_list")
    assert get_vocabulary(metadata.vocabulary).classes == ("x", "y")
    assert metadata.evaluator_type == "classification"


def boxes(root, *annotations):
    picture(root / "images/7.png")
    content = {
        "images": [{"id": 7, "file_name": "7.png", "height": 20, "width": 30}],
        "categories": [{"id": 5, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": n + 1, "image_id": 7, "iscrowd": 0, "area": box[2] * box[3], **more, "bbox": box}
            for n, (box, more) in enumerate(annotations)
        ],
    }
    (root / "objects.json").write_text(json.dumps(content))


def test_what_the_box_of_an_object_shows_is_a_picture_of_its_class(root):
    boxes(
        root,
        ([2.5, 3, 10, 8], {"category_id": 5}),
        ([0, 0, 4, 20], {"category_id": 3}),  # 4 pixels wide
        ([0, 0, 20, 20], {"category_id": 3, "iscrowd": 1}),
    )
    (root / "sets.yaml").write_text(
        "kind: crops\nimages: images\nannotations: objects.json\nvocabulary: [dog, cat]\n"
        "sets: {zs_objects: {}, zs_large: {least_side: 5}}\n"
    )
    register_from_yaml(root / "sets.yaml")
    first, second = load_dataset("zs_objects")
    assert (first["class_index"], second["class_index"]) == (1, 0)
    assert first["crop"] == (2, 3, 13, 11)  # every pixel that is touched
    assert first["image_id"] != second["image_id"]
    assert [r["crop"] for r in load_dataset("zs_large")] == [(2, 3, 13, 11)]
    mapper = SegMapper(is_train=False, augmentations=[])
    result = mapper({**first, "vocabulary": "v"})
    assert (result["height"], result["width"]) == (8, 11)
    corner = result["image"][:, 0, 0].tolist(), result["image"][:, -1, -1].tolist()
    assert corner == ([3, 2, 0], [10, 12, 0])


def test_captions_of_coco_and_of_lines_are_pictures_to_find(root):
    picture(root / "images/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "caption": f" text  {n} "} for n in range(6)],
    }
    (root / "captions.json").write_text(json.dumps(content))
    register_retrieval("zs_coco", captions_file="captions.json", image_root="images")
    (record,) = load_dataset("zs_coco")
    assert record["captions"] == [f"text {n}" for n in range(5)]  # the protocol's first five
    assert record["file_name"] == str(root / "images/a.png") and record["vocabulary"] is None
    lines = ['{"file_name": "a.png", "captions": ["x", "y"]}', '{"file_name": "b.png"}']
    (root / "captions.jsonl").write_text("\n".join(lines))
    register_retrieval("zs_lines", captions_file="captions.jsonl", image_root="images", most=1)
    with pytest.raises(ValueError, match="'b.png' has no caption"):
        load_dataset("zs_lines")
    assert [r["captions"] for r in load_dataset("zs_lines", Skip())] == [["x"]]
    (root / "captions.jsonl").write_text('["a.png"]')
    with pytest.raises(ValueError, match="captions.jsonl line 1: expected an object with 'file"):
        load_dataset("zs_lines")
