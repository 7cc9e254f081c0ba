"""Clusters of concepts, and the draw of one concept of each at every step (CoCu, Sec. 3.3).

M concepts, K clusters, D width of CLIP's space, B archives, S starts.
"""

import warnings
from typing import List, Sequence, Tuple

import numpy as np
from scipy.cluster.vq import kmeans2

_ITERATIONS = 50
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


def cluster_archives(
    embeddings: np.ndarray,
    members: np.ndarray,
    clusters: int,
    generator: np.random.Generator,
    *,
    starts: int = _STARTS,
) -> np.ndarray:
    """Returns (B, M) cluster of each member of many archives, as `cluster_concepts` of each.

    K-means needs the products of the members alone: distances to a centre are sums of them. So all
    archives and all starts move together, on (M, M) matrices instead of M vectors of width D.
    Clusters are numbered by their first member.

    Args:
        embeddings: (V, D) of the vocabulary, unit rows.
        members: (B, M) concepts of each archive, then -1 to its end.
        clusters: K.
        generator: of the starts.
        starts: the one with the lowest inertia counts.

    Returns:
        int64, -1 where there is no member.
    """
    batch, width = members.shape
    valid = members >= 0
    rows = np.asarray(embeddings, np.float32)[members]
    products = (rows @ rows.transpose(0, 2, 1)).astype(np.float64)
    labels = _first_labels(products, valid, clusters, generator, starts)
    for _ in range(_ITERATIONS):
        moved, inertia = _nearest(products, labels, valid, clusters)
        if np.array_equal(moved, labels):
            break
        labels = moved
    best = labels[np.arange(batch), inertia.argmin(axis=1)]
    few = valid.sum(axis=1) <= clusters
    best[few] = np.arange(width)
    return np.where(valid, _by_first_member(best, valid, max(clusters, width)), -1)


def _first_labels(
    products: np.ndarray,
    valid: np.ndarray,
    clusters: int,
    generator: np.random.Generator,
    starts: int,
) -> np.ndarray:
    """Returns (B, S, M): the nearest of K members drawn as k-means++ draws them."""
    batch, width = valid.shape
    squares = np.einsum("bmm->bm", products)
    distances = np.maximum(squares[:, :, None] + squares[:, None] - 2 * products, 0.0)
    nearest = np.full((batch, starts, width), np.inf)
    labels = np.zeros((batch, starts, width), np.int64)
    weights = np.broadcast_to(valid[:, None].astype(np.float64), nearest.shape)
    for cluster in range(clusters):
        sums = weights.cumsum(axis=2)
        draw = generator.random((batch, starts, 1)) * sums[..., -1:]
        centre = np.minimum((sums <= draw).sum(axis=2), width - 1)
        distance = distances[np.arange(batch)[:, None], centre]
        closer = distance < nearest
        labels[closer] = cluster
        nearest = np.minimum(nearest, distance)
        weights = np.where(valid[:, None], nearest, 0.0)
    return labels


def _nearest(
    products: np.ndarray, labels: np.ndarray, valid: np.ndarray, clusters: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (B, S, M) nearest mean of the present clusters, and (B, S) the inertia with it."""
    batch, starts, width = labels.shape
    held = (labels[..., None] == np.arange(clusters)) & valid[:, None, :, None]
    held = held.astype(np.float64)
    count = held.sum(axis=2)  # (B, S, K)
    flat = held.transpose(0, 2, 1, 3).reshape(batch, width, starts * clusters)
    to_sum = (products @ flat).reshape(batch, width, starts, clusters).transpose(0, 2, 1, 3)
    size = np.maximum(count, 1.0)
    length = (held * to_sum).sum(axis=2) / size**2
    distance = length[:, :, None] - 2 * to_sum / size[:, :, None]
    distance = np.where(count[:, :, None] > 0, distance, np.inf)
    squares = np.einsum("bmm->bm", products)[:, None]
    inertia = np.where(valid[:, None], distance.min(axis=3) + squares, 0.0).sum(axis=2)
    return distance.argmin(axis=3), inertia


def _by_first_member(labels: np.ndarray, valid: np.ndarray, clusters: int) -> np.ndarray:
    """Returns (B, M) with clusters numbered in the order of their first members."""
    batch, width = labels.shape
    first = np.full((batch, clusters), width)
    for place in reversed(range(width)):
        rows = np.flatnonzero(valid[:, place])
        first[rows, labels[rows, place]] = place
    rank = first.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return rank[np.arange(batch)[:, None], labels]


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
