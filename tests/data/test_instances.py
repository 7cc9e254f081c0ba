import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, HFlipTransform

from segplugins.data.augmentations import PadToSquare
from segplugins.data.instances import _layers, instances_of_map, instances_of_regions
from segplugins.structures.regions import Region, encode_mask

SQUARE = [[1.0, 1, 5, 1, 5, 5, 1, 5]]  # 4 x 4 pixels


def move(regions, transforms, before=(6, 8), after=(6, 8), classes=None):
    classes = range(len(regions)) if classes is None else classes
    return instances_of_regions(
        regions, classes, T.TransformList(transforms), before=before, after=after
    )


def bitmap(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def test_polygons_are_drawn_at_the_new_size():
    instances = move([Region("a", mask=SQUARE)], [T.ResizeTransform(6, 8, 12, 16)], after=(12, 16))
    assert instances.gt_boxes.tensor.tolist() == [[2, 2, 10, 10]]
    assert instances.gt_masks.tensor.sum() == 64


def test_masks_and_polygons_move_alike():
    mask = np.zeros((6, 8), bool)
    mask[1:5, 1:5] = True
    regions = [Region("a", mask=SQUARE), Region("b", mask=encode_mask(mask))]
    instances = move(regions, [HFlipTransform(8), T.ResizeTransform(6, 8, 12, 16)], after=(12, 16))
    first, second = instances.gt_masks.tensor
    assert (first == second).all()
    assert instances.gt_boxes.tensor[0].tolist() == [6, 2, 14, 10]


def test_boxes_are_recomputed_from_what_a_crop_leaves_of_a_mask():
    # An L: the crop cuts off its foot, and the box must shrink to the stem.
    mask = bitmap("#.......", "#.......", "#.......", "########", "........", "........")
    region = Region("l", box=(0, 0, 8, 4), mask=encode_mask(mask))
    instances = move([region], [CropTransform(0, 0, 4, 3)], after=(3, 4))
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 1, 3]]


def test_what_a_crop_leaves_out_is_no_target():
    regions = [Region("in", mask=SQUARE), Region("out", mask=[[6, 0, 8, 0, 8, 1, 6, 1]])]
    instances = move(regions, [CropTransform(0, 2, 4, 4)], after=(4, 4))
    assert instances.gt_classes.tolist() == [0]


def test_overlapping_masks_keep_all_their_pixels():
    left, whole, right = np.zeros((3, 2, 4), bool)
    left[:, :2], whole[:], right[:, 2:] = True, True, True
    regions = [Region("x", mask=encode_mask(m)) for m in (left, whole, right)]
    instances = move(regions, [PadToSquare(5).get_transform(left)], before=(2, 4), after=(5, 5))
    assert instances.gt_masks.tensor.sum(dim=(1, 2)).tolist() == [4, 8, 4]
    assert instances.gt_masks.tensor[:, :2, :4].numpy().tolist() == [
        left.tolist(),
        whole.tolist(),
        right.tolist(),
    ]


def test_three_hundred_masks_are_three_hundred_targets():
    # More than 8 bits can number: each masks one pixel of a row.
    masks = np.eye(300, dtype=bool)[:, None]
    regions = [Region("x", mask=encode_mask(m)) for m in masks]
    instances = move(regions, [HFlipTransform(300)], before=(1, 300), after=(1, 300))
    assert (instances.gt_masks.tensor[:, 0].numpy() == masks[:, 0, ::-1]).all()


def test_boxes_alone_move_by_their_corners_and_end_at_the_border():
    regions = [Region("a", box=(1, 1, 5, 5)), Region("gone", box=(6, 0, 8, 1))]
    instances = move(regions, [CropTransform(0, 2, 4, 4)], after=(4, 4), classes=[7, 8])
    assert instances.gt_boxes.tensor.tolist() == [[1, 0, 4, 3]]
    assert instances.gt_classes.tolist() == [7]
    assert not instances.has("gt_masks")


def test_no_region_gives_empty_targets_of_full_form():
    instances = move([], [])
    assert len(instances) == 0 and instances.gt_masks.tensor.shape == (0, 6, 8)
    assert instances.gt_boxes.tensor.shape == (0, 4)


def test_boxes_and_masks_in_one_image_are_an_error():
    with pytest.raises(ValueError, match="1 of 2 regions have a box and no mask"):
        move([Region("a", mask=SQUARE), Region("b", box=(0, 0, 1, 1))], [])


@pytest.mark.parametrize(
    "mask, message",
    [
        ([[0, 0, float("nan"), 1, 1, 1]], "region 'a': .*not finite"),
        ({"size": [6, 8], "counts": [3]}, "region 'a': RLE runs add up to 3"),
    ],
)
def test_a_hostile_mask_is_an_error_with_its_text(mask, message):
    with pytest.raises(ValueError, match=message):
        move([Region("a", mask=mask)], [])


def test_segments_of_a_map_become_instances_without_crowds():
    ids = np.array([[0, 0, 1], [2, -1, 1]])
    segments = [
        {"category_id": 5},
        {"category_id": 4, "iscrowd": 1},
        {"category_id": 5},
    ]
    instances = instances_of_map(ids, segments)
    assert instances.gt_classes.tolist() == [5, 5]
    assert instances.gt_masks.tensor.sum(dim=(1, 2)).tolist() == [2, 1]


