import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances
from pycocotools import mask as coco_mask

from segplugins.structures.regions import (
    Region,
    Task,
    box_of_mask,
    box_outline,
    check_box,
    decode_mask,
    encode_mask,
    rle_counts,
    validate_record,
)


def random_mask(generator):
    height, width = generator.integers(1, 40, 2)
    return generator.random((height, width)) < generator.random()


def test_a_task_is_its_word():
    assert Task("part") is Task.PART and Task.PART == "part"


def test_a_region_without_box_and_mask_has_no_target():
    assert not Region("nothing").has_target
    assert Region("box", box=(0, 0, 1, 1)).has_target


def test_masks_survive_encoding_and_decoding():
    generator = np.random.default_rng(0)
    for _ in range(200):
        mask = random_mask(generator)
        rle = encode_mask(mask)
        assert (decode_mask(rle, *mask.shape) == mask).all()
        as_list = {"size": rle["size"], "counts": rle_counts(rle).tolist()}
        assert (decode_mask(as_list, *mask.shape) == mask).all()


def test_runs_of_any_length_are_read_from_the_text_form():
    # Runs of 1, 31, 32, 1000 and 100000 pixels take one to four characters, and the differences
    # to the run two places before have both signs.
    mask = np.zeros(400_000, bool)
    position = 0
    for run in (1, 31, 1000, 32, 100_000, 1, 5, 90_000, 3):
        mask[position : position + run] = True
        position += 2 * run
    rle = encode_mask(mask.reshape(400, 1000))
    assert (decode_mask(rle, 400, 1000).ravel() == mask).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_polygons_are_drawn_as_pycocotools_draws_them():
    polygons = [[1, 1, 7.5, 1, 7.5, 5, 1, 5], [8, 8, 9, 8, 9, 9.5]]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 12, 10)))
    assert (decode_mask(polygons, 12, 10) == expected.astype(bool)).all()


def test_a_region_gives_its_pixels():
    region = Region("box", mask=[[0, 0, 2, 0, 2, 2, 0, 2]])
    assert region.bitmap(3, 3).tolist() == [[True, True, False]] * 2 + [[False] * 3]
    with pytest.raises(ValueError, match="region 'box' has no mask"):
        Region("box", box=(0, 0, 1, 1)).bitmap(3, 3)


@pytest.mark.parametrize(
    "mask, message",
    [
        ({"size": [2, 3], "counts": [1, 2]}, "add up to 3 pixels, expected 2.3"),
        ({"size": [2, 3], "counts": [10]}, "a run of 10 pixels, the image has 2.3"),
        ({"size": [2, 3], "counts": [5, 2]}, "add up to 7"),
        ({"size": [2, 3], "counts": [[3, 3]]}, "one list of whole numbers"),
        ({"size": [2, 3], "counts": [[3], [1, 2]]}, "one list"),
        # 16 times 2^60 is 2^64, which 64 bits hold as 0: 6 in sum, and a huge array to build.
        ({"size": [2, 3], "counts": [6, *[2**60] * 16]}, "a run of 1152921504606846976 pixels"),
        ({"size": 6, "counts": [6]}, "size 6, expected"),
        ({"size": [2, 3], "counts": [7, -1]}, "negative run length -1"),
        ({"size": [2, 3], "counts": [1.5, 4.5]}, "whole numbers"),
        ({"size": [2, 3], "counts": "01P"}, "damaged"),
        ({"size": [2, 3], "counts": "~~"}, "damaged"),
        ({"size": [2, 3], "counts": "o" * 20 + "0"}, "more than 40 bits"),
        ({"size": [2, 3], "counts": "é"}, "damaged|a run of"),
        ({"size": [2, 3], "counts": None}, "a list or text, got NoneType"),
        ({"size": [3, 2], "counts": [6]}, r"size \[3, 2\], expected \[2, 3\]"),
        ({"counts": [6]}, "size None"),
        ([], "an RLE or a list of polygons"),
        ("polygon", "an RLE or a list of polygons"),
        ([[0, 0, 1, 1]], "3 or more .x, y. pairs, got 4 values"),
        ([[0, 0, 1, 1, 2, 2, 3]], "got 7 values"),
        ([[0, 0, 1, float("nan"), 2, 2]], "not finite"),
        ([[0, 0, 1, float("inf"), 2, 2]], "not finite"),
        ([[0, 0, 1e9, 1, 2, 2]], "too far.*at most 24"),
        ([[0, 0, 10**400, 1, 2, 2]], "list of numbers"),
        ([[[0, 0], [1, 1], [1, 0], [0, 1], [1, 1], [0, 0]]], "one list of numbers"),
        ([[0, 0, 24, 24] * 300_000], "run through 14400000 pixels, expected at most 5000000"),
        ([[0, 0, "x", 1, 2, 2]], "list of numbers"),
        ([5], "list of numbers"),
    ],
)
def test_a_hostile_mask_is_an_error_and_nothing_worse(mask, message):
    with pytest.raises(ValueError, match=message):
        decode_mask(mask, 2, 3)


