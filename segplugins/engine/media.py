"""Pictures of a file, a folder, a pattern or a video."""

import glob
from pathlib import Path
from typing import Iterator, List, NamedTuple, Sequence

import numpy as np

from segplugins.engine.videos import frame_count, read_video
from segplugins.files.pictures import read_picture
from segplugins.files.raster import ENDINGS

IMAGE_KINDS = ENDINGS
VIDEO_KINDS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


class Frame(NamedTuple):
    """A picture to segment: `name` for its results, `image` (H, W, 3) uint8 RGB."""

    name: str
    image: np.ndarray


def find_media(source: str) -> List[Path]:
    """Returns the images and videos that `source` names.

    Args:
        source: a file, a folder (its images and videos, not hidden ones nor those of folders in
            it), or a pattern such as "shots/*.jpg".

    Returns:
        The files in alphabetical order.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: nothing is named, or an address; two files would give results of one name, such
            as a.jpg and a.png.
    """
    if not source.strip():
        raise ValueError(
            "the input is empty: name a picture, a folder, a quoted pattern or a video"
        )
    if source.partition("://")[1]:
        raise ValueError(f"'{source}' is an address; fetch the file and name it by its path")
    path = Path(source)
    if path.is_file():
        return [path]
    inside = path.iterdir() if path.is_dir() else map(Path, glob.glob(source, recursive=True))
    endings = (*IMAGE_KINDS, *VIDEO_KINDS)
    files = sorted(
        file
        for file in inside
        # Names with a dot in front are hidden: macOS leaves ._a.jpg beside a.jpg on foreign disks.
        if file.suffix.lower() in endings and not file.name.startswith(".") and file.is_file()
    )
    if not files and path.is_dir():
        raise FileNotFoundError(
            f"the folder '{source}' holds no image and no video itself (folders in it are not "
            f"looked into); endings are {', '.join(endings)}"
        )
    if not files:
        raise FileNotFoundError(
            f"no image or video at '{source}'; known are a file, a folder or a quoted pattern, "
            f"with endings {', '.join(endings)}"
        )
    first = {}
    for file in files:
        if file.stem in first:
            raise ValueError(
                f"'{file}' and '{first[file.stem]}' would both be written as '{file.stem}'; "
                "rename one or give them in two runs"
            )
        first[file.stem] = file
    return files


def count_frames(files: Sequence[Path]) -> int:
    """Returns how many pictures the files hold; a video's own number is an estimate."""
    return sum(frame_count(file) if is_video(file) else 1 for file in files)


def is_video(file: Path) -> bool:
    """Returns whether the file's ending is that of a video."""
    return file.suffix.lower() in VIDEO_KINDS


def read_frames(file: Path) -> Iterator[Frame]:
    """Reads an image, turned as its EXIF says, or a video frame by frame.

    Args:
        file: of `find_media`.

    Yields:
        One frame named after the file, or for a video its frames named "<file>/000000" and so on;
        one is in memory at a time.

    Raises:
        ValueError: the file cannot be read, or the decoder of a video failed before its end.
    """
    if is_video(file):
        for index, image in enumerate(read_video(file)):
            yield Frame(f"{file.stem}/{index:06d}", image)
        return
    yield Frame(file.stem, read_picture(file).pixels)