def test_a_small_crop_of_a_large_image_keeps_polygons_that_reach_far_outside_of_it():
    # The right end of the strip is 1990 pixels, 199 sides, away from the crop's corner.
    strip = Region("strip", mask=[[0.0, 0, 2000, 0, 2000, 4, 0, 4]])
    instances = move([strip], [CropTransform(10, 0, 10, 10)], before=(100, 2000), after=(10, 10))
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 10, 4]]


def test_classes_of_a_map_become_instances_in_ascending_order():
    ids = np.array([[9, 9, -1, 0], [9, -1, -1, 300]])
    instances = instances_of_map(ids, None)
    assert instances.gt_classes.tolist() == [0, 9, 300]
    assert instances.gt_classes.dtype == torch.int64
    assert instances.image_size == (2, 4)
    assert instances.gt_boxes.tensor.tolist() == [[3, 0, 4, 1], [0, 0, 2, 2], [3, 1, 4, 2]]
    for k, mask in zip((0, 9, 300), instances.gt_masks.tensor.numpy()):
        assert mask.tolist() == (ids == k).tolist()


@pytest.mark.parametrize("highest", [253, 254, 255, 256, 65534, 65535])
def test_the_number_of_ids_at_the_end_of_a_type_is_still_told_from_nothing(highest):
    # Ids are compared as id + 1 in as few bits as will do: 256 and 65536 must not become 0.
    ids = np.array([[-1, highest, 0]])
    instances = instances_of_map(ids, None)
    assert instances.gt_classes.tolist() == [0, highest]
    assert instances.gt_masks.tensor[:, 0].tolist() == [[False, False, True], [False, True, False]]


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (2, 0)])
def test_a_map_of_nothing_gives_no_instance_of_its_size(shape):
    for segments in (None, []):
        instances = instances_of_map(np.full(shape, -1), segments)
        assert len(instances) == 0 and instances.gt_masks.tensor.shape == (0, *shape)
        assert instances.gt_boxes.tensor.shape == (0, 4)


def test_segments_that_the_map_does_not_show_are_no_instances():
    segments = [{"category_id": 4}, {"category_id": 5, "iscrowd": 0}, {"category_id": 6}]
    instances = instances_of_map(np.array([[1, 1, -1]]), segments)
    assert instances.gt_classes.tolist() == [5]
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 2, 1]]


def test_what_a_crop_leaves_out_takes_its_own_class_and_box_with_it():
    square = Region("in", mask=SQUARE)
    out = Region("out", mask=[[6, 0, 8, 0, 8, 1, 6, 1]])
    instances = move([out, square, out, square], [CropTransform(0, 2, 4, 4)], after=(4, 4),
                     classes=[9, 8, 7, 6])  # fmt: skip
    assert instances.gt_classes.tolist() == [8, 6]
    assert instances.gt_boxes.tensor.tolist() == [[1, 0, 4, 3]] * 2
    assert len(instances.gt_masks) == 2


@pytest.mark.parametrize("box", [(0, 0, 2, 6), (5, 0, 8, 2)])
def test_a_box_that_only_touches_the_crop_is_out(box):
    # The crop shows columns 2 to 5 and rows 2 to 5: the first ends where it begins, left; the
    # second above it.
    instances = move([Region("a", box=box)], [CropTransform(2, 2, 4, 4)], after=(4, 4))
    assert len(instances) == 0 and instances.gt_boxes.tensor.shape == (0, 4)


def test_a_mirror_keeps_the_corners_of_a_box_in_order():
    instances = move([Region("a", box=(1, 2, 3, 5))], [HFlipTransform(8)])
    assert instances.gt_boxes.tensor.tolist() == [[5, 2, 7, 5]]


def test_polygons_and_run_lengths_keep_the_order_of_their_regions():
    rows = np.zeros((3, 6, 8), bool)
    for row, mask in enumerate(rows):
        mask[2 * row] = True
    top, middle, bottom = (encode_mask(mask) for mask in rows)
    two_parts = [[0, 0, 1, 0, 1, 6, 0, 6], [7, 0, 8, 0, 8, 6, 7, 6]]
    given = [bottom, two_parts, top, SQUARE, middle]
    instances = move([Region(str(n), mask=mask) for n, mask in enumerate(given)], [])
    assert instances.gt_boxes.tensor.tolist() == [
        [0, 4, 8, 5],
        [0, 0, 8, 6],
        [0, 0, 8, 1],
        [1, 1, 5, 5],
        [0, 2, 8, 3],
    ]
    assert instances.gt_masks.tensor.sum(dim=(1, 2)).tolist() == [8, 12, 8, 16, 8]


def test_masks_share_a_layer_only_where_none_of_their_pixels_do():
    def pixels(*columns):
        mask = np.zeros((1, 6), bool)
        mask[0, list(columns)] = True
        return mask

    layers = _layers([pixels(0, 1), pixels(1, 2), pixels(3), pixels(2, 4), pixels(5)])
    assert [members for _, members in layers] == [[0, 2, 3, 4], [1]]
    assert layers[0][0].tolist() == [[0, 0, 2, 1, 2, 3]]
    assert layers[1][0].tolist() == [[255, 0, 0, 255, 255, 255]]
    assert layers[0][0].flags.c_contiguous


def test_a_layer_holds_255_masks_since_255_means_nothing():
    masks = np.eye(256, dtype=bool)[:, None]
    assert [len(members) for _, members in _layers(list(masks))] == [255, 1]
    assert _layers([]) == []
