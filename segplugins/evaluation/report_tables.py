"""Tables of the page of a run: metrics, classes, confusions. Every text is escaped."""

import math
from html import escape
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

Interval = Tuple[float, float]
_STRIP_FROM = 60  # classes


def metrics_table(
    rows: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Interval]],
) -> str:
    """Returns the metrics of one data set as a row each, of several as a column each.

    Args:
        rows: data set to metric to value.
        intervals: data set to metric to (low, high), where there are any.
    """
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    if len(rows) == 1:
        (name, row), *_ = rows.items()
        body = "".join(
            f"<tr><td>{escape(metric)}</td>{number_cell(row[metric])}"
            f"<td>{_interval(intervals.get(name, {}).get(metric))}</td></tr>"
            for metric in metrics
        )
        head = heading("metric") + heading("value", number=True) + "<th></th>"
        return _table(head, body)
    head = heading("data set") + "".join(heading(metric, number=True) for metric in metrics)
    body = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(number_cell(row.get(metric, math.nan)) for metric in metrics)
        + "</tr>"
        for name, row in rows.items()
    )
    return _table(head, body)


def classes_table(
    table: Mapping[str, Mapping[str, float]], seen: Optional[Collection[str]], identity: str
) -> str:
    """Returns every class with all that is measured of it, best first, and a search box.

    Args:
        table: metric to class to value; the first metric gets a bar.
        seen: names of the seen classes, None where there are no such groups.
        identity: of the table in the page.
    """
    metrics = list(table)
    names = list(dict.fromkeys(name for values in table.values() for name in values))
    first = table[metrics[0]]
    names.sort(key=lambda name: _falling(first.get(name, math.nan)))
    group = heading("group", kind="name group") if seen is not None else ""
    head = heading("class") + group
    head += "".join(heading(metric, number=True) for metric in metrics)
    body = "".join(_class_row(name, table, seen) for name in names)
    absent = sum(math.isnan(first.get(name, math.nan)) for name in names)
    note = f"{len(names)} classes" + (f", {absent} of them without a value" if absent else "")
    return (
        f"<p>{note}</p>{_key(seen)}{_strip(names, first, seen)}"
        f'<input type="search" placeholder="find a class" aria-label="find a class" hidden '
        f'aria-controls="{identity}"><div class="tall">'
        f'<table class="sortable" id="{identity}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def confusions_table(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Returns which classes are taken for which; "" where there are no pairs.

    Args:
        pairs: see `details.confused_pairs`.
    """
    if not pairs:
        return ""
    head = heading("truth") + heading("taken for", kind="name")
    head += heading("of the class", number=True) + heading("pixels", number=True)
    body = "".join(
        f'<tr><td>{escape(pair["truth"])}</td><td class="name">{escape(pair["prediction"])}</td>'
        f'<td data-value="{pair["share"]}">{100 * pair["share"]:.1f} %</td>'
        f'<td data-value="{pair["pixels"]}">{pair["pixels"]:,}</td></tr>'
        for pair in pairs
    )
    return f"<h3>Most confused</h3>{_table(head, body)}"


def heading(text: str, *, number: bool = False, kind: str = "") -> str:
    """Returns the heading of a column, of a CSS class, that sorts when it is pressed."""
    attributes = " data-number" * number + (f' class="{kind}"' if kind else "")
    return f'<th scope="col"{attributes}><button type="button">{escape(text)}</button></th>'


def number_cell(value: float) -> str:
    """Returns a cell with two digits behind the point, a dash for NaN."""
    shown = "–" if math.isnan(value) else f"{value:.2f}"
    return f'<td data-value="{value}">{shown}</td>'


def swatch(colour: str, text: str) -> str:
    """Returns a name behind a box of its colour; the colour is our own, "#rrggbb" or "var(--x)"."""
    return f'<span><i style="background:{escape(colour)}"></i>{escape(text)}</span>'


def _table(head: str, body: str) -> str:
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _interval(interval: Optional[Interval]) -> str:
    if interval is None:
        return ""
    return f"<small>{interval[0]:.2f} to {interval[1]:.2f}</small>"


def _class_row(
    name: str, table: Mapping[str, Mapping[str, float]], seen: Optional[Collection[str]]
) -> str:
    cells: List[str] = [f'<td class="name">{escape(name)}</td>']
    if seen is not None:
        cells.append(f'<td class="name group">{_group(name, seen)}</td>')
    for position, values in enumerate(table.values()):
        value = values.get(name, math.nan)
        cell = number_cell(value)
        if position == 0 and not math.isnan(value):
            share = min(max(value, 0.0), 100.0)
            meter = f'<span class="meter {_group(name, seen)}" style="--value:{share:.1f}%"></span>'
            cell = f'<td data-value="{value}">{meter}<b>{value:.2f}</b></td>'
        cells.append(cell)
    return f"<tr>{''.join(cells)}</tr>"


def _group(name: str, seen: Optional[Collection[str]]) -> str:
    return "seen" if seen is None or name in seen else "unseen"


def _key(seen: Optional[Collection[str]]) -> str:
    if seen is None:
        return ""
    swatches = swatch("var(--seen)", "seen") + swatch("var(--unseen)", "unseen")
    return f'<p class="key">{swatches}</p>'


def _strip(
    names: Sequence[str], values: Mapping[str, float], seen: Optional[Collection[str]]
) -> str:
    """Of many classes thin columns, best first, as an overview; the pointer shows the name."""
    measured: Dict[str, float] = {
        name: values[name] for name in names if not math.isnan(values.get(name, math.nan))
    }
    if len(measured) < _STRIP_FROM:
        return ""
    columns = "".join(
        f'<rect class="{_group(name, seen)}" x="{i}" y="{100 - value:.1f}" width="1" '
        f'height="{max(value, 0.3):.1f}"><title>{escape(name)}: {value:.2f}</title></rect>'
        for i, (name, value) in enumerate(measured.items())
    )
    return (
        f'<svg class="strip" viewBox="0 0 {len(measured)} 100" preserveAspectRatio="none" '
        f'role="img" aria-label="all classes, best first">{columns}</svg>'
    )


def _falling(value: float) -> float:
    """Sorts by falling values, NaN last."""
    return math.inf if math.isnan(value) else -value
