"""Local alignment: shares by hand, boxes on the grid, and masks found without masks."""

import math

import pytest
import torch
from torch.nn import functional as F

from segplugins.projects.umg_clip.local_alignment import (
    allowed_texts,
    assignment_loss,
    balanced_targets,
    presence_loss,
)
from segplugins.structures.regions import Region


def bools(rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_presence_by_hand():
    # Two cells and two texts with even shares: presence 1/2 of each, ln 2 for own and for other.
    loss = presence_loss(torch.zeros(1, 2, 2), bools([[1, 0]]), bools([[1, 1]]))
    assert loss.item() == pytest.approx(2 * math.log(2), rel=1e-4)
    # Shares 0.9 and 0.1 in one cell, 0.3 and 0.7 in the other: cubic means.
    logits = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]]).log()
    presence = [((0.9**3 + 0.3**3) / 2) ** (1 / 3), ((0.1**3 + 0.7**3) / 2) ** (1 / 3)]
    expected = -math.log(presence[0]) - math.log(1 - presence[1])
    assert presence_loss(logits, bools([[1, 0]]), bools([[1, 1]])).item() == pytest.approx(
        expected, rel=1e-4
    )


def test_padding_and_images_without_names_say_nothing():
    logits = torch.randn(1, 3, 2)
    own = bools([[1, 0]])
    padded = torch.cat([logits, torch.randn(1, 2, 2)], dim=1)
    expected = presence_loss(logits, own, bools([[1, 1, 1]]))
    torch.testing.assert_close(presence_loss(padded, own, bools([[1, 1, 1, 0, 0]])), expected)
    with_unnamed = torch.cat([logits, torch.randn(1, 3, 2)])
    found = presence_loss(with_unnamed, bools([[1, 0], [0, 0]]), torch.ones(2, 3).bool())
    torch.testing.assert_close(found, expected)


def test_a_perfect_answer_costs_nothing_and_a_swapped_one_much():
    logits = torch.tensor([[[50.0, 0, 0], [0, 50.0, 0]]])
    own, inside = bools([[1, 1, 0]]), bools([[1, 1]])
    # Each of two texts fills half of the cells: (1/2)^(1/3).
    best = -math.log(0.5) / 3
    assert presence_loss(logits, own, inside).item() == pytest.approx(best, abs=1e-3)
    assert presence_loss(logits.roll(1, dims=2), own, inside) > 5
    allowed = bools([[[1, 0, 0], [0, 1, 0]]])
    assert assignment_loss(logits, allowed) < 1e-6
    assert assignment_loss(logits.roll(1, dims=2), allowed) == pytest.approx(50.0)


def test_where_one_text_is_allowed_assignment_is_cross_entropy():
    logits = torch.randn(2, 5, 3, requires_grad=True)
    labels = torch.randint(3, (2, 5))
    loss = assignment_loss(logits, F.one_hot(labels, 3).bool())
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(loss, expected)
    (found,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(found, wanted)


def test_targets_stay_on_allowed_texts_and_sum_to_one():
    allowed = torch.rand(3, 8, 5) < 0.5
    allowed[0, 0] = False
    target = balanced_targets(torch.randn(3, 8, 5).log_softmax(2), allowed)
    assert target.isfinite().all() and (target[~allowed] == 0).all()
    torch.testing.assert_close(target.sum(dim=2), allowed.any(dim=2).float())


def test_balancing_gives_a_text_that_always_comes_second_its_best_cells():
    # Text 0 is a little ahead everywhere; text 1 comes closest in the second half of the cells.
    log_shares = torch.tensor([[[2.0, 0.0]] * 4 + [[2.0, 1.5]] * 4]).log_softmax(2)
    target = balanced_targets(log_shares, torch.ones(1, 8, 2).bool())
    assert (log_shares.argmax(dim=2) == 0).all()
    assert (target[0, :4].argmax(dim=1) == 0).all() and (target[0, 4:].argmax(dim=1) == 1).all()


@pytest.mark.parametrize("loss", ["presence", "assignment"])
def test_nothing_to_learn_is_a_zero_loss_with_a_gradient(loss):
    logits = torch.randn(2, 3, 4, requires_grad=True)
    none = torch.zeros(2, 3, 4, dtype=torch.bool)
    if loss == "presence":
        found = presence_loss(logits, none[:, 0], torch.ones(2, 3).bool())
    else:
        found = assignment_loss(logits, none)
    found.backward()
    assert found.item() == 0.0 and (logits.grad == 0).all()


# Boxes on the grid: cells of 16 pixels, an image of 4 x 3 cells in a grid of 5 x 4.

NAMES = ("car", "grass", "person", "sky")


def cells(regions, own=(1, 1, 1, 1), image_size=(64, 48)):
    """The allowed texts as letters per cell: "gs" = grass or sky, "" = none."""
    allowed = allowed_texts(NAMES, bools(own), regions, image_size, (5, 4), 16)
    return [["".join(n[0] for n, ok in zip(NAMES, row) if ok) for row in line] for line in allowed]


def test_boxes_take_their_cells_the_smallest_first_and_the_rest_is_free():
    found = cells(
        [
            Region("person", box=(0, 32, 16, 48)),
            Region("car", box=(0, 16, 48, 64)),  # holds the person's box
        ]
    )
    assert found == [
        ["gs", "gs", "gs", ""],
        ["c", "c", "c", ""],
        ["p", "c", "c", ""],
        ["c", "c", "c", ""],
        ["", "", "", ""],
    ]


def test_a_box_without_any_centre_takes_the_cell_it_lies_in():
    found = cells([Region("person", box=(17, 33, 22, 38))])
    assert found[2][1] == "p" and sum(cell == "p" for row in found for cell in row) == 1


def test_an_image_size_that_is_no_multiple_keeps_its_last_cell():
    found = cells([], own=(0, 1, 0, 0), image_size=(33, 16))
    assert [row[0] for row in found] == ["g", "g", "g", "", ""]


@pytest.mark.parametrize("box", [(40, 60, 48, 64), (0, 0, 1, 1), (47, 63, 48, 64)])
def test_boxes_at_the_border_stay_inside(box):
    found = cells([Region("car", box=box)])
    assert sum(cell == "c" for row in found for cell in row) == 1


def test_regions_without_a_box_or_of_other_names_say_nothing():
    regions = [Region("car"), Region("unknown", box=(0, 0, 64, 64))]
    assert cells(regions) == cells([])


def test_masks_are_found_from_names_alone():
    """Images of two halves, each with the names of its two kinds and never with a place."""
    draw = torch.Generator().manual_seed(0)
    kinds, width = 5, 16
    looks = F.normalize(torch.randn(kinds, width, generator=draw), dim=1)
    table = torch.randn(kinds, width, generator=draw).requires_grad_()
    optimizer = torch.optim.Adam([table], lr=0.05)
    for _ in range(150):
        pairs = torch.stack([torch.randperm(kinds, generator=draw)[:2] for _ in range(16)])
        image = looks[pairs.repeat_interleave(4, dim=1)]
        image = image + 0.1 * torch.randn(image.shape, generator=draw)
        own = F.one_hot(pairs, kinds).any(dim=1)
        logits = 10 * F.normalize(image, dim=2) @ F.normalize(table, dim=1).T
        allowed = own[:, None].expand(-1, 8, -1)
        loss = presence_loss(logits, own, torch.ones(16, 8).bool())
        loss = loss + assignment_loss(logits, allowed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (looks @ F.normalize(table.detach(), dim=1).T).argmax(dim=1).tolist() == [0, 1, 2, 3, 4]
