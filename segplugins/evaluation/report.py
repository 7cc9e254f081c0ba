"""The page of a run: tables, curves, classes, confusions, pictures. It needs no other file."""

import base64
import hashlib
from functools import cache
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from segplugins.evaluation.groups import overall, per_class
from segplugins.evaluation.report_curves import curves_drawing
from segplugins.evaluation.report_tables import (
    Interval,
    classes_table,
    confusions_table,
    metrics_table,
    swatch,
)
from segplugins.evaluation.run_facts import RunFacts
from segplugins.pictures.page import page_style

_SHOWN = ("Image", "Truth", "Prediction")
_EMPTY: Mapping = MappingProxyType({})


def report_page(
    results: Mapping[str, Mapping[str, Mapping[str, float]]],
    protocol: Mapping[str, Mapping[str, Any]],
    details: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Mapping[str, Mapping[str, float]]] = _EMPTY,
    *,
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]] = _EMPTY,
    run: Optional[RunFacts] = None,
) -> str:
    """Returns the page.

    Args:
        results: {data set: {task: {metric: value}}}.
        protocol: by data set, see `describe_protocol`.
        details: by data set, see `read_details`.
        groups: means over several data sets, see `over_sets`; they stand in the summary.
        intervals: {data set: {task: {metric: (low, high)}}}, as far as there are any.
        run: date, command, config and curves; None = not known.

    Returns:
        HTML with everything in it. Nothing is loaded from elsewhere, and no script runs but the one
        that sorts tables: the page names its hash to the browser.
    """
    run = run or RunFacts()
    first = next(iter(protocol.values()), {})
    architecture = first.get("model", {}).get("architecture", "Evaluation")
    drawings = [f"<div>{curves_drawing(*panel)}</div>" for panel in run.curves.items()]
    # Curves of one data set stand beside its classes, those of several above them.
    single = len(results) == 1
    sections = [
        _section(
            f"set-{number}",
            name,
            [
                _task(name, task, result, intervals.get(name, {}).get(task, {}))
                for task, result in tasks.items()
            ],
            protocol[name],
            details.get(name, {}),
            drawings if single else (),
        )
        for number, (name, tasks) in enumerate(results.items())
    ]
    title = f"{architecture} on {', '.join(results)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{_policy()}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{page_style()}</style></head>\n<body><main>"
        f"<h1>{escape(architecture)}</h1>{_facts(first.get('checkpoint', {}), run)}"
        f"{_contents(list(results))}{'' if single else _training(drawings)}"
        f"{_summary({**results, **groups})}"
        f"{''.join(sections)}{_config(run)}</main>"
        f"<script>{_file('report.js')}</script></body></html>\n"
    )


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _policy() -> str:
    """What the browser may do: our script, pictures inside the page, nothing else."""
    digest = hashlib.sha256(_file("report.js").encode()).digest()
    script = f"'sha256-{base64.b64encode(digest).decode()}'"
    rules = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {script}"
    return f'<meta http-equiv="Content-Security-Policy" content="{rules}">'


def _facts(checkpoint: Mapping[str, Any], run: RunFacts) -> str:
    weights = escape(checkpoint.get("file") or "random weights")
    if checkpoint.get("sha256"):
        weights += f" · sha256 {checkpoint['sha256'][:12]}…"
    facts = {"Weights": weights, "Date": escape(run.date)}
    facts["Command"] = f"<code>{escape(run.command)}</code>" if run.command else ""
    rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items() if text)
    return f'<dl class="facts">{rows}</dl>'


def _contents(names: Sequence[str]) -> str:
    links = "".join(f'<a href="#set-{i}">{escape(name)}</a>' for i, name in enumerate(names))
    return f"<nav>{links}</nav>" if len(names) > 1 else ""


def _training(drawings: Sequence[str]) -> str:
    if not drawings:
        return ""
    return f'<section><h2>Training</h2><div class="split">{"".join(drawings)}</div></section>'


