"""Where windows lie, which part of each answer counts, and how answers are put together."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from segplugins.data.augmentations import LetterBox
from segplugins.prediction import NOTHING, Result
from segplugins.prediction.questions import ask_classes, ask_phrases
from segplugins.prediction.windows import join_windows, place_windows, window_size
from segplugins.structures import Vocabulary
from segplugins.structures.regions import Task

WORDS = Vocabulary("test_windows", ("low", "high"), is_thing=(False, True))


def spans(slices):
    return [(each.start, each.stop) for each in slices]


def test_windows_overlap_by_a_quarter_and_borders_are_between_their_middles():
    windows = place_windows((10, 250), (40, 100))
    # Steps of 75 need 1 + 150 / 75 = 3 windows; borders: (0 + 100 + 75) // 2 and 75 more.
    assert spans(window.columns for window in windows) == [(0, 100), (75, 175), (150, 250)]
    assert spans(window.own_columns for window in windows) == [(0, 87), (87, 162), (162, 250)]
    assert spans(window.rows for window in windows) == [(0, 10)] * 3  # as high as the picture
    assert spans(window.own_rows for window in windows) == [(0, 10)] * 3


@pytest.mark.parametrize(
    "length, window, starts",
    [
        (100, 100, [0]),
        (101, 100, [0, 1]),  # one pixel too many is a second window
        (175, 100, [0, 75]),
        (176, 100, [0, 38, 76]),  # one step more is a third, and all move closer
        (3, 1, [0, 1, 2]),
    ],
)
def test_as_few_windows_as_the_overlap_allows_are_spread_evenly(length, window, starts):
    down = place_windows((length, 5), (window, 5))
    assert [each.rows.start for each in down] == starts
    assert all(each.rows.stop - each.rows.start == min(window, length) for each in down)
    across = place_windows((5, length), (5, window))
    assert [each.columns.start for each in across] == starts


@settings(max_examples=30, deadline=None)
@given(*(st.integers(1, 60) for _ in range(4)))
def test_parts_that_count_cover_the_picture_once_and_lie_in_their_windows(h, w, rows, columns):
    times = np.zeros((h, w), int)
    for seen_rows, seen_columns, own_rows, own_columns in place_windows((h, w), (rows, columns)):
        times[own_rows, own_columns] += 1
        for seen, own, length in ((seen_rows, own_rows, h), (seen_columns, own_columns, w)):
            assert 0 <= seen.start <= own.start < own.stop <= seen.stop <= length
    assert (times == 1).all()


def test_a_window_is_what_the_model_sees_of_the_whole_picture_and_never_larger_than_it():
    image = np.zeros((100, 300, 3), np.uint8)
    smaller = T.AugmentationList([T.ResizeShortestEdge([50, 50], 1000)])
    assert window_size(image, smaller) == (50, 150)
    larger = T.AugmentationList([T.ResizeShortestEdge([200, 200], 1000)])
    assert window_size(image, larger) == (100, 300)
    flat = window_size(np.zeros((2, 400, 3), np.uint8), T.AugmentationList([T.Resize((1, 1))]))
    assert flat == (1, 1) and [type(side) for side in flat] == [int, int]
    # 300 pixels become 60, so 100 become 20; the borders above and below are no part of it.
    padded = T.AugmentationList([LetterBox(60, [0.0, 0.0, 0.0])])
    assert window_size(image, padded) == (20, 60)


def test_each_window_answers_for_its_own_part_at_its_own_place():
    image = np.zeros((4, 250, 3), np.uint8)
    image[..., 0] = np.arange(250)
    seen = []

    def answer(part):
        seen.append((part.shape, int(part[0, 0, 0]), part.flags["C_CONTIGUOUS"]))
        labels = part[..., 0] % 3  # 2 is none of the names
        return Result.from_label_map(labels, WORDS.classes)

    windows = place_windows((4, 250), (4, 100))
    more = {"name": "long", "image": image}
    result = join_windows(image, windows, answer, ask_classes(WORDS, "part"), more)
    assert seen == [((4, 100, 3), start, True) for start in (0, 75, 150)]
    expected = np.where(np.arange(250) % 3 == 2, NOTHING, np.arange(250) % 3)
    np.testing.assert_array_equal(result.label_map, expected[None].repeat(4, 0))
    assert (result.task, result.name, result.is_thing) == (Task.PART, "long", (False, True))
    assert result.image is image and result.scores is None


def test_masks_of_phrases_keep_their_order_and_may_overlap():
    image = np.zeros((250, 4, 3), np.uint8)
    image[..., 0] = np.arange(250)[:, None]

    def answer(part):
        masks = np.stack([part[..., 0] < 120, part[..., 0] >= 90])
        return Result.from_masks(masks, [0, 1], ["early", "late"], task=Task.REFERRING)

    windows = place_windows((250, 4), (100, 4))
    result = join_windows(image, windows, answer, ask_phrases(["early", "late"]), {})
    assert result.task is Task.REFERRING and result.names == ("early", "late")
    assert result.areas.tolist() == [120 * 4, 160 * 4]
    assert result.boxes.tolist() == [[0, 0, 4, 120], [0, 90, 4, 250]]


@pytest.mark.parametrize("task", ["instance", "panoptic"])
def test_objects_are_not_cut_by_windows(task):
    with pytest.raises(ValueError, match=f"so task '{task}' cannot be answered .*leave windows"):
        join_windows(np.zeros((2, 2, 3), np.uint8), [], None, ask_classes(WORDS, task), {})
