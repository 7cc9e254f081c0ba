"""The page of a run: tables, bars of the classes, confusions, pictures. It needs no other file."""

import math
from html import escape
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Sequence

from segplugins.evaluation.groups import overall, per_class

_SEEN, _UNSEEN = "#3b6fb6", "#d9822b"
_STYLE = """
:root { --ink: #22252a; --soft: #6b7280; --line: #e3e5e8; --paper: #fff; --page: #f6f6f4 }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink);
       font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 20px; margin: 0 0 4px }
h3 { font-size: 15px; margin: 28px 0 8px } p { margin: 4px 0; color: var(--soft) }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
          padding: 22px 26px; margin-top: 22px }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--line);
         white-space: nowrap }
th { color: var(--soft); font-weight: 500 } th:first-child, td:first-child { text-align: left }
td.name { text-align: left }
.bars { columns: 2 420px; column-gap: 36px }
.bar { break-inside: avoid; display: block; width: 100%; height: 20px }
.key span { white-space: nowrap; margin-right: 12px }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 5px;
         vertical-align: -1px }
.pictures { display: grid; gap: 18px }
figure { margin: 0 } figcaption { color: var(--soft); font-size: 13px; overflow-wrap: anywhere }
.row { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 6px }
.single { grid-template-columns: repeat(3, minmax(0, 1fr)) } .single .row { display: block }
.row img { width: 100%; border-radius: 4px; display: block; min-height: 40px; object-fit: cover }
details { margin-top: 22px } summary { cursor: pointer; color: var(--soft) }
pre { background: var(--page); padding: 14px; border-radius: 6px; overflow: auto;
      font-size: 12.5px }
"""
# Classes shown as bars with their names; of more, the best and the worst.
_MOST_BARS = 60


def report_page(
    results: Mapping[str, Mapping[str, Mapping[str, float]]],
    protocol: Mapping[str, Mapping[str, Any]],
    details: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Mapping[str, Mapping[str, float]]] = MappingProxyType({}),
) -> str:
    """Draws the page.

    Args:
        results: {data set: {task: {metric: value}}}.
        protocol: by data set, see `describe_protocol`.
        details: by data set, see `read_details`.
        groups: means over several data sets, see `over_sets`; they stand in the summary.

    Returns:
        HTML with everything in it: no script, no address.
    """
    first = next(iter(protocol.values()), {})
    model, checkpoint = first.get("model", {}), first.get("checkpoint", {})
    sections = [
        _section(name, tasks, protocol[name], details.get(name, {}))
        for name, tasks in results.items()
    ]
    title = f"{model.get('architecture', 'Evaluation')} on {', '.join(results)}"
    weights = checkpoint.get("file") or "random weights"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>"
        f"<h1>{escape(model.get('architecture', 'Evaluation'))}</h1>"
        f"<p>{escape(weights)}{_hash(checkpoint)}</p>"
        f"{_summary({**results, **groups})}{''.join(sections)}"
        "</main></body></html>\n"
    )


def _hash(checkpoint: Mapping[str, Any]) -> str:
    return f" · sha256 {checkpoint['sha256'][:12]}…" if checkpoint.get("sha256") else ""


