"""Values of annotation files: which forms are accepted, and the one form that readers hand on.

Programs write the same value in several ways. Each function here takes all of those and returns
the normal form, or raises a ValueError that says what was got and what was expected. The table of
accepted forms stands in datasets/README.md.
"""

import numbers
import unicodedata
from pathlib import Path
from typing import Any, List, Mapping, Sequence, Tuple, Union

import numpy as np

Id = Union[int, str]

LARGEST = 2**53  # whole numbers up to it are exact as float64, which is what JSON holds
LARGEST_SIDE = 2**20  # pixels
# The most pixels of a picture: a little over 12,000 x 12,000, as aerial pictures have, and few
# enough that a header of some bytes cannot make a process ask for all memory.
MAX_PIXELS = 150_000_000
LARGEST_ID = 2**62  # ids are kept as int64, and ids that are missing are numbered behind them
_FLAGS = {"0": False, "false": False, "1": True, "true": True}
_LONGEST_ID = 19  # digits
_POLYGON = 6  # values of three points


def as_id(value: Any) -> Id:
    """Returns an id: a whole number, or text that is none.

    Args:
        value: int, whole float, numpy number, or text; text that writes a whole number is one.

    Raises:
        ValueError: anything else, such as None, a truth value, a fraction or a number from 2**62
            on.
    """
    if type(value) is int and -LARGEST_ID < value < LARGEST_ID:
        return value
    if isinstance(value, np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, str):
        text = value.strip()
        digits = text.removeprefix("-")
        if text.isascii() and digits.isdigit() and len(digits) <= _LONGEST_ID:
            number = int(text)
            if str(number) == text and abs(number) < LARGEST_ID:
                return number
        if text:
            return text
    elif isinstance(value, float):
        if value.is_integer() and abs(value) < LARGEST:
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_ID:
        return int(value)
    raise ValueError(f"{value!r:.40} is no id, expected a whole number or text")


def as_flag(value: Any) -> bool:
    """Returns a truth value, such as "iscrowd".

    Args:
        value: 0, 1, a truth value, their text in any case, or None for False.

    Raises:
        ValueError: anything else.
    """
    if value is None or value is False or (type(value) is int and value == 0):
        return False
    if isinstance(value, np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, str):
        value = _FLAGS.get(value.strip().lower(), value)
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{value!r:.40}, expected 0 or 1")


def as_number(value: Any) -> float:
    """Returns a finite number of ordinary size.

    Args:
        value: a number, a numpy number, or text that writes one.

    Raises:
        ValueError: anything else; NaN, infinity and numbers from 2**53 on.
    """
    kind = type(value)
    if kind is int or kind is float:
        number = value
    elif isinstance(value, (str, numbers.Real, np.number)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
    else:
        number = float("nan")
    if not abs(number) < LARGEST:  # also where it is NaN
        raise ValueError(f"{value!r:.40}, expected a finite number")
    return number


def as_side(value: Any) -> int:
    """Returns the height or width of a picture in pixels.

    Args:
        value: a whole number above 0, also as float or text.

    Raises:
        ValueError: anything else.
    """
    try:
        number = as_number(value)
    except ValueError:
        number = 0
    if number != int(number) or not 0 < number < LARGEST_SIDE:
        raise ValueError(f"{value!r:.40}, expected a number of pixels")
    return int(number)


def as_size(height: Any, width: Any) -> Tuple[int, int]:
    """Returns (height, width) of a picture in pixels.

    Args:
        height: see `as_side`.
        width: see `as_side`.

    Raises:
        ValueError: one is no number of pixels, or together they are more than any picture may
            have; a mask of that size would take all memory.
    """
    size = as_side(height), as_side(width)
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[1]}x{size[0]} pixels, expected at most {MAX_PIXELS}")
    return size


