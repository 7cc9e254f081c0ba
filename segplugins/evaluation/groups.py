"""Seen and unseen classes: the split that open-vocabulary papers report."""

from typing import Dict, Mapping, Sequence

import numpy as np

# Mean over classes, by the value of one class it is the mean of.
_MEANS = {"IoU": "mIoU", "ACC": "mACC", "AP": "AP", "PQ": "PQ"}


def harmonic_mean(seen: float, unseen: float) -> float:
    """Returns 2 s u / (s + u); 0 where both are 0, NaN where one is not known."""
    return 2 * seen * unseen / (seen + unseen) if seen + unseen != 0 else 0.0


def per_class(result: Mapping[str, float], classes: Sequence[str]) -> Dict[str, Dict[str, float]]:
    """Sorts out the entries of a flat result that belong to one class.

    Args:
        result: metric to value, those of a class named "<metric>-<class>".
        classes: the class names.

    Returns:
        metric to class to value, in the order of the classes.
    """
    known = set(classes)
    table: Dict[str, Dict[str, float]] = {}
    for key, value in result.items():
        cuts = (cut for cut, letter in enumerate(key) if letter == "-" and key[cut + 1 :] in known)
        cut = next(cuts, None)
        if cut is not None:
            table.setdefault(key[:cut], {})[key[cut + 1 :]] = value
    order = {name: position for position, name in enumerate(classes)}
    return {
        metric: dict(sorted(values.items(), key=lambda entry: order[entry[0]]))
        for metric, values in table.items()
    }


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
        For IoU: "mIoU_seen", "mIoU_unseen" and "hIoU", their harmonic mean; likewise for ACC, AP
        and PQ where the result has them. NaN for a group without any class.

    Raises:
        ValueError: an index outside the classes.
    """
    wrong = [index for index in seen if not 0 <= index < len(classes)]
    if wrong:
        raise ValueError(f"seen class {wrong[0]} of {len(classes)} classes: expected 0 to K - 1")
    names = {classes[index] for index in seen}
    split: Dict[str, float] = {}
    for metric, values in per_class(result, classes).items():
        if metric in _MEANS:
            mean = _MEANS[metric]
            groups = [[], []]
            for name, value in values.items():
                if not np.isnan(value):
                    groups[name not in names].append(value)
            known, novel = (float(np.mean(group)) if group else float("nan") for group in groups)
            split[f"{mean}_seen"], split[f"{mean}_unseen"] = known, novel
            split[f"h{metric}"] = harmonic_mean(known, novel)
    return split
