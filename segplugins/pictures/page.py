"""What the pages of this project share: one style, and pictures inside the page."""

import base64
import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image


@cache
def page_style() -> str:
    """Returns the CSS of a page: light and dark, from a phone to a wide screen, and for print."""
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def data_url(picture: np.ndarray, *, quality: int = 80) -> str:
    """Returns a picture (H, W, 3) uint8 RGB as the address of an img element."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
