import json

import pytest

from segplugins.files.faults import Collect, FaultError
from segplugins.files.video_expressions import (
    VideoEntry,
    VideoPhrase,
    read_video_expressions,
    read_video_objects,
    report_unknown_objects,
)


def expressions(tmp_path, **changes):
    video = {
        "frames": ["00000", "00005"],
        "expressions": {"0": {"exp": " a cat ", "obj_id": "1"}, "1": {"exp": "a dog"}},
        **changes,
    }
    path = tmp_path / "meta_expressions.json"
    path.write_text(json.dumps({"videos": {"v": video}}))
    return path


def test_expressions_come_out_in_one_form(tmp_path):
    phrases = VideoPhrase("0", "a cat", 1), VideoPhrase("1", "a dog", None)
    assert read_video_expressions(expressions(tmp_path)) == {
        "v": VideoEntry(("00000", "00005"), phrases)
    }


@pytest.mark.parametrize("given", [2, 2.0, "2", "2 "])
def test_objects_are_whole_numbers_however_written(tmp_path, given):
    path = expressions(tmp_path, expressions={"0": {"exp": "a", "obj_id": given}})
    assert read_video_expressions(path)["v"].phrases[0].object_id == 2


@pytest.mark.parametrize(
    "changes, kind, message",
    [
        ({"frames": None}, "form", "record v: frames are None, expected a list of names"),
        ({"frames": []}, "form", r"frames are \[\]"),
        ({"frames": [0, 5]}, "form", "one is 0, expected names such as '00005'"),
        ({"frames": ["1", "1"]}, "form", "a name stands twice"),
        ({"frames": ["../../etc/hostname"]}, "path", "leaves the folder"),
        ({"frames": ["a/b"]}, "path", "expected a name without slashes"),
        ({"expressions": [{"exp": "a"}]}, "form", "'expressions' is .* expected a mapping"),
        ({"expressions": {"../0": {"exp": "a"}}}, "path", "leaves the folder"),
        ({"expressions": {"0": "a cat"}}, "form", "expression 0 is 'a cat', expected a mapping"),
        ({"expressions": {"0": {"exp": "  "}}}, "sentence", "'exp' is '  '"),
        ({"expressions": {"0": {"obj_id": 1}}}, "sentence", "expression 0: .* is None"),
        ({"expressions": {"0": {"exp": "a", "obj_id": 0}}}, "unknown-id", "obj_id is 0"),
        ({"expressions": {"0": {"exp": "a", "obj_id": 256}}}, "unknown-id", "1 to 255"),
        ({"expressions": {"0": {"exp": "a", "obj_id": [1]}}}, "unknown-id", r"obj_id is \[1\]"),
    ],
)
def test_what_an_expression_may_not_hold_is_named(tmp_path, changes, kind, message):
    path = expressions(tmp_path, **changes)
    with pytest.raises(FaultError, match=message) as raised:
        read_video_expressions(path)
    assert raised.value.fault.kind == kind
    policy = Collect()
    videos = read_video_expressions(path, policy)
    assert [fault.kind for fault in policy.faults] == [kind]
    # What is left is a video without the faulty expression, or no video.
    assert not videos or videos["v"].phrases == ()


def test_training_needs_the_object_of_every_expression(tmp_path):
    with pytest.raises(FaultError, match="expression 1: obj_id is None"):
        read_video_expressions(expressions(tmp_path), with_objects=True)


@pytest.mark.parametrize("videos", [[], "v", None])
def test_a_file_without_videos_by_name_is_refused(tmp_path, videos):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"videos": videos}))
    with pytest.raises(FaultError, match="'videos' is .* expected a mapping by name"):
        read_video_expressions(path)


def test_a_video_outside_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"videos": {"../../v": {"frames": ["0"], "expressions": {}}}}))
    with pytest.raises(FaultError, match="leaves the folder"):
        read_video_expressions(path)


def objects(tmp_path, listed):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"videos": {"v": {"objects": listed}}}))
    return path


def test_frames_by_object(tmp_path):
    listed = {"1": {"category": "cat", "frames": ["00000", "00005"]}, "2": {"frames": ["00005"]}}
    shown = read_video_objects(objects(tmp_path, listed))
    assert shown == {"v": {1: frozenset({"00000", "00005"}), 2: frozenset({"00005"})}}


@pytest.mark.parametrize(
    "listed, message",
    [
        ([{"frames": ["0"]}], "'objects' is .* expected a mapping"),
        ({"1": {"frames": [0]}}, "object 1, frames: one is 0"),
        ({"1": {}}, "object 1, frames are None"),
        ({"cat": {"frames": ["0"]}}, "obj_id is 'cat'"),
        ({"1": ["0"]}, "object 1 is .* expected a mapping"),
    ],
)
def test_frames_that_cannot_be_read_are_named(tmp_path, listed, message):
    with pytest.raises(FaultError, match=message):
        read_video_objects(objects(tmp_path, listed))


def test_an_object_that_no_frame_shows_is_a_fault(tmp_path):
    phrases = tuple(VideoPhrase(str(number), "a", number) for number in (1, 2, 3))
    videos = {"v": VideoEntry(("0", "1"), phrases)}
    shown = {"v": {1: frozenset({"1", "9"}), 2: frozenset({"9"})}}
    policy = Collect()
    unknown = report_unknown_objects("m.json", videos, shown, policy)
    assert unknown == [("v", 2), ("v", 3)]
    assert [fault.field for fault in policy.faults] == ["object 2", "object 3"]
