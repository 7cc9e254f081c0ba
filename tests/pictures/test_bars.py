"""Bars of shares."""

import numpy as np
from PIL import Image

from segplugins.pictures.bars import share_bars


def test_bars_are_divided_by_their_shares(tmp_path):
    path = tmp_path / "bars.png"
    share_bars(path, [("one $ sign", (1, 3)), ("nothing", (0, 0))], ("first", "second"))
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    first = (np.abs(picture - (31, 119, 180)).sum(axis=-1) < 12).sum(axis=1)
    second = (np.abs(picture - (255, 127, 14)).sum(axis=-1) < 12).sum(axis=1)
    row = int(second.argmax())
    assert second[row] / (first[row] + second[row]) == np.clip(
        second[row] / (first[row] + second[row]), 0.74, 0.76
    )
    # The row of zeros has no bar: only one run of coloured rows lies below the legend.
    wide = np.flatnonzero(second > 0.3 * picture.shape[1])
    assert len(wide) and (np.diff(wide) == 1).all()
