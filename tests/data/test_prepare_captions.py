"""datasets/prepare_captions.py: COCO's captions, and the boxes beside them, as image-text lines."""

import importlib.util
import json
from pathlib import Path

import pytest

from segplugins.engine.command import run_command

PATH = Path(__file__).resolve().parents[2] / "datasets" / "prepare_captions.py"
_spec = importlib.util.spec_from_file_location("prepare_captions", PATH)
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)

IMAGES = [{"id": n, "file_name": f"{n}.jpg", "height": 20, "width": 30} for n in (9, 4, 7)]


@pytest.fixture
def prepare(tmp_path, capsys):
    """Runs the script; returns its lines by shard, exit status and what it printed."""
    captions = {
        "images": IMAGES[:2],
        "annotations": [{"image_id": 9, "caption": " a  dog\n"}, {"image_id": 9, "caption": "b"}],
    }
    instances = {
        "images": IMAGES,
        "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "cup"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 5, "bbox": [1, 2, 10, 5], "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 3, "bbox": [0, 0, 4, 4], "iscrowd": 0},
            {"id": 3, "image_id": 9, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
            {"id": 4, "image_id": 9, "category_id": 5, "bbox": [2, 2, 3, 3], "iscrowd": 0},
            {"id": 5, "image_id": 7, "category_id": 5, "bbox": [2, 2, 3, 3], "iscrowd": 0},
        ],
    }
    for name, content in (("captions", captions), ("instances", instances)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def run(*options):
        words = [str(tmp_path / "captions.json"), str(tmp_path / "out"), *options]
        with pytest.raises(SystemExit) as end:
            run_command(script.main, script.parser(), argv=words)
        shards = {
            path.name: [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted((tmp_path / "out").glob("*"))
        }
        return shards, end.value.code, "".join(capsys.readouterr())

    run.instances = str(tmp_path / "instances.json")
    return run


def test_captions_alone_are_lines_of_the_images_that_have_any(prepare):
    shards, status, told = prepare("--images", "val")
    expected = {"key": "9", "file_name": "val/9.jpg", "captions": ["a dog", "b"]}
    assert status == 0 and shards == {"captions-00000.jsonl": [expected]}
    assert told.startswith("1 images with captions are in ")


def test_boxes_become_regions_with_corners_and_tags_and_crowds_do_not(prepare):
    shards, _, told = prepare("--instances", prepare.instances, "--shard", "1")
    # By image id; image 4 has neither captions nor boxes, image 7 boxes alone.
    (seven,), (nine,) = shards.values()
    assert list(shards) == ["captions-00000.jsonl", "captions-00001.jsonl"]
    assert seven["captions"] == [] and seven["tags"] == ["cup"]
    assert nine["tags"] == ["cup", "dog"]
    assert nine["regions"] == [
        {"text": "cup", "box": [1, 2, 11, 7]},
        {"text": "dog", "box": [0, 0, 4, 4]},
        {"text": "cup", "box": [2, 2, 5, 5]},
    ]
    assert "2 images with captions and 4 boxes are in" in told


def test_a_fault_of_the_boxes_is_one_line(prepare, tmp_path):
    content = json.loads((tmp_path / "instances.json").read_text())
    content["annotations"][0]["bbox"] = [1, 2, -10, 5]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    _, status, told = prepare("--instances", prepare.instances)
    assert status == 2 and len(told.splitlines()) == 1 and "bbox" in told
