"""Ranges of config keys: a value outside of its range ends the run at its start, by name.

A range is one of

    "[0, 1)"            a number; round brackets leave the end out, inf is no end
    "int [1, inf)"      whole numbers, where the type of the default does not say so
    "2 x (0, inf)"      a list of so many
    "pairs [0, inf)"    a list of [text, number]
    ("mean", "first")   one of these texts

and holds for each element of a list. None passes where it is the default.
"""

import math
import re
from difflib import get_close_matches
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Union

from detectron2.config import CfgNode

from segplugins.engine.read_config import ConfigError

Range = Union[str, Sequence[str]]

_NUMBER = r"-?inf|-?[\d.]+(?:e-?\d+)?"
_GRAMMAR = re.compile(
    rf"(?P<pairs>pairs )?(?:(?P<count>\d+) x )?(?P<whole>int )?"
    rf"(?P<interval>(?P<left>[\[(])(?P<low>{_NUMBER}), (?P<high>{_NUMBER})(?P<right>[\])]))"
)


class _Interval(NamedTuple):
    low: float
    high: float
    with_low: bool
    with_high: bool

    def holds(self, value: float) -> bool:
        above = value >= self.low if self.with_low else value > self.low
        below = value <= self.high if self.with_high else value < self.high
        return above and below  # false for NaN


def check_ranges(cfg: CfgNode, ranges: Mapping[str, Range], defaults: CfgNode) -> None:
    """Compares the values of a config with the ranges of their keys.

    Args:
        cfg: of a run.
        ranges: by dotted key.
        defaults: the config before any setting; None passes where it stands there.

    Raises:
        ConfigError: a value outside of its range; key, value and range are named.
    """
    for key, span in ranges.items():
        value = _value(cfg, key)
        if value is None and _value(defaults, key) is None:
            continue
        problem = out_of_range(value, span)
        if problem:
            raise ConfigError(f"{key} is {value!r}, expected {problem}")


def out_of_range(value: Any, span: Range) -> Optional[str]:
    """Returns what was expected instead of a value, or None if it lies in the range.

    Raises:
        ValueError: the range is none.
    """
    if not isinstance(span, str):
        return _not_among(value, span)
    match = _GRAMMAR.fullmatch(span)
    if match is None:
        raise ValueError(f"'{span}' is no range; see segplugins/engine/ranges.py")
    if match["pairs"]:
        if not isinstance(value, (list, tuple)) or not all(map(_is_pair, value)):
            return f"a list of [text, number], the number in {match['interval']}"
        value = [number for _, number in value]
    elements = list(value) if isinstance(value, (list, tuple)) else [value]
    wanted = ("whole numbers" if match["whole"] else "numbers") + f" in {match['interval']}"
    if match["count"]:
        wanted = f"{match['count']} {wanted}"
        if not isinstance(value, (list, tuple)) or len(elements) != int(match["count"]):
            return wanted
    interval = _Interval(
        float(match["low"]), float(match["high"]), match["left"] == "[", match["right"] == "]"
    )
    if all(_is_number(each, bool(match["whole"])) and interval.holds(each) for each in elements):
        return None
    if isinstance(value, (list, tuple)):
        return wanted
    return f"a {'whole ' if match['whole'] else ''}number in {match['interval']}"


def _not_among(value: Any, texts: Sequence[str]) -> Optional[str]:
    values: List[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    wrong = [each for each in values if each not in texts]
    if not wrong:
        return None
    nearest = get_close_matches(str(wrong[0]), texts, n=1)
    hint = f"; the nearest is '{nearest[0]}'" if nearest else ""
    return f"{'only ' if isinstance(value, (list, tuple)) else ''}one of {tuple(texts)}{hint}"


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not whole or isinstance(value, int) or (math.isfinite(value) and value == int(value))


def _value(cfg: CfgNode, key: str) -> Any:
    node: Any = cfg
    for part in key.split("."):
        node = node[part]
    return node