def _config(run: RunFacts) -> str:
    if run.config is None:
        return ""
    return (
        "<section><h2>Config</h2><details><summary>config.yaml</summary>"
        f"<pre>{escape(run.config)}</pre></details></section>"
    )


def _summary(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Of several data sets a table for each task that two of them have."""
    tasks: Dict[str, Dict[str, Mapping[str, float]]] = {}
    for name, measured in results.items():
        for task, result in measured.items():
            tasks.setdefault(task, {})[name] = overall(result)
    tables = [
        f"<h3>{escape(task)}</h3>{metrics_table(rows, {})}"
        for task, rows in tasks.items()
        if len(rows) > 1
    ]
    return f"<section><h2>Summary</h2>{''.join(tables)}</section>" if tables else ""


def _task(
    dataset: str, task: str, result: Mapping[str, float], intervals: Mapping[str, Interval]
) -> Tuple[str, Mapping[str, Mapping[str, float]]]:
    """The table of a task's metrics, and what is measured of each class."""
    table = metrics_table({dataset: overall(result)}, {dataset: intervals})
    return f"<h3>{escape(task)}</h3>{table}", per_class(result)


def _section(
    identity: str,
    name: str,
    tasks: Sequence[Tuple[str, Mapping[str, Mapping[str, float]]]],
    protocol: Mapping[str, Any],
    details: Mapping[str, Any],
    drawings: Sequence[str],
) -> str:
    words = protocol.get("vocabulary") or {}
    parts = [f'<section id="{identity}"><h2>{escape(name)}</h2>']
    if words:
        parts.append(
            f"<p>answered with the vocabulary <b>{escape(words['name'])}</b>, {words['names']} "
            f"names, digest {escape(words['digest'])}</p>"
        )
    confusions = confusions_table(details.get("confused", ()))
    for number, (metrics, classes) in enumerate(tasks):
        left, right = metrics, ""
        if classes:
            table = classes_table(classes, protocol.get("seen"), f"{identity}-{number}")
            right = f"<h3>Classes</h3>{table}"
        if number == 0:
            left, right = left + "".join(drawings), right + confusions
        columns = f"<div>{left}</div><div>{right}</div>"
        parts.append(f'<div class="split uneven">{columns}</div>' if right else left)
    parts += [_gallery(which, details.get(which, ())) for which in ("worst", "best")]
    parts.append(_protocol(protocol))
    return "".join(parts) + "</section>"


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
    caption, images = picture["caption"], picture["images"]
    titles = _SHOWN if len(images) == len(_SHOWN) else ("Image",) * len(images)
    shown = "".join(
        f'<div><img src="{escape(source, quote=True)}" loading="lazy" '
        f'alt="{escape(f"{title}: {caption}", quote=True)}"><small>{title}</small></div>'
        for title, source in zip(titles, images)
    )
    legend = "".join(swatch(entry["colour"], entry["class"]) for entry in picture["legend"])
    return (
        f'<figure><div class="row">{shown}</div><figcaption>{escape(caption)}'
        f'<div class="key">{legend}</div></figcaption></figure>'
    )


def _protocol(protocol: Mapping[str, Any]) -> str:
    lines: List[str] = []
    _outline({key: value for key, value in protocol.items() if key != "classes"}, "", lines)
    text = escape("\n".join(lines))
    return f"<details><summary>Protocol</summary><pre>{text}</pre></details>"


def _outline(value: Mapping[str, Any], indent: str, lines: List[str]) -> None:
    """Appends nested mappings as indented lines."""
    for key, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            lines.append(f"{indent}{key}:")
            _outline(entry, indent + "  ", lines)
        else:
            shown = ", ".join(map(str, entry)) if isinstance(entry, (list, tuple)) else entry
            lines.append(f"{indent}{key}: {'–' if shown in (None, '') else shown}")
