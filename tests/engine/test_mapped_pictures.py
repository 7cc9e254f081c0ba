import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances

from segplugins.engine.mapped_pictures import box_outline, draw_record, instance_masks, title_of

WHITE = 255


def record_of(size, boxes, *, masks=None, classes=None, texts=("cat", "dog")):
    """A mapped record of a white picture."""
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes or [0] * len(boxes), dtype=torch.int64)
    if masks is not None:
        instances.gt_masks = BitMasks(masks)
    image = torch.full((3, *size), WHITE, dtype=torch.uint8)
    return {"image": image, "instances": instances, "texts": list(texts), "task": "detection"}


def painted_part(picture, size):
    """The drawn overlay beside the original, without plates: pixels that are not white."""
    return (picture != WHITE).any(axis=-1)


def test_both_of_two_masks_that_overlap_are_painted_whole():
    size = (200, 300)
    masks = torch.zeros(2, *size, dtype=torch.bool)
    masks[0, 20:180, 20:280] = True
    masks[1, 60:140, 100:200] = True  # lies within the first one
    boxes = [[20, 20, 280, 180], [100, 60, 200, 140]]
    record = record_of(size, boxes, masks=masks, classes=[0, 1])
    assert [mask.sum() for mask in instance_masks(record["instances"], [0, 1])] == [
        160 * 260,
        80 * 100,
    ]
    drawn, alone = draw_record(record), draw_record(record_of(size, boxes[:1], masks=masks[:1]))
    # The second one lies on top: the picture differs from that of the first one alone.
    assert drawn.dtype == np.uint8 and drawn.shape[0] == alone.shape[0]
    height = min(drawn.shape[0], alone.shape[0])
    width = min(drawn.shape[1], alone.shape[1])
    assert (drawn[:height, :width] != alone[:height, :width]).any()


def test_a_box_without_a_mask_is_its_outline_two_pixels_wide():
    outline = box_outline((20, 30), [3, 4, 13, 12])
    assert outline.sum() == 10 * 8 - 6 * 4
    assert outline[4, 3] and outline[11, 12] and not outline[12, 12] and not outline[6, 5]
    assert not outline[7, 7]


@pytest.mark.parametrize(
    "box, pixels",
    [
        ([3, 4, 6, 7], 9),  # too small for an inside
        ([-5, -5, 3, 3], 9),  # what is seen of it, 3 x 3, has no inside
        ([5, 5, 5, 9], 0),
        ([0, 0, 30, 20], 600 - 26 * 16),
    ],
)
def test_an_outline_of_an_odd_box(box, pixels):
    assert box_outline((20, 30), box).sum() == pixels


@pytest.mark.parametrize("size", [(1, 2000), (2000, 1), (1, 1), (3, 700)])
@pytest.mark.parametrize("with_masks", [False, True])
def test_a_thin_picture_is_drawn_within_bounds(size, with_masks):
    height, width = size
    masks = torch.ones(1, *size, dtype=torch.bool) if with_masks else None
    drawn = draw_record(record_of(size, [[0, 0, width, height]], masks=masks))
    assert drawn.ndim == 3 and drawn.dtype == np.uint8
    assert 0 < drawn.size < 4096 * 4096 * 3
    assert painted_part(drawn, size).any()


def test_a_record_without_an_instance_is_drawn():
    assert draw_record(record_of((40, 60), [])).shape[2] == 3
    masks = torch.zeros(0, 40, 60, dtype=torch.bool)
    assert draw_record(record_of((40, 60), [], masks=masks)).shape[2] == 3


def test_a_label_map_is_drawn_with_the_names_of_its_texts():
    labels = torch.zeros(40, 60, dtype=torch.int64)
    labels[:, 30:] = 1
    image = torch.full((3, 40, 60), WHITE, dtype=torch.uint8)
    drawn = draw_record({"image": image, "sem_seg": labels, "texts": ["sky", "sea"]})
    assert len({tuple(colour) for colour in drawn.reshape(-1, 3)}) > 2


def test_a_record_of_texts_alone_has_a_picture_too():
    record = {"image": torch.zeros(3, 4, 6, dtype=torch.uint8), "captions": ["a", "b", "c", "d"]}
    assert draw_record(record).ndim == 3
    assert title_of({**record, "key": "shard/7"}) == "7  6 x 4  'a'  'b'  'c'"
