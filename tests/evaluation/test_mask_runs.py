"""Masks to COCO RLE, against pycocotools and by hand."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from segplugins.evaluation import mask_runs
from segplugins.evaluation.mask_runs import changes_of_mask, changes_of_stack, encode_masks


def theirs(masks):
    return coco_mask.encode(np.asfortranarray(masks.numpy().astype(np.uint8).transpose(1, 2, 0)))


@pytest.mark.parametrize("share", [0, 0.03, 0.3, 0.8, 1])
def test_random_masks_equal_pycocotools(share):
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        height, width = torch.randint(1, 12, (2,), generator=generator).tolist()
        masks = torch.rand(3, height, width, generator=generator) < share
        assert encode_masks(masks) == theirs(masks)
        host = [changes_of_mask(mask) for mask in masks.numpy().view(np.uint8)]
        for one, other in zip(host, changes_of_stack(masks)):
            assert np.array_equal(one, other)


def test_long_runs_take_more_characters():
    # Runs of 1 to 40,000 pixels: one to four characters, differences of either sign.
    masks = torch.zeros(2, 1, 200_000, dtype=torch.bool)
    for start, length in ((5, 1), (20, 15), (50, 16), (100, 511), (1000, 512), (9000, 40_000)):
        masks[0, 0, start : start + length] = True
    masks[1, 0, 150_000:] = True
    assert encode_masks(masks) == theirs(masks)


def test_a_change_stands_where_the_column_changes():
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 1] = 1  # places 4 and 5; the column ends with 5
    mask[0, 2] = 1  # place 6 goes on
    assert changes_of_mask(mask).tolist() == [4, 7]


def test_no_masks_and_masks_of_no_pixel():
    assert encode_masks(torch.zeros(0, 4, 5, dtype=torch.bool)) == []
    (empty,) = encode_masks(torch.zeros(1, 4, 5, dtype=torch.bool))
    assert coco_mask.area(empty) == 0


def test_a_view_of_a_larger_tensor_is_encoded_as_it_is():
    masks = (torch.rand(4, 20, 30) < 0.4)[::2, 3:15, ::3]
    assert encode_masks(masks) == theirs(masks)


def test_few_changes_at_once_give_the_same(monkeypatch):
    masks = torch.rand(7, 9, 8) < 0.5
    expected = encode_masks(masks)
    monkeypatch.setattr(mask_runs, "_CHANGES", 5)
    assert encode_masks(masks) == expected


@pytest.mark.gpu
def test_masks_on_a_gpu_are_encoded_there(monkeypatch):
    masks = torch.rand(7, 30, 40) < 0.3
    monkeypatch.setattr(mask_runs, "_PIXELS", 2500)
    assert encode_masks(masks.cuda()) == encode_masks(masks)
