"""What the numbers or colours of label files mean: one description, one way of reading."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Dict, Iterable, Optional, Tuple

import numpy as np

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.label_maps import read_colours, read_label_map
from segplugins.files.raster import Source, file_name

__all__ = ["IGNORED", "LabelCoding", "coding_of", "colour_number", "read_classes", "read_truth"]

IGNORED = -1  # a pixel that carries no class
_UNKNOWN = -2
_NAMED = 5
_SMALL = 2**16  # labels below it are looked up in a table


def colour_number(colour: Iterable[int]) -> int:
    """Returns 65536 R + 256 G + B of (R, G, B), as `read_colours` gives them."""
    red, green, blue = colour
    return red << 16 | green << 8 | blue


@dataclass(frozen=True)
class LabelCoding:
    """What the pixels of a label file mean.

    Args:
        num_classes: K; None if unknown: then any number that is not ignored is a class.
        ignored: values of pixels that carry no class; they win over classes.
        first_label: value of class 0. The others follow.
        values: (value, class) pairs instead of `first_label`; a class may have several values.
        colours: whether values are colours, see `colour_number`.

    Raises:
        ValueError: a class outside 0..K-1, or a value that means two classes.
    """

    num_classes: Optional[int] = None
    ignored: Tuple[int, ...] = (255,)
    first_label: int = 0
    values: Optional[Tuple[Tuple[int, int], ...]] = None
    colours: bool = False
    _table: np.ndarray = field(init=False, repr=False, compare=False)
    _others: Tuple[np.ndarray, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        meanings = self._meanings()
        in_table = {} if self.colours else {v: k for v, k in meanings.items() if 0 <= v < _SMALL}
        table = np.full(_SMALL, _UNKNOWN, np.int32)
        table[list(in_table)] = list(in_table.values())
        others = sorted(meanings.items() - in_table.items())
        object.__setattr__(self, "_table", table)
        values, classes = [v for v, _ in others], [k for _, k in others]
        pair = np.array(values, np.int64), np.array(classes, np.int32)
        object.__setattr__(self, "_others", pair)

    @property
    def is_plain(self) -> bool:
        """Whether label k is class k and one label carries no class."""
        return (
            self.first_label == 0
            and self.values is None
            and not self.colours
            and len(self.ignored) == 1
        )

    def _meanings(self) -> Dict[int, int]:
        """Returns value to class, or to `IGNORED`."""
        count = _SMALL if self.num_classes is None else self.num_classes
        pairs = self.values
        if pairs is None:
            pairs = tuple((k + self.first_label, k) for k in range(count))
        meaning: Dict[int, int] = {}
        for value, index in pairs:
            if not 0 <= index < count:
                raise ValueError(f"label {value} is class {index}, expected 0 to {count - 1}")
            if meaning.setdefault(value, index) != index:
                raise ValueError(f"label {value} is both class {meaning[value]} and class {index}")
        return {**meaning, **dict.fromkeys(self.ignored, IGNORED)}

    def classes(self, labels: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Returns the class of every pixel.

        Args:
            labels: whole numbers of any shape, of `read_label_map`, or of `read_colours`.

        Returns:
            int32 classes, `IGNORED` if a pixel carries none, and bool: the pixels whose value has
            no meaning; an empty array if there are none.
        """
        if self.colours:
            classes = _look_up(labels, *self._others)
        elif labels.dtype.itemsize <= 2 and labels.dtype.kind == "u":
            table = self._table[:256] if labels.dtype.itemsize == 1 else self._table
            classes = table.take(labels, mode="clip")
        else:
            classes = self._table.take(labels.clip(0, _SMALL - 1))
            outside = (labels < 0) | (labels >= _SMALL)
            classes[outside] = _look_up(labels[outside], *self._others)
        if classes.size and classes.min() == _UNKNOWN:
            return classes, classes == _UNKNOWN
        return classes, np.zeros(0, bool)

    def expected(self) -> str:
        """Returns the values that have a meaning, for messages."""
        ignored = ", ".join(self._shown(value) for value in self.ignored)
        tail = f", or {ignored} for pixels without a class" if ignored else ""
        if self.values is not None:
            listed = [self._shown(value) for value, _ in self.values]
            more = " ..." if len(listed) > 2 * _NAMED else ""
            return ", ".join(listed[: 2 * _NAMED]) + more + tail
        last = self.first_label + (self.num_classes or _SMALL) - 1
        return f"{self.first_label} to {last}{tail}"

    def _shown(self, value: int) -> str:
        return f"#{value:06x}" if self.colours else str(value)

    def fault_text(self, values: np.ndarray, counts: np.ndarray) -> str:
        """Returns what is wrong with a map that holds values without a meaning.

        Args:
            values: those without a meaning, ascending.
            counts: number of pixels of each.
        """
        listed = ", ".join(
            f"{self._shown(int(v))} ({c} pixels)" for v, c in zip(values[:_NAMED], counts)
        )
        more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
        return f"holds {listed}{more}; expected {self.expected()}{self._advice(values.tolist())}"

    def _advice(self, unknown: Iterable[int]) -> str:
        """Returns the key that puts the values right, if they tell it."""
        if self.colours:
            return "; name the class of every colour in label_colours"
        if self.first_label > 0 and 0 in unknown:
            return "; if 0 is unlabelled, say `ignore_label: 0`"
        if self.is_plain and list(unknown) == [self.num_classes]:
            return "; if label 1 is the first class, say `first_label: 1`"
        if self.is_plain and 255 in unknown and self.num_classes == 2:
            return "; if 255 is the second class, say `label_values: {0: 0, 255: 1}`"
        return ""


@lru_cache
def coding_of(num_classes: Optional[int], ignore_label: int) -> LabelCoding:
    """Returns the coding of sets whose label k is class k and that ignore one label."""
    return LabelCoding(num_classes, (ignore_label,))


def read_classes(
    source: Source,
    coding: LabelCoding,
    policy: FaultPolicy = STRICT,
    *,
    what: str = "label map",
) -> Optional[np.ndarray]:
    """Returns the class of every pixel of a label file.

    Args:
        source: path of the file, or its content.
        coding: what the values of the file mean.
        policy: gets a fault "missing", "unreadable", "map-form" or "label-value".
        what: for messages.

    Returns:
        (H, W) int32, `IGNORED` where a pixel carries no class; None if the policy lets a fault
        pass.
    """
    read = read_colours if coding.colours else read_label_map
    labels = read(source, policy, what=what)
    if labels is None:
        return None
    classes, unknown = coding.classes(labels)
    if unknown.size:
        message = f"the {what} {coding.fault_text(*np.unique(labels[unknown], return_counts=True))}"
        policy.report(Fault("label-value", message, file_name(source)))
        return None
    return classes


def read_truth(source: Source, *, coding: LabelCoding, ignore_label: int) -> np.ndarray:
    """Returns the class of every pixel of a label file, with one label for those of no class.

    Args:
        source: path of the file.
        coding: what the values of the file mean.
        ignore_label: what pixels without a class hold.

    Raises:
        FaultError: a fault of `read_classes`.
    """
    classes = read_classes(source, coding)
    classes[classes == IGNORED] = ignore_label
    return classes


def _look_up(values: np.ndarray, known: np.ndarray, meaning: np.ndarray) -> np.ndarray:
    """Returns the meaning of values, or `_UNKNOWN`; `known` is sorted."""
    if not known.size:
        return np.full(values.shape, _UNKNOWN, np.int32)
    position = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[position] == values, meaning[position], np.int32(_UNKNOWN))
