"""Compares two runs image by image: differences of metrics, with intervals, and of protocols."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np
from tabulate import tabulate

from segplugins.evaluation.groups import overall
from segplugins.evaluation.image_statistics import ImageStatistics, read_statistics
from segplugins.evaluation.intervals import RESAMPLES, SEED, interval, resampled_metrics


@dataclass(frozen=True)
class Difference:
    """One metric of two runs.

    Args:
        dataset: the data set.
        task: its task.
        metric: name of the metric.
        first: value of the first run, None for NaN.
        second: value of the second run.
        bounds: 95 % interval of second - first over the choice of images, the same images for both
            runs; None where no statistics of images are kept (AP).
        p_value: two-sided, how easily such a difference comes from the choice of images.
    """

    dataset: str
    task: str
    metric: str
    first: Optional[float]
    second: Optional[float]
    bounds: Optional[Tuple[float, float]] = None
    p_value: Optional[float] = None


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Args:
        differences: of all metrics but those of single classes.
        protocol: data set, entry, value of the first and of the second run, where they differ.
    """

    differences: List[Difference]
    protocol: List[Tuple[str, str, Any, Any]]


def compare_results(
    first: Union[str, Path],
    second: Union[str, Path],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compares two files results.json, with the statistics of images that lie beside them.

    Args:
        first: results.json of a run, or its folder.
        second: of another run on the same data sets.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is no result file, or the runs measured different data sets, tasks,
            classes or images, which cannot be compared.
    """
    files = [_result_file(path) for path in (first, second)]
    folders = [file.parent for file in files]
    runs = [_read(file) for file in files]
    _check_alike("data sets", "the runs", *(run["results"] for run in runs))
    differences: List[Difference] = []
    protocol: List[Tuple[str, str, Any, Any]] = []
    for dataset in runs[0]["results"]:
        tasks = [run["results"][dataset] for run in runs]
        _check_alike("tasks", f"'{dataset}'", *tasks)
        protocols = [run["protocol"].get(dataset, {}) for run in runs]
        classes = [of.get("classes") or () for of in protocols]
        _check_alike("classes", f"'{dataset}'", *classes)
        protocol += [(dataset, *entry) for entry in _protocol_differences(*protocols)]
        statistics = [read_statistics(folder / "inference" / dataset) for folder in folders]
        for task in tasks[0]:
            pair = [of.get(task) for of in statistics]
            samples = _resampled(dataset, task, pair, resamples, seed)
            rows = [overall(of[task]) for of in tasks]
            differences += [
                _difference(dataset, task, metric, rows, samples)
                for metric in rows[0]
                if metric in rows[1]
            ]
    return Comparison(differences, protocol)


def _result_file(path: Union[str, Path]) -> Path:
    """Returns the result file that a path names, or that lies in the folder that it names."""
    path = Path(path)
    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        where = "in that folder" if path.is_dir() else "of that name"
        raise FileNotFoundError(
            f"no results to compare at '{path}': there is no {file.name} {where}; name the folder "
            "of an evaluation, or the results.json that it has left"
        )
    return file


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable: {error}") from error
    parts = [content.get(key) for key in ("results", "protocol")] if _is_map(content) else [None]
    tasks = [of for part in parts[:1] if _is_map(part) for of in part.values()]
    scores = [of for task in tasks if _is_map(task) for of in task.values()]
    if not all(_is_map(value) for value in (*parts, *tasks, *scores)):
        raise ValueError(
            f"{path} is no result file: expected 'results' and 'protocol' by data set, as "
            "tools/eval.py writes them"
        )
    return content


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _check_alike(what: str, owner: str, first: Any, second: Any) -> None:
    """Raises ValueError, in one line, where two runs do not name the same things."""
    only_first = [name for name in first if name not in second]
    only_second = [name for name in second if name not in first]
    if only_first or only_second:
        raise ValueError(
            f"{owner} cannot be compared, the {what} differ: {_some(only_first)} only in the "
            f"first, {_some(only_second)} only in the second"
        )


def _some(names: List[Any]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return (shown + f" and {len(names) - 3} more" if len(names) > 3 else shown) or "none"


def _resampled(
    dataset: str,
    task: str,
    pair: List[Optional[ImageStatistics]],
    resamples: int,
    seed: int,
) -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
    """Returns metric to (B,) values of both runs; {} where a run kept no statistics."""
    if any(of is None for of in pair):
        return {}
    first, second = pair
    if first.samples != second.samples:
        _check_alike("images", f"'{dataset}', {task}", first.samples, second.samples)
        raise ValueError(f"'{dataset}', {task} cannot be compared: the images are in another order")
    if first.rule != second.rule:
        raise ValueError(
            f"'{dataset}', {task} cannot be compared: scored by '{first.rule}' and by "
            f"'{second.rule}'"
        )
    values = [resampled_metrics(of, resamples=resamples, seed=seed) for of in pair]
    return {name: (values[0][name], values[1][name]) for name in values[0] if name in values[1]}


def _difference(
    dataset: str,
    task: str,
    metric: str,
    rows: List[Mapping[str, Optional[float]]],
    samples: Mapping[str, Tuple[np.ndarray, np.ndarray]],
) -> Difference:
    values = rows[0][metric], rows[1][metric]
    if metric not in samples:
        return Difference(dataset, task, metric, *values)
    changes = samples[metric][1] - samples[metric][0]
    changes = changes[~np.isnan(changes)]
    p_value = None
    if changes.size:
        tail = min(np.count_nonzero(changes <= 0), np.count_nonzero(changes >= 0))
        p_value = min(1.0, 2 * (tail + 1) / (changes.size + 1))
    return Difference(dataset, task, metric, *values, interval(changes), p_value)


def _protocol_differences(first: Any, second: Any, name: str = "") -> Iterator[Tuple]:
    """Yields (entry, first value, second value) wherever two protocols differ."""
    if _is_map(first) and _is_map(second):
        for key in dict.fromkeys([*first, *second]):
            below = f"{name}.{key}" if name else str(key)
            yield from _protocol_differences(first.get(key), second.get(key), below)
    elif first != second:
        yield name, first, second


def comparison_table(comparison: Comparison) -> str:
    """Returns the comparison as lines of text for the console."""
    rows = [
        [
            difference.dataset,
            difference.task,
            difference.metric,
            _number(difference.first),
            _number(difference.second),
            _change(difference),
            _bounds(difference.bounds),
            "-" if difference.p_value is None else f"{difference.p_value:.3f}",
        ]
        for difference in comparison.differences
    ]
    headers = ["data set", "task", "metric", "first", "second", "change", "95 %", "p"]
    lines = [tabulate(rows, headers, "simple", disable_numparse=True), ""]
    if not comparison.protocol:
        return "\n".join([*lines, "The protocols are the same."])
    lines.append("The protocols differ:")
    lines += [
        f"  {dataset}: {entry}: {_short(one)} -> {_short(other)}"
        for dataset, entry, one, other in comparison.protocol
    ]
    return "\n".join(lines)


def _number(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.2f}"


def _change(difference: Difference) -> str:
    if difference.first is None or difference.second is None:
        return "-"
    return f"{difference.second - difference.first:+.2f}"


def _bounds(bounds: Optional[Tuple[float, float]]) -> str:
    if bounds is None or np.isnan(bounds[0]):
        return "-"
    return f"{bounds[0]:+.2f} to {bounds[1]:+.2f}"


def _short(value: Any, most: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= most else text[: most - 3] + "..."
