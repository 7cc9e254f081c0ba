import json
from functools import partial

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from segplugins.data import SegMapper, load_dataset, register_videos
from segplugins.data.catalog import PARTIAL_VARIABLE
from segplugins.data.read_video import (
    DAVIS_RUNS,
    davis_records,
    youtube_evaluation_records,
    youtube_training_records,
)
from segplugins.files.faults import Collect, FaultError


def expressions(split, videos, with_objects):
    content = {}
    for video in videos:
        said = {"0": {"exp": "a cat on the left"}, "1": {"exp": "the cat"}, "2": {"exp": "a dog"}}
        if with_objects:
            for number, of in zip(said, ("1", "1", "2")):
                said[number]["obj_id"] = of
        content[video] = {"expressions": said, "frames": ["00000", "00005"]}
    return {"videos": content}


def write_youtube(root, save, split="train", videos=("v1",), with_objects=True):
    said = root / "meta_expressions" / split / "meta_expressions.json"
    said.parent.mkdir(parents=True, exist_ok=True)
    said.write_text(json.dumps(expressions(split, videos, with_objects)))
    objects = {"1": {"category": "cat", "frames": ["00000", "00005"]}}
    objects["2"] = {"category": "dog", "frames": ["00005"]}
    for video in videos:
        for frame in ("00000", "00005"):
            save(
                root / split / "JPEGImages" / video / f"{frame}.jpg", np.zeros((2, 4, 3), np.uint8)
            )
            numbers = np.array([[1, 1, 0, 0], [1, 0, 0, 2 if frame == "00005" else 0]], np.uint8)
            save(root / split / "Annotations" / video / f"{frame}.png", numbers)
    meta = {"videos": {video: {"objects": objects} for video in videos}}
    (root / split / "meta.json").write_text(json.dumps(meta))


def test_training_frames_show_one_object_with_its_sentences(root, save):
    write_youtube(root, save)
    register_videos("test_video", youtube_training_records, root="", expected=1)
    records = load_dataset("test_video")
    # The dog is in the second frame alone.
    found = [(r["object_id"], r["frame"], r["sentences"]) for r in records]
    cat = ["a cat on the left", "the cat"]
    assert found == [(1, "00000", cat), (1, "00005", cat), (2, "00005", ["a dog"])]
    record = SegMapper(True, augmentations=[])(records[2])
    assert record["texts"] == ["a dog"]
    assert record["instances"].gt_masks.tensor.sum().item() == 1
    assert record["instances"].gt_classes.tolist() == [0]


def test_evaluation_frames_ask_one_expression(root, save):
    write_youtube(root, save, split="valid", videos=("v1", "v2"))
    write_youtube(root, save, split="test", videos=("v2",), with_objects=False)
    records = youtube_evaluation_records(root, "valid")
    assert {record["video_id"] for record in records} == {"v1"}  # v2 is a video of the test set
    assert len(records) == 3 * 2
    assert records[5]["texts"] == ["a dog"] and records[5]["expression_id"] == "2"
    assert records[5]["object_id"] == 2
    assert "mask_file_name" not in youtube_evaluation_records(root, "test")[0]


def test_the_mapper_gives_an_evaluation_frame_its_text(root, save):
    write_youtube(root, save, split="valid")
    register_videos("test_video", partial(youtube_evaluation_records, split="valid"), root="")
    record = SegMapper(False, augmentations=[])(load_dataset("test_video")[0])
    assert record["texts"] == ["a cat on the left"] and record["vocabulary"] is None
    assert (record["video_id"], record["frame"]) == ("v1", "00000")
    assert (record["height"], record["width"]) == (2, 4)


def write_davis(root, save, lines):
    listing = root / "ImageSets/2017/val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("bear\n")
    for frame in ("00000", "00001"):
        save(root / "JPEGImages/480p/bear" / f"{frame}.jpg", np.zeros((2, 2, 3), np.uint8))
    (root / "davis_text_annotations").mkdir()
    for run in DAVIS_RUNS:
        path = root / "davis_text_annotations" / f"Davis17_{run}.txt"
        path.write_bytes("\n".join(lines).encode("latin-1"))


