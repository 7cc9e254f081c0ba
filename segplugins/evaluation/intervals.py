"""Intervals of metrics by the bootstrap: images drawn again, with replacement (Efron, 1979).

B resamples, N images, S summands of an image.
"""

from typing import Dict, Iterator, List, Tuple

import numpy as np

from segplugins.evaluation.image_statistics import ImageStatistics
from segplugins.evaluation.rules import metrics_of

RESAMPLES = 1000
SEED = 0
LEVEL = 95.0  # percent of the resamples inside an interval
# Counts of images held at once.
_CHUNK = 4_000_000


def image_draws(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields how often each image was drawn, (b, N) int64 each, B rows in all.

    The same numbers for the same arguments: two runs that share a seed share the images drawn.
    """
    generator = np.random.default_rng(seed)
    share = np.full(images, 1 / images) if images else np.zeros(0)
    rows = max(1, _CHUNK // max(images, 1))
    for start in range(0, resamples if images else 0, rows):
        yield generator.multinomial(images, share, size=min(rows, resamples - start))


def resampled_metrics(
    statistics: ImageStatistics, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Dict[str, np.ndarray]:
    """Returns each metric of every resample, (B,) float64; {} without an image."""
    rows: List[Dict[str, float]] = []
    for draws in image_draws(len(statistics.samples), resamples, seed):
        sums = draws.astype(np.float64) @ statistics.table
        rows.extend(metrics_of(statistics, row) for row in sums)
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def interval(values: np.ndarray, level: float = LEVEL) -> Tuple[float, float]:
    """Returns the lower and the upper bound of the middle `level` percent of values.

    Values that are NaN (a resample without any image that the metric needs) are left out; NaN where
    there is no other.
    """
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    tail = (100 - level) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap_intervals(
    statistics: ImageStatistics, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Dict[str, Tuple[float, float]]:
    """Returns the 95 % interval of each metric over the choice of images.

    Args:
        statistics: of one task.
        resamples: B.
        seed: of the draws.

    Example:
        >>> from segplugins.evaluation.image_statistics import dense_rows
        >>> from segplugins.evaluation.referring_scores import referring_sums
        >>> # Of 100 phrases half are found wholly, half not at all.
        >>> rows = referring_sums(np.array([[10, 10], [0, 10]] * 50))
        >>> names = tuple(f"phrase {i}" for i in range(100))
        >>> table = dense_rows(rows, rows.shape[1])
        >>> statistics = ImageStatistics("referring", "referring", names, table, {})
        >>> bootstrap_intervals(statistics)["mIoU"]
        (40.0, 60.0)
    """
    values = resampled_metrics(statistics, resamples=resamples, seed=seed)
    return {name: interval(of_metric) for name, of_metric in values.items()}
