"""Groups that papers report: seen and unseen classes, and data sets that are one benchmark."""

from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

# What is measured for each class.
PER_CLASS = (
    "IoU",
    "ACC",
    "BoundaryIoU",
    "BoundaryIoU_detectron2",
    "min(IoU, B-Iou)",
    "AP",
    "PQ",
    "top1",
)
# Mean over classes, by the value of one class it is the mean of.
_MEANS = {"IoU": "mIoU", "BoundaryIoU": "mBoundaryIoU", "AP": "AP", "PQ": "PQ"}


def harmonic_mean(seen: float, unseen: float) -> float:
    """Returns 2 s u / (s + u); 0 where both are 0, NaN where one of them is NaN."""
    return 2 * seen * unseen / (seen + unseen) if seen + unseen != 0 else 0.0


def per_class(result: Mapping[str, float]) -> Dict[str, Dict[str, float]]:
    """Sorts out the entries of a flat result that belong to one class.

    Args:
        result: metric to value; those of a class are named "<metric>-<class>", with a metric of
            `PER_CLASS`.

    Returns:
        metric to class to value.
    """
    table: Dict[str, Dict[str, float]] = {}
    for key, value in result.items():
        metric = next((name for name in PER_CLASS if key.startswith(f"{name}-")), None)
        if metric is not None:
            table.setdefault(metric, {})[key[len(metric) + 1 :]] = value
    return table


def overall(result: Mapping[str, float]) -> Dict[str, float]:
    """Returns the entries of a flat result that do not belong to one class."""
    prefixes = tuple(f"{name}-" for name in PER_CLASS)
    return {key: value for key, value in result.items() if not key.startswith(prefixes)}


def seen_unseen(
    result: Mapping[str, float], classes: Sequence[str], seen: Sequence[int]
) -> Dict[str, float]:
    """Splits the means over classes into those of seen and of unseen classes.

    A class without a value (NaN: it does not occur in the truth) belongs to neither mean.

    Args:
        result: one task's flat result with the per-class entries "IoU-<class>", "AP-<class>", ...
        classes: the K class names.
        seen: indices of the seen ones.

    Returns:
        For IoU: "mIoU_seen", "mIoU_unseen" and "hIoU", their harmonic mean; likewise for AP and PQ
        where the result has them. NaN for a group without any class.

    Raises:
        ValueError: an index outside the classes, or a result of a class that is none of them.

    Example:
        >>> result = {"IoU-cat": 80.0, "IoU-dog": 40.0, "IoU-owl": 20.0}
        >>> seen_unseen(result, ("cat", "dog", "owl"), seen=[0])
        {'mIoU_seen': 80.0, 'mIoU_unseen': 30.0, 'hIoU': 43.63636363636363}
    """
    # A list of truth values, one a class, would be read as the indices 0 and 1.
    wrong = [i for i in seen if type(i) is bool or not isinstance(i, (int, np.integer))]
    wrong = wrong or [index for index in seen if not 0 <= index < len(classes)]
    if wrong:
        raise ValueError(
            f"seen class {wrong[0]!r} of {len(classes)} classes: expected indices, 0 to "
            f"{len(classes) - 1}"
        )
    seen_names, all_names = {classes[index] for index in seen}, set(classes)
    split: Dict[str, float] = {}
    for metric, values in per_class(result).items():
        if metric in _MEANS:
            strange = [name for name in values if name not in all_names]
            if strange:
                raise ValueError(
                    f"{metric} of '{strange[0]}', which is none of the {len(classes)} classes: "
                    "whether it was seen is not known"
                )
            mean = _MEANS[metric]
            of_seen = _mean([value for name, value in values.items() if name in seen_names])
            of_unseen = _mean([value for name, value in values.items() if name not in seen_names])
            split[f"{mean}_seen"], split[f"{mean}_unseen"] = of_seen, of_unseen
            split[f"h{metric}"] = harmonic_mean(of_seen, of_unseen)
    return split


def _mean(values: Sequence[float]) -> float:
    values = [value for value in values if not np.isnan(value)]
    return float(np.mean(values)) if values else float("nan")


def over_sets(
    results: Mapping[str, Mapping[str, Mapping[str, float]]],
    group_of: Mapping[str, Optional[str]],
) -> Dict[str, Dict[str, Dict[str, float]]]:
    """Sums up the data sets of each group, as SeginW does its 25: unweighted mean and median.

    Args:
        results: {data set: {task: {metric: value}}}.
        group_of: data set -> its group; None, or absent, = none.

    Returns:
        {"<group>, mean of <n> sets": {task: {metric: value}}, "<group>, median of <n> sets": ...}
        of the metrics that do not belong to one class. A metric that one of the sets lacks, or has
        as NaN, is NaN: a mean over fewer sets compares with nothing.
    """
    members: Dict[str, List[str]] = {}
    for name in results:
        if group_of.get(name) is not None:
            members.setdefault(group_of[name], []).append(name)
    summed: Dict[str, Dict[str, Dict[str, float]]] = {}
    for group, names in members.items():
        for how, average in (("mean", np.mean), ("median", np.median)):
            tasks = summed[f"{group}, {how} of {len(names)} sets"] = {}
            for task in dict.fromkeys(task for name in names for task in results[name]):
                rows = [overall(results[name].get(task, {})) for name in names]
                metrics = dict.fromkeys(metric for row in rows for metric in row)
                tasks[task] = {
                    metric: float(average([row.get(metric, np.nan) for row in rows]))
                    for metric in metrics
                }
    return summed
