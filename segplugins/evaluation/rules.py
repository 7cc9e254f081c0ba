"""Metrics computed again from the sums over any choice of images: one function per rule."""

from typing import Any, Callable, Dict, Mapping

import numpy as np

from segplugins.evaluation.davis import davis_metrics
from segplugins.evaluation.image_statistics import ImageStatistics
from segplugins.evaluation.panoptic_quality import grouped_quality
from segplugins.evaluation.ref_davis import ref_davis_metrics
from segplugins.evaluation.referring_scores import generalised_metrics, referring_metrics
from segplugins.evaluation.saliency import saliency_metrics
from segplugins.evaluation.semantic_scores import mean_metrics
from segplugins.evaluation.zero_shot_scores import classification_metrics, retrieval_metrics

Facts = Mapping[str, Any]


def _semantic(sums: np.ndarray, facts: Facts) -> Dict[str, float]:
    return mean_metrics(sums.reshape(3, -1), facts["background"])


def _panoptic(sums: np.ndarray, facts: Facts) -> Dict[str, float]:
    return grouped_quality(sums.reshape(4, -1).T, np.array(facts["is_thing"], bool))


def _ref_davis(sums: np.ndarray, facts: Facts) -> Dict[str, float]:
    return ref_davis_metrics(sums, facts["runs"])


def _without_facts(metrics: Callable[[np.ndarray], Dict[str, float]]) -> Callable[..., Any]:
    return lambda sums, facts: metrics(sums)


# Name of a rule to its function of (sums (S,), facts).
RULES: Dict[str, Callable[[np.ndarray, Facts], Dict[str, float]]] = {
    "semantic": _semantic,
    "panoptic": _panoptic,
    "referring": _without_facts(referring_metrics),
    "generalised_referring": _without_facts(generalised_metrics),
    "salient": _without_facts(saliency_metrics),
    "video": _without_facts(davis_metrics),
    "ref_davis": _ref_davis,
    "classification": _without_facts(classification_metrics),
    "retrieval": _without_facts(retrieval_metrics),
}


def metrics_of(statistics: ImageStatistics, sums: np.ndarray) -> Dict[str, float]:
    """Returns the metrics that follow from sums (S,) over samples.

    Raises:
        ValueError: the statistics follow a rule that is not known, or do not fit it.
    """
    rule = RULES.get(statistics.rule)
    if rule is None:
        raise ValueError(
            f"statistics of '{statistics.task}' follow the rule '{statistics.rule}'; known are "
            f"{sorted(RULES)}: they are of another version"
        )
    try:
        return rule(sums, statistics.facts)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"statistics of '{statistics.task}' are incomplete: {error}") from error
