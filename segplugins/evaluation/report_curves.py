"""Curves of the page of a run, as drawings inside it."""

import math
from html import escape
from typing import List, Mapping, Sequence, Tuple

from segplugins.evaluation.run_facts import Curve

_WIDTH, _HEIGHT = 480, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 24


def curves_drawing(title: str, curves: Mapping[str, Curve]) -> str:
    """Returns curves over one pair of axes with a key.

    Args:
        title: names the quantity.
        curves: name to (iterations, values), up to four.
    """
    places = [place for xs, _ in curves.values() for place in xs]
    values = [value for _, ys in curves.values() for value in ys]
    across, up = ticks(min(places), max(places), 5), ticks(min(values), max(values), 4)
    frame = (across[0], max(across[-1], max(places)), up[0], up[-1])
    grid = "".join(_level(value, frame) for value in up)
    grid += "".join(_mark(place, frame) for place in across)
    lines = "".join(
        _curve(curve, frame, number) for number, (_, curve) in enumerate(curves.items())
    )
    last = ", ".join(f"{name} {ys[-1]:.4g} at {xs[-1]:g}" for name, (xs, ys) in curves.items())
    key = "".join(
        f'<span><i class="s{number % 4}"></i>{escape(name)}</span>'
        for number, name in enumerate(curves)
    )
    label = escape(f"{title} over iterations; last: {last}", quote=True)
    return (
        f'<h3>{escape(title[:1].upper() + title[1:])}</h3><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{label}">{grid}{lines}</svg><p class="key">{key}</p>'
    )


def ticks(low: float, high: float, count: int) -> List[float]:
    """Returns about `count` round numbers from below `low` to above `high`."""
    span = high - low or abs(high) or 1.0
    rough = span / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * place for place in range(first, max(last, first + 1) + 1)]


def _curve(curve: Curve, frame: Sequence[float], number: int) -> str:
    points = [_point(x, y, frame) for x, y in zip(*curve)]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle class="s{number % 4}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points
    )
    line = f'<polyline class="curve s{number % 4}" points="{corners}"/>'
    return line + (dots if len(points) < 12 else "")


def _point(x: float, y: float, frame: Sequence[float]) -> Tuple[float, float]:
    left, right, bottom, top = frame
    across = (x - left) / (right - left or 1.0)
    up = (y - bottom) / (top - bottom or 1.0)
    return (
        _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
        _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
    )


def _level(value: float, frame: Sequence[float]) -> str:
    _, y = _point(frame[0], value, frame)
    return (
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    )


def _mark(place: float, frame: Sequence[float]) -> str:
    x, _ = _point(place, frame[2], frame)
    if x > _WIDTH - _RIGHT + 1:
        return ""
    anchor = "end" if x > _WIDTH - 30 else "middle"
    return f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{place:g}</text>'