def test_the_registered_video_sets_are_found_below_the_root(root, save, monkeypatch):
    monkeypatch.setenv(PARTIAL_VARIABLE, "1")
    write_youtube(root / "ref-youtube-vos", save, split="train")
    write_youtube(root / "ref-youtube-vos", save, split="valid", videos=("v1", "v2"))
    write_youtube(root / "ref-youtube-vos", save, split="test", videos=("v2",), with_objects=False)
    write_davis(root / "ref-davis17", save, ['bear 1 "a brown bear"'])
    counts = {"ref_youtube_vos_train": 3, "ref_youtube_vos_valid": 6, "ref_youtube_vos_test": 6}
    for name, count in {**counts, "ref_davis17_val": 4 * 2}.items():
        records = load_dataset(name)
        assert len(records) == count, name
        assert all(record["file_name"].startswith(str(root)) for record in records)
    kinds = [MetadataCatalog.get(n).evaluator_type for n in ("ref_youtube_vos_valid", name)]
    assert kinds == ["video", "ref_davis"]


def test_davis_asks_for_all_objects_of_a_frame_in_each_run(root, save):
    write_davis(root, save, ['bear 2 "a caf\xe9"', 'bear 1 "a brown bear"', 'lion 1 "a lion"', ""])
    records = davis_records(root)
    assert len(records) == 4 * 2
    assert records[0]["texts"] == ["a brown bear", "a caf\ufffd"]
    assert [r["expression_id"] for r in records[::2]] == list(DAVIS_RUNS)
    assert records[1]["label_file_name"].endswith("Annotations_unsupervised/480p/bear/00001.png")


@pytest.mark.parametrize(
    "lines, message",
    [
        (["bear one phrase"], "line 1: expected video, object, phrase"),
        (['bear 2 "a"'], r"objects \[2\] of video 'bear'"),
        ([], r"objects \[\] of video 'bear'"),
        (['bear 1 ""'], "line 1"),
    ],
)
def test_davis_lines_that_do_not_fit_are_an_error(root, save, lines, message):
    write_davis(root, save, lines)
    with pytest.raises(ValueError, match=message):
        davis_records(root)


def test_videos_of_a_list_that_are_not_there_are_named(root, save):
    lines = ['bear 1 "a brown bear"', 'lion 1 "a lion"', 'wolf 1 "a wolf"']
    write_davis(root, save, lines)
    listed = root / "ImageSets" / "2017" / "val.txt"
    listed.write_text(listed.read_text() + "\nwolf\n../480p/bear\n")
    with pytest.raises(FileNotFoundError, match="no .jpg of video 'wolf'"):
        davis_records(root)
    policy = Collect()
    assert len(davis_records(root, policy=policy)) == 4 * 2
    assert [fault.kind for fault in policy.faults] == ["missing", "path"]


def test_a_byte_order_mark_is_no_part_of_a_video_name(root, save):
    write_davis(root, save, [])
    for run in DAVIS_RUNS:
        path = root / "davis_text_annotations" / f"Davis17_{run}.txt"
        path.write_text('\ufeffbear 1 "a brown bear"\nlion 1 "a lion"\n', encoding="utf-8")
    assert davis_records(root)[0]["texts"] == ["a brown bear"]


def test_objects_of_faulty_expressions_are_left_out_and_counted(root, save):
    write_youtube(root, save)
    path = root / "meta_expressions/train/meta_expressions.json"
    content = json.loads(path.read_text())
    content["videos"]["v1"]["expressions"]["2"]["obj_id"] = "9"  # of no frame
    path.write_text(json.dumps(content))
    with pytest.raises(FaultError, match="record v1, object 9: object 9 is in no frame"):
        youtube_training_records(root)
    policy = Collect()
    records = youtube_training_records(root, policy)
    assert [record["object_id"] for record in records] == [1, 1] and len(policy.faults) == 1
