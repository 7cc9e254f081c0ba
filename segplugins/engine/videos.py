"""Videos: their frames to the real end, and labelled videos of the same rate.

A container's number of frames is an estimate for a variable rate and too high for a trimmed video,
so a video that ends early is damaged only if the decoder says so.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image

from segplugins.files.write import replacing
from segplugins.pictures import PAPER, resized_image

_CODEC = "mp4v"  # MPEG-4 part 2: the only one for .mp4 that OpenCV's wheels write in useful time
_LONGEST = 1920  # pixels of a labelled video
_FASTEST = 60.0  # frames a second
_DEFAULT_RATE = 25.0
_LONGEST_STILL = 5.0  # seconds that one frame stands at most: a broken time would fill the disk

# Decodes a video for what the decoder writes to the output; OpenCV hands it to nobody.
_DECODE = """
import cv2, sys
video = cv2.VideoCapture(sys.argv[1])
while video.grab() and video.retrieve()[0]:
    pass
"""


def read_video(file: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video, (H, W, 3) uint8 RGB, turned as the file says.

    Raises:
        ValueError: there is no frame that can be read, or the decoder failed before the end.
    """
    video = cv2.VideoCapture(str(file))
    count = 0
    try:
        expected = _frame_count(video)
        while True:
            good, image = video.read()
            if not good:
                break
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            count += 1
    finally:
        video.release()
    if not count:
        raise ValueError(
            f"video '{file}' is not readable: no frame of it can be decoded; re-encode it, for "
            "example with ffmpeg"
        )
    if count < expected - 1:  # many containers count one frame too many
        _check_end(file, count)


def frame_count(file: Path) -> int:
    """Returns how many frames a video has as its container says; 0 if it does not."""
    video = cv2.VideoCapture(str(file))
    try:
        return _frame_count(video)
    finally:
        video.release()


def frame_times(file: Path) -> Tuple[List[float], float]:
    """Returns the seconds at which each frame of a video is shown, and its frames a second."""
    video = cv2.VideoCapture(str(file))
    times = []
    try:
        rate = video.get(cv2.CAP_PROP_FPS)
        while video.grab():
            times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    finally:
        video.release()
    return times, rate


def label_video(video: Path, pictures: Sequence[Path], path: Path) -> None:
    """Writes labelled pictures of a video's frames as an .mp4 that runs as the video does.

    At a constant rate every picture is one frame, and the rate is kept. At a variable rate the
    pictures stand as long as the frames did, up to five seconds. Pictures that are smaller than the
    largest, for example by a shorter legend, are filled up with paper; all are reduced to at most
    1920 pixels a side.

    Args:
        video: whose frames the pictures show.
        pictures: one image file per frame, in their order.
        path: ends in .mp4; a file that is there is replaced when the new one is whole.

    Raises:
        ValueError: there are no pictures.
        OSError: OpenCV cannot write the video.
    """
    if not pictures:
        raise ValueError(f"'{path}': a video needs at least one picture")
    times, stated_rate = frame_times(video)
    rate, repeats = timing(times[: len(pictures)], stated_rate, len(pictures))
    size = _common_size(pictures)
    factor = min(1.0, _LONGEST / max(size))
    # Codecs part a picture into blocks: sides must be even.
    frame_size = tuple(max(2, round(side * factor / 2) * 2) for side in size)
    with replacing(path) as temporary:
        writer = cv2.VideoWriter(
            str(temporary), cv2.VideoWriter_fourcc(*_CODEC), rate, (frame_size[1], frame_size[0])
        )
        if not writer.isOpened():
            raise OSError(
                f"'{path}': OpenCV {cv2.__version__} cannot write '{_CODEC}' videos here; install "
                "the package opencv-python-headless, which can"
            )
        for picture, repeat in zip(pictures, repeats):
            frame = cv2.cvtColor(_filled(picture, size, frame_size), cv2.COLOR_RGB2BGR)
            for _ in range(repeat):
                writer.write(frame)
        writer.release()
        written = frame_count(temporary)
        if written != sum(repeats):  # OpenCV does not say so itself
            raise OSError(
                f"'{path}': only {written} of {sum(repeats)} frames were written; is the disk full?"
            )


def timing(times: Sequence[float], rate: float, count: int) -> Tuple[float, List[int]]:
    """Returns frames a second, and how many frames each picture stands.

    Args:
        times: seconds of each picture in the source, rising; fewer than `count` or not rising
            where the source does not say.
        rate: frames a second as the source says; it may be 0 or nonsense.
        count: number of pictures.
    """
    gaps = np.diff(times)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    if len(times) < count or not len(gaps) or gaps.min() <= 0:
        return (rate if 0 < rate <= _FASTEST else _DEFAULT_RATE), [1] * count
    if not 0 < rate <= _FASTEST or rate * usual < 0.5:
        rate = min(1 / usual, _FASTEST)
    limit = max(1, round(_LONGEST_STILL * rate))
    repeats, place = [], 0
    for end in [time - times[0] for time in times[1:]]:
        shown = min(max(1, round(end * rate) - place), limit)
        repeats.append(shown)
        place += shown
    return rate, [*repeats, 1]


def _frame_count(video: cv2.VideoCapture) -> int:
    count = video.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if 0 < count < 1e9 else 0


def _check_end(file: Path, count: int) -> None:
    """Raises if the decoder failed at the end of a video that has fewer frames than it says."""
    error = _decoder_error(file)
    if error:
        raise ValueError(
            f"video '{file}' is damaged after frame {count}: {error}; re-encode it, for example "
            "with ffmpeg"
        )


def _decoder_error(file: Path) -> Optional[str]:
    """Returns the last complaint of the decoder, None if it had none."""
    environment = {**os.environ, "OPENCV_FFMPEG_LOGLEVEL": "16"}  # errors, not warnings
    run = subprocess.run(
        [sys.executable, "-c", _DECODE, str(file)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    # OpenCV writes "[OPENCV:FFMPEG:16] partial file", the decoder itself "[h264 @ 0x55] no frame!".
    complaints = re.findall(
        r"^\[.*?\] (.+)$", (run.stdout + run.stderr).decode("utf-8", "replace"), re.M
    )
    return complaints[-1].strip(" .") if complaints else None


def _common_size(pictures: Sequence[Path]) -> Tuple[int, int]:
    """(height, width) that holds every picture."""
    sizes = []
    for path in pictures:
        with Image.open(path) as picture:
            sizes.append(picture.size[::-1])
    return tuple(map(max, zip(*sizes)))


def _filled(path: Path, size: Tuple[int, int], frame_size: Tuple[int, int]) -> np.ndarray:
    with Image.open(path) as file:
        picture = np.asarray(file.convert("RGB"))
    paper = np.full((*size, 3), PAPER, np.uint8)
    paper[: picture.shape[0], : picture.shape[1]] = picture
    return resized_image(paper, frame_size)
