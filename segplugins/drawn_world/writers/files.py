"""Files: pictures and JSON, written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any, Iterable, Sequence, Tuple, Union

import cv2
import numpy as np

# PNG, because what it decodes to is the same everywhere; the fastest level, because the noise in
# the textures leaves little to gain from a slower one. Label maps are runs of equal pixels.
_PICTURE = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_LABELS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


def png_bytes(image: np.ndarray) -> bytes:
    """Returns a PNG file of a picture (H, W, 3) RGB or a label map (H, W), both uint8."""
    if image.ndim == 3:
        done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _PICTURE)
    else:
        done, data = cv2.imencode(".png", image, _LABELS)
    assert done, f"cv2 could not write a PNG of shape {image.shape}"
    return data.tobytes()


def jpeg_bytes(image: np.ndarray) -> bytes:
    """Returns a JPEG file of a picture (H, W, 3) uint8 RGB, for layouts that know no other."""
    quality = (cv2.IMWRITE_JPEG_QUALITY, 95)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    assert done, f"cv2 could not write a JPEG of shape {image.shape}"
    return data.tobytes()


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes a picture (H, W, 3) RGB or a label map (H, W), both uint8, as PNG."""
    path.write_bytes(png_bytes(image))


def write_json(path: Path, data: Any) -> None:
    """Writes JSON through a temporary file, so that a reader never meets half of one."""
    _replace(path, (json.dumps(data, separators=(",", ":")),))


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Writes JSON lines through a temporary file."""
    _replace(path, (json.dumps(record, separators=(",", ":")) + "\n" for record in records))


def _replace(path: Path, pieces: Iterable[str]) -> None:
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines(pieces)
    os.replace(temporary, path)


def split_size(size: Union[int, Sequence[int]]) -> Tuple[int, int]:
    """Returns (height, width) of a size given as one number or as a pair.

    Raises:
        ValueError: it is neither.
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(f"size is {size!r}; expected pixels, or (height, width) in pixels")
    return sides
