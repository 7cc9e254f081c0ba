import base64
import io

import numpy as np
from PIL import Image

from segplugins.pictures.page import data_url, page_style


def test_a_picture_is_an_address_that_decodes_to_it():
    picture = np.full((8, 12, 3), 90, np.uint8)
    head, _, content = data_url(picture, quality=95).partition(",")
    assert head == "data:image/jpeg;base64"
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert back.shape == (8, 12, 3) and np.abs(back.astype(int) - 90).max() <= 2


def test_the_style_loads_nothing_from_elsewhere():
    assert "url(" not in page_style() and "@import" not in page_style()
    assert "prefers-color-scheme: dark" in page_style()
