"""What a run leaves behind: one result file, tables per class and per group, a page, a table."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from tabulate import tabulate

from segplugins.evaluation.details import read_details
from segplugins.evaluation.groups import over_sets, overall, per_class
from segplugins.evaluation.image_statistics import read_statistics
from segplugins.evaluation.intervals import bootstrap_intervals
from segplugins.evaluation.report import report_page
from segplugins.evaluation.run_facts import read_run_facts
from segplugins.files.write import write_text

Results = Mapping[str, Mapping[str, Mapping[str, float]]]
Protocols = Mapping[str, Mapping[str, Any]]

# Group of classes by what a metric's name ends in; those with h in front are harmonic means.
_GROUPS = {"_seen": "seen", "_unseen": "unseen", "_th": "things", "_st": "stuff"}
_FREQUENCIES = {"APr": "rare", "APc": "common", "APf": "frequent"}
_HARMONIC = {"hIoU": "mIoU", "hAP": "AP", "hPQ": "PQ"}


def write_results(
    output_dir: Union[str, Path], results: Mapping[str, Any], protocol: Protocols
) -> Path:
    """Writes what a run measured, over the files of an earlier run in that folder.

    - results.json: {"results": data set to task to metric to value, "intervals": the same with
      the 95 % interval [low, high] of metrics over all classes, "protocol": by data set, "groups":
      mean and median over the data sets of one benchmark, see `over_sets`}.
    - per_class.csv: a row per data set, task and class.
    - per_group.csv: a row per data set (and group of them), task, group of classes and metric.
    - report.html: all of it as a page that needs no other file, with the pictures that the
      evaluators left in inference/<data set>/. There too lie the statistics of each image, from
      which the intervals come and by which tools/compare.py compares two runs.

    Args:
        output_dir: the folder; made if need be.
        results: {data set: {task: {metric: value}}}, or of a single one {task: {metric: value}}.
            Percent where not said otherwise. NaN is written as null.
        protocol: `describe_protocol`.

    Returns:
        The path of results.json.

    Raises:
        ValueError: results and protocol are of different data sets.
    """
    results = _by_dataset(results, protocol)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    groups = over_sets(results, {name: of.get("group") for name, of in protocol.items()})
    intervals = {name: _intervals(folder / "inference" / name, results[name]) for name in results}
    written = {
        "results": results,
        "intervals": intervals,
        "groups": groups,
        "protocol": protocol,
    }
    details = {name: read_details(folder / "inference" / name) for name in results}
    files = {
        "per_class.csv": _csv(list(class_rows(results, protocol))),
        "per_group.csv": _csv(list(group_rows({**results, **groups}))),
        "report.html": report_page(
            results, protocol, details, groups, intervals=intervals, run=read_run_facts(folder)
        ),
        # Last: where it stands, the others do.
        "results.json": json.dumps(_without_nan(written), indent=1, allow_nan=False),
    }
    for name, text in files.items():
        write_text(folder / name, text)
    return folder / "results.json"


def _intervals(
    folder: Path, results: Mapping[str, Mapping[str, float]]
) -> Dict[str, Dict[str, Tuple[float, float]]]:
    """Returns task to metric to interval, of the tasks that left statistics of images."""
    return {
        task: {
            metric: bounds
            for metric, bounds in bootstrap_intervals(statistics).items()
            if metric in results[task]
        }
        for task, statistics in read_statistics(folder).items()
        if task in results
    }


def _by_dataset(results: Mapping[str, Any], protocol: Protocols) -> Results:
    if len(protocol) == 1 and set(results) != set(protocol):
        # detectron2 leaves the level of data sets out where there is one.
        return {next(iter(protocol)): results}
    if set(results) != set(protocol):
        raise ValueError(f"results of {sorted(results)}, but protocols of {sorted(protocol)}")
    return results


def class_rows(results: Results, protocol: Protocols) -> Iterator[Dict[str, Any]]:
    """Yields a row per data set, task and class: "dataset", "task", "class", "group", metrics."""
    for dataset, task, result in _tasks(results):
        seen = protocol[dataset].get("seen")
        table = per_class(result)
        for name in dict.fromkeys(name for values in table.values() for name in values):
            group = "" if seen is None else ("seen" if name in seen else "unseen")
            row = {"dataset": dataset, "task": task, "class": name, "group": group}
            yield {**row, **{metric: values.get(name) for metric, values in table.items()}}


def group_rows(results: Results) -> Iterator[Dict[str, Any]]:
    """Yields a row per data set, task, group of classes and metric."""
    for dataset, task, result in _tasks(results):
        for key, value in overall(result).items():
            group, metric = _group_of(key)
            row = {"dataset": dataset, "task": task, "group": group, "metric": metric}
            yield {**row, "value": value}


def _group_of(key: str) -> Tuple[str, str]:
    if key in _HARMONIC:
        return "harmonic mean of seen and unseen", _HARMONIC[key]
    if key in _FREQUENCIES:
        return _FREQUENCIES[key], "AP"
    for ending, group in _GROUPS.items():
        if key.endswith(ending):
            return group, key[: -len(ending)]
    return "all", key


def results_table(results: Results, group_of: Optional[Mapping[str, Optional[str]]] = None) -> str:
    """Draws results for the console: per task one table with a row per data set.

    Args:
        results: {data set: {task: {metric: value}}}.
        group_of: data set -> benchmark that it is part of; mean and median over each get a row.

    Returns:
        Lines of text. Metrics of single classes are left out; NaN is "-".
    """
    tables: Dict[str, Dict[str, Mapping[str, float]]] = {}
    for dataset, task, result in _tasks({**results, **over_sets(results, group_of or {})}):
        tables.setdefault(task, {})[dataset] = overall(result)
    texts = []
    for task, rows in tables.items():
        metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
        body = [[name, *(_shown(row.get(m)) for m in metrics)] for name, row in rows.items()]
        alignment = ("left", *["right"] * len(metrics))
        texts.append(
            tabulate(body, [task, *metrics], "simple", colalign=alignment, disable_numparse=True)
        )
    return "\n\n".join(texts)


def _tasks(results: Results) -> Iterator[Tuple[str, str, Mapping[str, float]]]:
    for dataset, tasks in results.items():
        for task, result in tasks.items():
            yield dataset, task, result


def _shown(value: Optional[float]) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _csv(rows: List[Dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_without_nan(rows))
    return buffer.getvalue()


def _without_nan(value: Any) -> Any:
    """NaN as None, at any depth: JSON has no other word for it, CSV an empty field."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
