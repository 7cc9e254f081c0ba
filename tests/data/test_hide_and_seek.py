import numpy as np
import pytest
import torch

from segplugins.data import SegMapper
from segplugins.data.hide_and_seek import HideAndSeek, is_pseudo
from segplugins.structures.regions import Region, encode_mask

ALL = {"grid": 4, "colour": (10.4, 20.0, 30.0), "apply_to": "all"}


def record(tmp_path, save, **more):
    square = [[0, 0, 8, 0, 8, 8, 0, 8]]
    return {
        "file_name": save(tmp_path / "a.png", np.full((8, 8, 3), 255, np.uint8)),
        "sem_seg_file_name": save(tmp_path / "b.png", np.zeros((8, 8), np.uint8)),
        "regions": [Region("whole", mask=square, score=0.9)],
        "vocabulary": None,
        **more,
    }


def mapped(given, **keywords):
    torch.manual_seed(0)
    hide = HideAndSeek(**{**ALL, **keywords})
    return SegMapper(True, augmentations=[], targets=["instances", "sem_seg"], hide=hide)(given)


def test_image_and_targets_are_hidden_in_the_same_cells(tmp_path, save):
    got = mapped(record(tmp_path, save), probability=0.5)
    hidden = (got["image"] == torch.tensor([10, 20, 30])[:, None, None]).all(dim=0)
    cells = hidden.view(4, 2, 4, 2)
    assert (cells == cells[:, :1, :, :1]).all()  # cells of 2 x 2 pixels, whole
    assert 0 < hidden.float().mean() < 1
    assert (got["image"][:, ~hidden] == 255).all()
    assert (got["instances"].gt_masks.tensor[0] == ~hidden).all()
    rows, columns = (~hidden).nonzero().T
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert got["instances"].gt_boxes.tensor[0].tolist() == box
    assert ((got["sem_seg"] == 255) == hidden).all()


def test_the_share_of_hidden_cells_is_the_probability():
    torch.manual_seed(0)
    hide = HideAndSeek(probability=0.2, grid=24, colour=(0, 0, 0))
    share = torch.stack([hide.draw(480, 480) for _ in range(40)]).float().mean()
    # 23,040 cells: one standard deviation is 0.0026.
    assert share.item() == pytest.approx(0.2, abs=0.01)


def test_a_target_that_is_hidden_whole_stays_empty(tmp_path, save):
    got = mapped(record(tmp_path, save), probability=1.0)
    assert len(got["instances"]) == 1 and not got["instances"].gt_masks.tensor.any()


def test_boxes_end_where_their_masks_do(tmp_path, save):
    """Only the upper left cell of four stays visible: 4 of 8 pixels in each direction."""
    hide = HideAndSeek(**{**ALL, "grid": 2}, probability=0.5)
    object.__setattr__(hide, "draw", lambda height, width: _all_but_upper_left(height, width))
    mapper = SegMapper(True, augmentations=[], targets=["instances", "sem_seg"], hide=hide)
    got = mapper(record(tmp_path, save))
    assert got["instances"].gt_boxes.tensor.tolist() == [[0.0, 0.0, 4.0, 4.0]]