def _summary(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Of several data sets a table for each task that two of them have."""
    tasks: Dict[str, Dict[str, Mapping[str, float]]] = {}
    for name, measured in results.items():
        for task, result in measured.items():
            tasks.setdefault(task, {})[name] = overall(result)
    tables = [
        f"<h3>{escape(task)}</h3>{_metrics(rows)}" for task, rows in tasks.items() if len(rows) > 1
    ]
    return f"<section><h2>Summary</h2>{''.join(tables)}</section>" if tables else ""


def _section(
    name: str,
    tasks: Mapping[str, Mapping[str, float]],
    protocol: Mapping[str, Any],
    details: Mapping[str, Any],
) -> str:
    words = protocol.get("vocabulary") or {}
    answer = f"answered with the vocabulary <b>{escape(words['name'])}</b>" if words else ""
    parts = [f"<section><h2>{escape(name)}</h2>"]
    if words:
        parts.append(f"<p>{answer}, {words['names']} names, digest {escape(words['digest'])}</p>")
    for task, result in tasks.items():
        parts.append(f"<h3>{escape(task)}</h3>{_metrics({name: overall(result)})}")
        for metric, values in per_class(result).items():
            if metric in ("IoU", "AP", "PQ", "top1"):
                parts.append(_classes(metric, values, protocol.get("seen")))
    parts.append(_confusions(details.get("confused", ())))
    for which in ("worst", "best"):
        parts.append(_gallery(which, details.get(which, ())))
    parts.append(_protocol(protocol))
    return "".join(parts) + "</section>"


def _metrics(rows: Mapping[str, Mapping[str, float]]) -> str:
    """A row per data set; its name is left out where there is one."""
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    names = len(rows) > 1
    head = "<th></th>" * names + "".join(f"<th>{escape(metric)}</th>" for metric in metrics)
    body = "".join(
        f"<tr>{f'<td>{escape(name)}</td>' * names}"
        + "".join(f"<td>{_number(row.get(metric, math.nan))}</td>" for metric in metrics)
        + "</tr>"
        for name, row in rows.items()
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _classes(metric: str, values: Mapping[str, float], seen: Any) -> str:
    """Bars of the classes that have a value, best first."""
    known = [(name, value) for name, value in values.items() if not math.isnan(value)]
    known.sort(key=lambda entry: -entry[1])
    absent = len(values) - len(known)
    note = f"{len(known)} classes" + (f", {absent} more without a value" if absent else "")
    shown = known
    if len(known) > _MOST_BARS:
        half = _MOST_BARS // 2
        shown = known[:half] + known[-half:]
        note += f"; the {half} best and the {half} worst have a name"
    key = ""
    if seen is not None:
        key = f'<p class="key">{_swatch(_SEEN, "seen")}{_swatch(_UNSEEN, "unseen")}</p>'
    bars = "".join(_bar(name, value, _colour(name, seen)) for name, value in shown)
    strip = _strip(known, seen) if len(known) > _MOST_BARS else ""
    return f'<h3>{metric} of each class</h3><p>{note}</p>{key}{strip}<div class="bars">{bars}</div>'


def _swatch(colour: str, text: str) -> str:
    return f'<span><i style="background:{colour}"></i>{escape(text)}</span>'


def _colour(name: str, seen: Any) -> str:
    return _SEEN if seen is None or name in seen else _UNSEEN


def _bar(name: str, value: float, colour: str) -> str:
    shown = name if len(name) <= 26 else name[:25] + "…"
    return (
        f'<svg class="bar" viewBox="0 0 420 20" role="img" preserveAspectRatio="xMinYMid meet">'
        f"<title>{escape(name)}: {value:.2f}</title>"
        f'<text x="0" y="14" font-size="12.5">{escape(shown)}</text>'
        f'<rect x="178" y="5" width="190" height="10" rx="2" fill="#eceef0"/>'
        f'<rect x="178" y="5" width="{1.9 * max(0.0, min(value, 100.0)):.1f}" height="10" rx="2" '
        f'fill="{colour}"/><text x="412" y="14" font-size="12.5" text-anchor="end">{value:.1f}'
        "</text></svg>"
    )


def _strip(known: Sequence[Any], seen: Any) -> str:
    """All classes as thin columns, best first; the pointer shows the name."""
    columns = "".join(
        f'<rect x="{i}" y="{100 - value:.1f}" width="1" height="{max(value, 0.3):.1f}" '
        f'fill="{_colour(name, seen)}"><title>{escape(name)}: {value:.2f}</title></rect>'
        for i, (name, value) in enumerate(known)
    )
    return (
        f'<svg viewBox="0 0 {len(known)} 100" preserveAspectRatio="none" role="img" '
        f'style="width:100%;height:120px;display:block;margin:8px 0 14px">{columns}</svg>'
    )


def _confusions(pairs: Sequence[Mapping[str, Any]]) -> str:
    if not pairs:
        return ""
    rows = "".join(
        f'<tr><td>{escape(pair["truth"])}</td><td class="name">{escape(pair["prediction"])}</td>'
        f"<td>{100 * pair['share']:.1f} %</td><td>{pair['pixels']:,}</td></tr>"
        for pair in pairs
    )
    return (
        '<h3>Most confused</h3><div class="wide"><table><tr><th>truth</th>'
        '<th style="text-align:left">taken for</th><th>of the class</th><th>pixels</th></tr>'
        f"{rows}</table></div>"
    )


def _gallery(which: str, pictures: Sequence[Mapping[str, Any]]) -> str:
    if not pictures:
        return ""
    # One image a sample leaves room for three of them in a row.
    single = all(len(picture["images"]) == 1 for picture in pictures)
    figures = "".join(_figure(picture) for picture in pictures)
    return (
        f"<h3>{which.capitalize()} pictures</h3>"
        f'<div class="pictures{" single" * single}">{figures}</div>'
    )


def _figure(picture: Mapping[str, Any]) -> str:
    images = "".join(f'<img src="{source}" alt="">' for source in picture["images"])
    legend = "".join(_swatch(entry["colour"], entry["class"]) for entry in picture["legend"])
    return (
        f'<figure><div class="row">{images}</div><figcaption>{escape(picture["caption"])}'
        f'<div class="key">{legend}</div></figcaption></figure>'
    )


def _protocol(protocol: Mapping[str, Any]) -> str:
    lines: List[str] = []
    _outline({key: value for key, value in protocol.items() if key != "classes"}, "", lines)
    text = escape("\n".join(lines))
    return f"<details><summary>Protocol</summary><pre>{text}</pre></details>"


def _outline(value: Mapping[str, Any], indent: str, lines: List[str]) -> None:
    """Nested mappings as indented lines."""
    for key, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            lines.append(f"{indent}{key}:")
            _outline(entry, indent + "  ", lines)
        else:
            shown = ", ".join(map(str, entry)) if isinstance(entry, (list, tuple)) else entry
            lines.append(f"{indent}{key}: {'–' if shown in (None, '') else shown}")
