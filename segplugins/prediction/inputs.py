"""Pictures from what a user has in hand: paths, PIL images, arrays, tensors.

H and W are the picture's height and width in pixels.
"""

from pathlib import Path
from typing import Any, Iterable, Iterator, List, Union

import numpy as np
import torch
from PIL import Image, ImageOps

from segplugins.engine.media import Frame, find_media, is_video, read_frames
from segplugins.files.pictures import grey_of_8_bits

CHANNELS = ("RGB", "BGR")

Picture = Union[str, Path, Image.Image, np.ndarray, torch.Tensor]


def read_picture(source: Picture, *, channels: str = "RGB", number: int = 0) -> Frame:
    """Returns one picture as RGB.

    Args:
        source: a path; a PIL image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), whose
            fourth channel (opacity) is left out; or a tensor (3, H, W). Values are uint8, or are
            brought to it by the rule of files (`segplugins.files.pictures`): floats 0-1 times 255,
            16 bits by their upper half; other ranges are refused.
        channels: order of an array's channels: "RGB", or "BGR" as OpenCV reads files.
        number: names a picture that has no file name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a video, an array of another form or type, or a file that is not readable.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels must be one of {CHANNELS}, got {channels!r}")
    if isinstance(source, Frame):
        return source
    if isinstance(source, (str, Path)):
        return _read_file(Path(source))
    name = f"picture {number}"
    if isinstance(source, Image.Image):
        return Frame(Path(getattr(source, "filename", "") or name).stem, _from_pil(source))
    if isinstance(source, torch.Tensor):
        if source.dim() != 3 or source.shape[0] != 3:
            raise ValueError(
                f"a tensor must be one picture (3, H, W), got {tuple(source.shape)}; give several "
                "as a list"
            )
        source = source.permute(1, 2, 0).cpu().numpy()
    if not isinstance(source, np.ndarray):
        raise ValueError(
            f"a picture must be a path, a PIL image, an array or a tensor, got "
            f"{type(source).__name__}"
        )
    return Frame(name, _from_array(source, channels))


def read_pictures(source: Any, *, channels: str = "RGB") -> Iterator[Frame]:
    """Yields pictures one at a time, so that only those being worked on are in memory.

    Args:
        source: one picture; a folder, a pattern ("shots/*.jpg") or a video; or an iterable of
            pictures, such as a generator of camera frames.
        channels: see `read_picture`.

    Raises:
        FileNotFoundError, ValueError: see `read_picture` and `segplugins.engine.media.find_media`.
    """
    if isinstance(source, (str, Path)):
        for file in find_media(str(source)):
            yield from read_frames(file)
    elif isinstance(source, (Image.Image, np.ndarray, torch.Tensor, Frame)):
        yield read_picture(source, channels=channels)
    elif isinstance(source, Iterable):
        for number, each in enumerate(source):
            if isinstance(each, (str, Path)) and (is_video(Path(each)) or Path(each).is_dir()):
                yield from read_pictures(each)
            else:
                yield read_picture(each, channels=channels, number=number)
    else:
        raise ValueError(f"pictures must be a path or an iterable, got {type(source).__name__}")


def is_single(source: Any) -> bool:
    """Returns whether a source is one picture and not several.

    Raises:
        ValueError: several in a form that only `stream` reads.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if is_video(path) or path.is_dir():
            what = "video" if is_video(path) else "folder"
            raise ValueError(
                f"'{source}' is a {what}: model.stream(...) yields its results one after the other"
            )
        return True
    return isinstance(source, (Image.Image, np.ndarray, torch.Tensor, Frame))


def as_list(source: Any) -> List[Any]:
    """Returns the pictures of a list or tuple.

    Raises:
        ValueError: something else, such as a generator.
    """
    if not isinstance(source, (list, tuple)):
        raise ValueError(
            f"expected a picture or a list of them, got {type(source).__name__}; "
            "model.stream(...) reads generators"
        )
    return list(source)


def _read_file(path: Path) -> Frame:
    if not path.is_file():
        raise FileNotFoundError(f"no image '{path}'")
    if is_video(path):
        raise ValueError(f"'{path}' is a video: model.stream(...) reads its frames")
    return next(read_frames(path))


def _from_pil(image: Image.Image) -> np.ndarray:
    image.load()  # a damaged file fails here instead of passing for half a picture
    if image.mode.startswith(("I", "F")):
        return _from_array(np.asarray(ImageOps.exif_transpose(image)), "RGB")
    return np.ascontiguousarray(ImageOps.exif_transpose(image).convert("RGB"))


def _from_array(array: np.ndarray, channels: str) -> np.ndarray:
    if array.dtype.kind not in "uif":
        raise ValueError(f"an array must hold numbers, got {array.dtype}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"an array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {array.shape}; give "
            "several pictures as a list"
        )
    array = _of_8_bits(array[..., :3])
    if array.shape[2] == 1:
        return np.ascontiguousarray(array.repeat(3, axis=2))
    return np.ascontiguousarray(array[..., ::-1] if channels == "BGR" else array)


def _of_8_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    try:
        return grey_of_8_bits(array)
    except ValueError as error:
        raise ValueError(
            f"the array {error}; scale it to 0-255 and convert it: image.astype('uint8')"
        ) from error
