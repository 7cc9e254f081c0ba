import json
import sys

import pytest

from segplugins.files.faults import Collect
from segplugins.files.lines import read_region_lines
from segplugins.files.region_shards import (
    numbered_records,
    region_data,
    shard_files,
    writing_records,
)
from segplugins.structures.regions import Region, Task

RLE = {"size": [4, 6], "counts": [0, 4, 20]}
RECORDS = [
    {
        "image_id": "x-1",
        "source": "set",
        "file_name": "a/x.jpg",
        "height": 4,
        "width": 6,
        "task": "referring",
        "tags": [{"name": "dog", "score": 0.5, "annotator": "ram"}],
        "captions": [{"text": "a dog", "score": 0.5, "annotator": "blip", "prompt_id": 2,
                      "kept": True}],
        "regions": [
            {"text": "dog", "box": [0.0, 0.0, 1.0, 4.0], "mask": {"size": [4, 6], "counts": "04d0"},
             "is_thing": True, "score": 0.25, "extra": {"region_id": 0, "deep": {"a": [1, None]}}},
            {"text": "hill", "mask": [[0.0, 0.0, 6.0, 0.0, 6.0, 4.0]], "is_thing": False,
             "score": 1.0},
            {"text": "no target", "is_thing": True, "score": 1.0},
        ],
        "more": "kept",
        "schema_version": 1,
    },
    {"file_name": "broken.jpg", "source": "set", "error": "it is cut off"},
]  # fmt: skip
KINDS = ["jsonl", pytest.param("parquet", marks=pytest.mark.filterwarnings("default"))]


def write(path, records):
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    with writing_records(path) as add:
        for record in records:
            add(record)


@pytest.mark.parametrize("kind", KINDS)
def test_records_come_back_as_they_were(tmp_path, kind):
    path = tmp_path / f"part-0.{kind}"
    write(path, RECORDS)
    back = [r if isinstance(r, dict) else json.loads(r) for _, r in numbered_records(path)]
    assert back == RECORDS
    (entry,) = read_region_lines(path, task=Task.INSTANCE)
    assert entry.image_id == "x-1" and entry.task is Task.REFERRING
    assert [r.text for r in entry.regions] == ["dog", "hill", "no target"]
    assert entry.regions[0].bitmap(4, 6).sum() == 4 and entry.more["more"] == "kept"


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_columns_cannot_hold_is_not_lost(tmp_path, kind):
    record = {
        "image_id": "x",
        "file_name": "x.jpg",
        "regions": [{"text": "a", "mask": RLE, "is_thing": True, "score": 1.0}],
        "tags": [{"name": "dog", "colour": "red"}],
        "captions": ["text alone"],
    }
    write(tmp_path / f"0.{kind}", [record])
    ((_, back),) = numbered_records(tmp_path / f"0.{kind}")
    back = back if isinstance(back, dict) else json.loads(back)
    assert back["tags"] == record["tags"] and back["captions"] == ["text alone"]
    (entry,) = read_region_lines(
        tmp_path / f"0.{kind}", task=Task.INSTANCE, image_root=picture_folder(tmp_path)
    )
    assert entry.regions[0].bitmap(4, 6).sum() == 4


def picture_folder(folder):
    from PIL import Image

    Image.new("RGB", (6, 4)).save(folder / "x.jpg")
    return folder


def test_a_folder_of_shards_is_one_set_and_an_id_stands_once_in_it(tmp_path):
    lines = [{**RECORDS[0], "image_id": each, "file_name": f"{each}.jpg"} for each in "abca"]
    write(tmp_path / "part-1.jsonl", lines[2:])
    write(tmp_path / "part-0.jsonl", [*lines[:2], RECORDS[1]])
    (tmp_path / ".part-2.1-2.part.jsonl").write_text("{")  # of a process that was killed
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in shard_files(tmp_path)] == ["part-0.jsonl", "part-1.jsonl"]
    collect = Collect()
    entries = read_region_lines(tmp_path, collect, task=Task.INSTANCE)
    assert [entry.image_id for entry in entries] == ["a", "b", "c"]
    (fault,) = collect.faults
    assert fault.kind == "id" and fault.file.endswith("part-1.jsonl")
    assert f"line 1 of {tmp_path}/part-0.jsonl is of the same image a" in fault.message


def test_an_empty_folder_and_a_folder_for_a_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no shard of region lines"):
        shard_files(tmp_path)
    with pytest.raises(ValueError, match="is a folder of shards; name one of its files"):
        list(numbered_records(tmp_path))
    with pytest.raises(ValueError, match="a shard ends in one of .jsonl, .parquet"), (
        writing_records(tmp_path / "x.csv")
    ):  # fmt: skip
        pass


def test_an_error_leaves_no_shard(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), writing_records(tmp_path / "0.jsonl") as add:
        add(RECORDS[0])
        raise RuntimeError("stop")
    assert not list(tmp_path.iterdir())


def test_a_damaged_parquet_file_and_a_missing_package_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "0.parquet").write_bytes(b"PAR1 damaged PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="Parquet shards need pyarrow: pip install pyarrow; or"):
        list(numbered_records(tmp_path / "0.parquet"))
    monkeypatch.undo()
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    with pytest.raises(ValueError, match="0.parquet is no Parquet file of region lines: "):
        list(numbered_records(tmp_path / "0.parquet"))


def test_boxes_and_scores_are_rounded():
    region = Region("a", (0.123456, 1, 2, 3), score=0.98765432, extra={"k": 1})
    assert region_data(region) == {"text": "a", "box": [0.12, 1.0, 2.0, 3.0], "is_thing": True,
                                   "score": 0.9877, "extra": {"k": 1}}  # fmt: skip