def as_box(value: Any) -> List[float]:
    """Returns the four finite numbers of a box, whatever they mean.

    Args:
        value: a list, tuple or array of four numbers.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)) and len(value) == 4:
        try:
            return [as_number(each) for each in value]
        except ValueError:
            pass
    raise ValueError(f"{value!r:.80}, expected 4 finite numbers")


def as_mask(value: Any) -> Union[None, dict, List[List[float]]]:
    """Returns a mask as one COCO RLE, as a list of flat polygons, or None for none.

    What needs the size of the picture is checked elsewhere: run lengths, and how far points lie
    outside.

    Args:
        value: an RLE, also alone in a list; polygons as flat lists [x0, y0, x1, y1, ...] or lists
            of points [[x0, y0], ...], also a single one without the outer list; None, [], [[]]
            and {} for no mask.

    Raises:
        ValueError: anything else; of polygons, when one has an odd number of values or none of
            them has three points.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]
    if value is None or (isinstance(value, (Mapping, list, tuple)) and not value):
        return None
    if isinstance(value, Mapping):
        return _as_rle(value)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"segmentation {value!r:.60}, expected an RLE or polygons")
    if any(isinstance(each, Mapping) for each in value):
        raise ValueError(f"segmentation is a list of {len(value)} RLEs, expected one RLE")
    return _as_polygons(value)


def _as_rle(value: Mapping[str, Any]) -> dict:
    counts, size = value.get("counts"), value.get("size")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", errors="replace")
    elif isinstance(counts, np.ndarray):
        counts = counts.tolist()
    if not isinstance(counts, (str, list, tuple)) or not counts:
        raise ValueError(f"RLE counts {counts!r:.40}, expected a list of run lengths or text")
    if size is not None:
        if isinstance(size, np.ndarray):
            size = size.tolist()
        if not isinstance(size, (list, tuple)) or len(size) != 2:
            raise ValueError(f"RLE size {size!r:.40}, expected [height, width]")
        try:
            size = [as_side(side) for side in size]
        except ValueError as error:
            raise ValueError(f"RLE size {size!r:.40}: {error}") from None
    return {"size": size, "counts": counts if isinstance(counts, str) else list(counts)}


def _as_polygons(value: Sequence[Any]) -> Union[None, List[List[float]]]:
    first = value[0]
    if not isinstance(first, (list, tuple, np.ndarray)):
        value = [value]  # one flat polygon
    elif all(_is_point(each) for each in value):
        value = [value]  # one polygon of points
    polygons = [_as_polygon(each) for each in value if len(_listed(each))]
    if not polygons:
        return None
    if max(map(len, polygons)) < _POLYGON:
        longest = max(map(len, polygons))
        raise ValueError(f"a polygon of {longest} values, expected 3 or more (x, y) pairs")
    return polygons


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"a polygon is {value!r:.40}, expected a list of numbers")
    return value


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(each, (int, float, str)) for each in value)
    )


def _as_polygon(value: Any) -> List[float]:
    """Returns one polygon as a flat list; its values are numbers of any size, or NaN."""
    value = _listed(value)
    if all(_is_point(each) for each in value):
        value = [number for point in value for number in point]
    if len(value) % 2:
        raise ValueError(f"a polygon of {len(value)} values, expected 3 or more (x, y) pairs")
    if all(type(each) in (int, float) for each in value):
        return list(value)
    try:
        return [as_number(each) for each in value]
    except ValueError as error:
        raise ValueError(f"a polygon holds {error}") from None


def is_unicode(text: str) -> bool:
    """Returns whether a file can hold a text: JSON can name half a character, "\\ud800".

    Bytes of file names that are no Unicode pass, as Python writes them.
    """
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def as_path(value: Any) -> str:
    """Returns a path below a folder, with slashes, as a file of annotations names it.

    Args:
        value: text; backslashes are read as slashes, and a "./" in front is left out.

    Raises:
        ValueError: no text; an absolute path; one that leaves the folder.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"got {value!r:.60}, expected the path of the file")
    if not is_unicode(value):
        raise ValueError(f"{value!r:.60} holds half a character, expected Unicode")
    path = value.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or (parts and parts[0].endswith(":")):
        raise ValueError(
            f"{value!r:.80} is an absolute path; write paths relative to the folder of the set"
        )
    if ".." in parts:
        raise ValueError(
            f"{value!r:.80} leaves the folder of the set; name the folder above in the set's "
            "description, and write paths relative to it without '..'"
        )
    if not parts:
        raise ValueError(f"got {value!r:.60}, expected the path of the file")
    return "/".join(parts)


def existing_form(root: Path, path: str) -> str:
    """Returns the path in the Unicode form that the file on disk has.

    macOS decomposes accents in file names and most programs compose them, so that one name can
    stand in the file and another on disk.

    Args:
        root: folder that the path is relative to.
        path: of `as_path`.
    """
    if path.isascii() or (root / path).exists():
        return path
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, path)
        if (root / other).exists():
            return other
    return path
