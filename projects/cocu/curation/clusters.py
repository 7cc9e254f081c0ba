"""Clusters of concepts, and the draw of one concept of each at every step (CoCu, Sec. 3.3).

M concepts, K clusters, D width of CLIP's space.
"""

import warnings
from typing import List, Sequence

import numpy as np
from scipy.cluster.vq import kmeans2

_STARTS = 10  # a single start misses the best partition of one archive in four


def cluster_concepts(embeddings: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Returns (M,) cluster of each concept: k-means with the lowest inertia of ten starts.

    Args:
        embeddings: (M, D) unit rows.
        clusters: K; with M or fewer concepts each is its own cluster.
        seed: of the starts; the same seed gives the same clusters.
    """
    count = len(embeddings)
    if count <= clusters:
        return np.arange(count)
    rows = np.asarray(embeddings, np.float64)
    generator = np.random.default_rng(seed)
    best, lowest = np.zeros(count, np.int64), np.inf
    for _ in range(_STARTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty cluster: its inertia tells
            centres, labels = kmeans2(rows, clusters, minit="++", seed=generator, iter=50)
        inertia = ((rows - centres[labels]) ** 2).sum()
        if inertia < lowest:
            best, lowest = labels, inertia
    return best


def draw_probabilities(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns (M,) probability of each concept to be drawn from its cluster: softmax of the score.

    Args:
        scores: (M,).
        labels: (M,) cluster of each.
    """
    scores = np.asarray(scores, np.float64)
    highest = np.full(np.max(labels, initial=-1) + 1, -np.inf)
    np.maximum.at(highest, labels, scores)
    # Relative to the best of its own cluster: relative to the best of all, a far lower cluster
    # would have no probability left.
    weights = np.exp(scores - highest[labels])
    totals = np.bincount(labels, weights)
    return weights / totals[labels]


def draw_concepts(
    names: Sequence[str],
    scores: np.ndarray,
    labels: np.ndarray,
    generator: np.random.Generator,
) -> List[str]:
    """Returns one concept of each cluster, in the order of the clusters."""
    probability = draw_probabilities(scores, labels)
    drawn = []
    for cluster in np.unique(labels):
        members = np.flatnonzero(labels == cluster)
        drawn.append(names[generator.choice(members, p=probability[members])])
    return drawn
