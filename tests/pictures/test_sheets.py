"""Pictures put together, saved, and curves."""

import numpy as np
import pytest
from PIL import Image

from segplugins.pictures import beside, curves, save_picture, sheet, stacked
from segplugins.pictures.legend import PAPER


def cell(value, width=20):
    return np.full((10, width, 3), value, np.uint8)


def test_a_sheet_holds_every_picture():
    cells = [cell(i, 20 + i) for i in range(5)]
    page = sheet(cells, columns=2, titles=[f"number {i}" for i in range(5)])
    for i in range(5):
        assert (page == i).all(axis=-1).sum() >= 10 * (20 + i)


def test_pictures_stand_beside_and_below_each_other_with_a_gap():
    row = beside([cell(1), cell(2, 30)], gap=4)
    assert row.shape == (10, 54, 3) and (row[:, 20:24] == PAPER).all() and (row[:, 24:] == 2).all()
    column = stacked([cell(1), cell(2, 30)], gap=4)
    assert column.shape == (24, 30, 3) and (column[:10, 20:] == PAPER).all()
    assert (column[14:] == 2).all()


def test_a_title_may_have_any_letters_and_lines():
    page = sheet([cell(1)], columns=1, titles=["дом\nsecond line"])
    assert page.shape[1] > 20 and page.shape[0] < 40


def test_a_picture_too_long_for_a_jpeg_is_refused(tmp_path):
    long = np.zeros((1, 70000, 3), np.uint8)
    with pytest.raises(ValueError, match=r"a.jpg': 70000x1 pixels, but a JPEG holds 65500"):
        save_picture(tmp_path / "a.jpg", long)
    save_picture(tmp_path / "new" / "a.png", long)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.size == (70000, 1)


def test_curves_are_written_as_a_picture(tmp_path):
    panels = {"loss": {"total": ([0, 1, 2], [3.0, 2.0, 1.5])}, "mIoU": {"a$b^": ([2], [40.0])}}
    curves(tmp_path / "curve.png", panels)
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > picture.height > 300
