"""Folders of masks as the servers of video benchmarks expect them, zipped."""

import zipfile
from pathlib import Path
from typing import Iterable, Union

import numpy as np
from PIL import Image


def davis_palette() -> bytes:
    """Returns DAVIS's 256 colours: bit i of a label sets bit 7 - i // 3 of channel i % 3."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            value = (labels >> (3 * bit + channel)) & 1
            colours[:, channel] |= (value << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


def frame_path(*names: object) -> Path:
    """Returns the path of a frame's PNG below the submission's root.

    Args:
        names: folders, then the frame without ending: "Annotations", video, expression, frame.

    Raises:
        ValueError: a name is no plain file name; a data set's file must not choose where to write.
    """
    for name in map(str, names):
        if not name or name in (".", "..") or Path(name).name != name or "\\" in name:
            raise ValueError(f"'{name}' cannot be part of a submission: not a plain file name")
    return Path(*map(str, names[:-1])) / f"{names[-1]}.png"


def write_mask(root: Union[str, Path], path: Path, mask: np.ndarray) -> None:
    """Writes a mask (H, W) bool as a grey PNG of 0 and 255."""
    _save(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))), Path(root) / path)


def write_labels(root: Union[str, Path], path: Path, labels: np.ndarray) -> None:
    """Writes labels (H, W) 0..255 as a PNG with DAVIS's palette."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(davis_palette())
    _save(image, Path(root) / path)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_zip(root: Union[str, Path], paths: Iterable[Path], name: str = "submission.zip") -> Path:
    """Packs the frames of a submission, and nothing else that lies beside them.

    Args:
        root: folder of the submission.
        paths: of the frames, below root.
        name: of the archive in root.

    Returns:
        Path of the archive.

    Raises:
        FileNotFoundError: a frame was not written.
    """
    target = Path(root) / name
    # PNGs are compressed already.
    with zipfile.ZipFile(target, "w", compression=zipfile.ZIP_STORED) as archive:
        for path in paths:
            archive.write(Path(root) / path, arcname=path.as_posix())
    return target
