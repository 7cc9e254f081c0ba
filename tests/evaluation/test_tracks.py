"""Frames of videos: their order, frames that stand twice, and what hangs on both."""

import numpy as np
import pytest
import torch

from segplugins.evaluation.tracks import Tracks, frame_names, frame_order
from segplugins.evaluation.video import VideoEvaluator
from segplugins.structures.regions import Region, encode_mask


def record(frame, video="v", expression="0"):
    return {
        "file_name": f"{video}/{frame}.jpg",
        "video_id": video,
        "expression_id": expression,
        "frame": frame,
    }


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10"],
        ["00009", "10", "00011"],
        ["frame9", "frame10", "frame010b"],
        ["a2", "a10", "b1"],
        ["clip1_9", "clip1_10", "clip2_1"],
        ["9" * 30, "1" + "0" * 30],
    ],
)
def test_numbers_in_names_of_frames_count_by_their_value(names):
    for order in (names, names[::-1]):
        assert sorted(order, key=frame_order) == names


def test_names_of_numbers_and_names_of_words_can_be_ordered():
    assert sorted(["b", "2", "a", "1"], key=frame_order) == ["a", "b", "1", "2"]


def test_names_of_a_record_are_text():
    assert frame_names(record(7, video=3, expression=1)) == ("3", "1", "7")


def test_tracks_hold_the_frames_of_a_video_and_an_expression_in_the_order_of_time():
    records = [record("10"), record("9"), record("9", expression="1"), record("2", video="w")]
    tracks = Tracks([*records, record("1")])
    assert tracks.rows(["ten", "nine", "other", "far", "one"]) == {
        ("v", "0"): ["one", "nine", "ten"],
        ("v", "1"): ["other"],
        ("w", "0"): ["far"],
    }
    parts = tracks.rows(np.arange(10).reshape(5, 2))
    assert parts["v", "0"].tolist() == [[8, 9], [2, 3], [0, 1]]


@pytest.mark.parametrize("frames", [("9", "009"), ("f1", "f01"), ("3", 3)])
def test_two_names_of_one_frame_are_refused(frames):
    with pytest.raises(ValueError, match="are the same frame; name the frames of a video by"):
        Tracks([record(frames[0]), record("1000"), record(frames[1])])


def test_one_frame_may_stand_under_two_videos_and_two_expressions():
    records = [record("9"), record("09", video="w"), record("009", expression="1")]
    assert len(Tracks(records).rows([0, 1, 2])) == 3


def frames_that_get_worse(order):
    """Records of eight frames whose first half is found, and the answers, in some order."""
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:6] = True
    region = Region("it", mask=encode_mask(mask))
    records, answers = [], []
    for frame in order:
        own = {**record(str(frame + 5)), "height": 6, "width": 8, "texts": ["it"]}
        records.append({**own, "regions": [region]})
        answers.append({"phrase_masks": torch.from_numpy(mask & (frame < 4))[None]})
    return records, answers


@pytest.mark.parametrize("order", [range(8), range(7, -1, -1), [3, 7, 0, 4, 6, 1, 5, 2]])
def test_decay_follows_the_numbers_of_frames_not_the_order_of_the_catalog(catalog, order):
    # Frames 5 to 12: as text "10" would stand before "5", and the decay be another one.
    records, answers = frames_that_get_worse(order)
    evaluator = VideoEvaluator(catalog(records))
    evaluator.process(records, answers)
    scores = evaluator.evaluate()["video"]
    # The first of four parts is all right, the last all wrong.
    assert (scores["J"], scores["J_recall"], scores["J_decay"]) == (50, 50, 100)


def test_the_evaluator_refuses_a_frame_that_stands_twice(catalog):
    records, _ = frames_that_get_worse(range(2))
    doubled = {**records[0], "frame": "0005"}
    with pytest.raises(ValueError, match="v/5.jpg .*frame 0005.* are the same frame"):
        VideoEvaluator(catalog([*records, doubled]))
    with pytest.raises(ValueError, match="two records"):
        VideoEvaluator(catalog([*records, records[0]]))