def test_mutated_run_lengths_never_decode_to_something_else():
    # Whatever a byte is changed to: an error, or runs that add up to the whole image.
    generator = np.random.default_rng(1)
    for _ in range(300):
        mask = random_mask(generator)
        rle = encode_mask(mask)
        text = bytearray(rle["counts"].encode())
        text[generator.integers(len(text))] = generator.integers(32, 127)
        try:
            got = decode_mask({**rle, "counts": bytes(text)}, *mask.shape)
        except ValueError:
            continue
        assert got.shape == mask.shape and got.dtype == bool


def test_the_box_of_a_mask_is_tight():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:6] = True
    assert box_of_mask(mask) == (2, 1, 6, 3)
    assert box_of_mask(mask & False) is None


@pytest.mark.parametrize(
    "box, message",
    [
        ((0, 0, 1), "four finite"),
        ((0, 0, 1, float("nan")), "four finite"),
        ((0, 0, "1", 1), "four finite"),
        ((0, 0, 10**400, 1), "four finite"),
        ((0, 0, 1e20, 1), "up to 16777216"),
        (5, "four finite"),
        ((2, 0, 1, 1), "x1 > x0"),
        ((0, 0, 1, 0), "y1 > y0"),
    ],
)
def test_a_box_without_area_or_number_is_refused(box, message):
    with pytest.raises(ValueError, match=message):
        check_box(box)


def good_record(**changes):
    instances = Instances((2, 3))
    instances.gt_classes = torch.tensor([0])
    instances.gt_boxes = Boxes(torch.tensor([[0.0, 0, 1, 1]]))
    instances.gt_masks = BitMasks(torch.zeros(1, 2, 3, dtype=torch.bool))
    record = {
        "file_name": "a.jpg",
        "image": torch.zeros(3, 2, 3, dtype=torch.uint8),
        "height": 4,
        "width": 6,
        "task": Task.REFERRING,
        "vocabulary": None,
        "texts": ["a cat"],
        "instances": instances,
        "sem_seg": torch.zeros(2, 3, dtype=torch.int64),
    }
    return {key: value for key, value in {**record, **changes}.items() if value is not ...}


def test_a_good_record_passes():
    validate_record(good_record(), training=True)
    validate_record(good_record(vocabulary="pets", texts=..., instances=..., sem_seg=...))


WRONG_CLASS = Instances((2, 3), gt_classes=torch.tensor([1]), gt_boxes=Boxes(torch.zeros(1, 4)))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image": ...}, r"keys \['image'\] are missing"),
        ({"image": torch.zeros(3, 2, 3)}, "uint8 tensor"),
        ({"image": torch.zeros(1, 2, 3, dtype=torch.uint8)}, "1 channels, expected 3"),
        ({"task": "referring of some kind"}, "expected one of"),
        ({"height": 4.0}, "height is 4.0"),
        ({"texts": ...}, "neither a vocabulary nor texts"),
        ({"instances": ..., "sem_seg": ...}, "neither instances nor sem_seg"),
        ({"sem_seg": torch.zeros(2, 3)}, "sem_seg is .* expected .2, 3. int64"),
        ({"instances": Instances((2, 3))}, "instances lack"),
        ({"instances": Instances((3, 2))}, "instances are of a"),
        ({"instances": WRONG_CLASS}, "gt_classes reaches 1, but there are 1 texts"),
        ({"ignore_negative": torch.zeros(2, dtype=torch.bool)}, "has 2 entries for 1 texts"),
    ],
)
def test_a_record_that_no_model_could_read_is_refused_by_file_and_key(changes, message):
    with pytest.raises(ValueError, match=f"record of a.jpg: .*{message}"):
        validate_record(good_record(**changes), training=True)


def test_the_outline_of_a_box_lies_inside_of_it():
    drawn = box_outline((1, 0, 6, 5), 5, 8, line=1).astype(int)
    assert drawn.tolist() == [
        [0, 1, 1, 1, 1, 1, 0, 0],
        [0, 1, 0, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0, 1, 0, 0],
        [0, 1, 1, 1, 1, 1, 0, 0],
    ]
    assert box_outline((1, 0, 6, 5), 5, 8, line=3).sum() == 25  # all of a small box
    assert not box_outline((9, 9, 20, 20), 5, 8).any()
