import gzip
import json
import math

import msgspec
import pytest

from segplugins.files.json_file import dump_json, parse_json, read_json, read_text, write_new

SET = {"images": [], "annotations": []}


def written(tmp_path, data):
    path = tmp_path / "set.json"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_editors_are_passed_over(tmp_path, encoding):
    path = written(tmp_path, json.dumps({"name": "café"}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"name": "café"}
    assert read_text(path) == '{"name": "café"}'


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"[" * 100_000, "nested without end"),
        (b'{"images": [', "line 1 column 13"),
        (b"{} x", "Extra data: line 1 column 4"),
        (b"<html>", "web page"),
        (gzip.compress(b"{}", mtime=0), "compressed; unpack it with gunzip"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ('{"name": "é"}'.encode("latin-1"), "it is not UTF-8 .byte 10.; save it as UTF-8"),
    ],
)
def test_what_is_no_json_says_what_it_is(tmp_path, data, message):
    with pytest.raises(ValueError, match=f"set.json is not readable: .*{message}"):
        read_json(written(tmp_path, data))


def test_keys_that_are_missing_or_stand_twice_are_told(tmp_path):
    with pytest.raises(ValueError, match="has no .'annotations'.; is it the right file"):
        read_json(written(tmp_path, '{"images": []}'), "images", "annotations")
    twice = '{"images": [{"images": 1}], "annotations": [], "images": []}'
    with pytest.raises(ValueError, match="has the key 'images' 2 times"):
        read_json(written(tmp_path, twice), "images")
    nested = '{"images": [{"images": 1}]}'
    assert read_json(written(tmp_path, nested), "images") == {"images": [{"images": 1}]}


def test_predictions_given_as_annotations_are_called_so(tmp_path):
    path = written(tmp_path, json.dumps([{"image_id": 1, "score": 0.5}]))
    with pytest.raises(ValueError, match="holds a list of predictions .COCO's result format."):
        read_json(path, "images")


def test_nan_is_read_and_left_to_those_who_may_not_have_it(tmp_path):
    value, infinite = read_json(written(tmp_path, "[NaN, -Infinity]"))
    assert math.isnan(value) and infinite == -math.inf
    assert parse_json(b"1e999", "it") == math.inf


def test_content_that_does_not_fit_a_type_is_read_as_it_is(tmp_path):
    class Content(msgspec.Struct):
        images: list[dict]

    assert read_json(written(tmp_path, '{"images": [{}]}'), type=Content) == Content([{}])
    assert read_json(written(tmp_path, '{"images": 5}'), type=Content) == {"images": 5}


def test_files_are_written_new_or_not_at_all(tmp_path):
    write_new(tmp_path / "a.json", dump_json(SET))
    assert read_json(tmp_path / "a.json") == SET
    with pytest.raises(FileExistsError, match="a.json exists; remove it or name another file"):
        write_new(tmp_path / "a.json", "")
    assert dump_json([math.nan, {"a": (math.inf, 1.5)}]) == '[null, {"a": [null, 1.5]}]'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
