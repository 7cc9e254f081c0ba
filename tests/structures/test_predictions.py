"""Targets and matches of query models: shares of the canvas, order of pairs, heads."""

import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances

from segplugins.structures.predictions import Match, QueryPredictions, query_targets

CPU = torch.device("cpu")


def image(size=(10, 20), boxes=((2.0, 1.0, 6.0, 9.0),), classes=(3,), masks=None):
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    if masks is not None:
        instances.gt_masks = BitMasks(masks)
    return instances


def test_boxes_become_centres_and_sides_as_shares_of_the_canvas():
    # Canvas 40 wide and 16 high: the centre (4, 5) is 4/40 and 5/16, the sides 4/40 and 8/16.
    (target,) = query_targets([image()], (16, 40), device=CPU)
    assert target.boxes.tolist() == [[pytest.approx(v) for v in (0.1, 0.3125, 0.1, 0.5)]]
    assert target.boxes.dtype == torch.float32
    assert target.canvas == (16, 40) and target.labels.tolist() == [3]
    assert len(target) == 1


def test_the_canvas_is_the_padded_batch_and_not_the_image():
    small, same = query_targets([image((9, 6)), image((16, 40))], (16, 40), device=CPU)
    assert torch.equal(small.boxes, same.boxes)


def test_an_image_without_targets_has_an_empty_table_of_four_columns():
    (target,) = query_targets([image(boxes=(), classes=())], (16, 40), device=CPU)
    assert len(target) == 0 and target.boxes.shape == (0, 4)


def test_masks_are_there_only_if_the_image_has_them():
    masks = torch.zeros(1, 10, 20, dtype=torch.bool)
    masks[0, 1:9, 2:6] = True
    with_masks, with_boxes = query_targets([image(masks=masks), image()], (16, 40), device=CPU)
    assert torch.equal(with_masks.masks, masks) and with_boxes.masks is None


@pytest.mark.parametrize("size", [(17, 40), (16, 41)])
def test_an_image_larger_than_its_canvas_is_named(size):
    query_targets([image((16, 40))], (16, 40), device=CPU)  # exactly as large is right
    with pytest.raises(ValueError, match=r"targets of image 1 have the size .*the padded batch"):
        query_targets([image(), image(size)], (16, 40), device=CPU)


def test_texts_to_ignore_belong_to_their_image():
    first = torch.tensor([True, False])
    targets = query_targets([image()] * 3, (16, 40), device=CPU, ignore_negative=[first, None])
    assert targets[0].ignore_negative.tolist() == [True, False]
    assert targets[1].ignore_negative is None and targets[2].ignore_negative is None


def test_pairs_are_given_back_image_by_image():
    # Three images with two, no and one pair.
    match = Match(
        image=torch.tensor([0, 0, 2]),
        query=torch.tensor([7, 4, 1]),
        target=torch.tensor([1, 0, 5]),
        counts=(2, 0, 1),
    )
    assert len(match) == 3
    pairs = [(queries.tolist(), targets.tolist()) for queries, targets in match.by_image()]
    assert pairs == [([7, 4], [1, 0]), ([], []), ([1], [5])]


def test_the_last_head_comes_first_and_has_no_earlier_ones():
    first = QueryPredictions(torch.zeros(1, 2, 3))
    proposals = QueryPredictions(torch.zeros(1, 9, 1))
    last = QueryPredictions(torch.ones(1, 2, 3), earlier={"0": first, "proposals": proposals})
    assert list(last.heads) == ["", "0", "proposals"]
    assert last.heads[""].class_logits is last.class_logits and last.heads[""].earlier == {}
    assert last.heads["proposals"] is proposals
    assert list(last.earlier) == ["0", "proposals"]  # `heads` changes nothing
