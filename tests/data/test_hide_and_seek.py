import numpy as np
import pytest
import torch

from segplugins.data import SegMapper
from segplugins.data.hide_and_seek import HideAndSeek, is_pseudo
from segplugins.structures.regions import Region

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