def _all_but_upper_left(height, width):
    hidden = torch.ones(height, width, dtype=torch.bool)
    hidden[: height // 2, : width // 2] = False
    return hidden


def test_targets_can_be_left_whole(tmp_path, save):
    got = mapped(record(tmp_path, save), probability=1.0, hide_target=False)
    assert got["instances"].gt_masks.tensor.all() and (got["sem_seg"] == 0).all()


def test_only_what_a_machine_has_drawn_is_hidden(tmp_path, save):
    by_hand = record(tmp_path, save, regions=[Region("whole", box=(0, 0, 8, 8))])
    assert (mapped(by_hand, probability=1.0, apply_to="pseudo")["image"] == 255).all()
    drawn = record(tmp_path, save)
    assert (mapped(drawn, probability=1.0, apply_to="pseudo")["image"] != 255).all()
    assert is_pseudo({"pseudo": True}) and not is_pseudo({})
    assert is_pseudo({"regions": [{"text": "a", "score": 0.5}]})


@pytest.mark.parametrize("wrong", [{"probability": 1.5}, {"grid": 0}, {"apply_to": "some"}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="hide-and-seek: probability"):
        HideAndSeek(**{"probability": 0.5, **ALL, **wrong})


def cells(monkeypatch, hidden):
    """Makes the next draw hide these cells: (row, column) of a grid of 2 x 2."""
    values = torch.ones(2, 2)
    for place in hidden:
        values[place] = 0.0
    monkeypatch.setattr(torch, "rand", lambda *shape: values)
    return HideAndSeek(probability=0.5, **{**ALL, "grid": 2})


def test_rows_and_columns_of_cells_lie_where_those_of_the_image_do(monkeypatch):
    # 3 rows and 5 columns in 2 x 2 cells: pixel i is in cell floor(2 i / side).
    drawn = cells(monkeypatch, [(0, 1)]).draw(3, 5).int()
    assert drawn.tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]
    drawn = cells(monkeypatch, [(1, 0)]).draw(3, 5).int()
    assert drawn.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]


def hidden_record(hide, **result):
    """Hides cells of an image of 4 x 6 and returns the record."""
    result = {"image": torch.full((3, 4, 6), 200, dtype=torch.uint8), **result}
    hide(result, {"pseudo": True}, 77)
    return result


def test_hidden_pixels_get_the_rounded_colour_and_the_ignored_label(monkeypatch):
    hide = cells(monkeypatch, [(0, 0)])  # upper left: 2 rows, 3 columns
    got = hidden_record(hide, sem_seg=torch.full((4, 6), 5))
    corner = torch.zeros(4, 6, dtype=torch.bool)
    corner[:2, :3] = True
    for channel, colour in zip(got["image"], (10, 20, 30)):  # 10.4 is 10
        assert (channel[corner] == colour).all() and (channel[~corner] == 200).all()
    assert (got["sem_seg"][corner] == 77).all() and (got["sem_seg"][~corner] == 5).all()


def test_masks_of_regions_end_at_the_cells_and_boxes_alone_stay(monkeypatch):
    hide = cells(monkeypatch, [(0, 0), (1, 0)])  # the left half, 3 of 6 columns
    whole = np.ones((4, 6), bool)
    left = whole.copy()
    left[:, 3:] = False
    given = [
        Region("half", box=(0, 0, 6, 4), mask=encode_mask(whole), class_index=3, score=0.5),
        Region("gone", box=(0, 0, 3, 4), mask=encode_mask(left)),
        Region("box", box=(0, 0, 2, 2)),
    ]
    half, gone, box = hidden_record(hide, regions=given)["regions"]
    assert half.bitmap(4, 6).tolist() == (~left).tolist() and half.box == (3.0, 0.0, 6.0, 4.0)
    assert (half.text, half.class_index, half.score) == ("half", 3, 0.5)
    assert not gone.bitmap(4, 6).any() and gone.box == (0, 0, 3, 4)
    assert box is given[2]


def test_a_probability_of_0_draws_nothing_and_leaves_everything():
    hide = HideAndSeek(probability=0.0, **ALL)
    state = torch.get_rng_state()
    assert (hidden_record(hide)["image"] == 200).all()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "record, machine",
    [
        ({}, False),
        ({"pseudo": False}, False),
        ({"pseudo": True, "regions": []}, True),
        ({"regions": [Region("a"), Region("b", score=0.999)]}, True),
        ({"regions": [Region("a", score=1.0), {"text": "b"}, {"text": "c", "score": 1.0}]}, False),
    ],
)
def test_one_region_of_a_machine_makes_an_image_one(record, machine):
    assert is_pseudo(record) is machine


def test_probabilities_of_0_and_1_and_one_cell_are_allowed_and_less_is_not():
    for probability in (0, 1):
        HideAndSeek(**{**ALL, "grid": 1}, probability=probability)
    with pytest.raises(ValueError, match="probability -0.01 must be in 0-1"):
        HideAndSeek(**ALL, probability=-0.01)
