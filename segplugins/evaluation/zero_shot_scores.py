"""Ranks, recalls and accuracies of zero-shot classification and retrieval.

K classes, N images, M captions, D embedding width.
"""

from typing import Callable, Dict, Tuple

import numpy as np
import torch
from torch import Tensor

RECALL_AT = (1, 5, 10)
# Similarities held at once.
_CHUNK = 4_000_000


def rank_of(scores: Tensor, index: Tensor) -> Tensor:
    """Returns how many entries of a row come before the one asked for.

    Higher scores come first, of equal ones the lower index: so a model that scores all alike is
    right by the share of index 0, not always.

    Args:
        scores: (B, K).
        index: (B,) int64.

    Returns:
        (B,) int64, 0 = first.
    """
    own = scores.gather(1, index[:, None])
    order = torch.arange(scores.shape[1], device=scores.device)
    before = (scores > own) | ((scores == own) & (order < index[:, None]))
    return before.sum(dim=1)


def classification_scores(ranks: np.ndarray, labels: np.ndarray) -> Dict[str, float]:
    """Sums up the ranks of the true classes.

    Args:
        ranks: (N,) int, 0 = the true class had the highest score.
        labels: (N,) int, the true classes.

    Returns:
        Percent: "top1", "top5", "mean_per_class" (top 1 of each class that occurs, averaged). NaN
        without an image.

    Example:
        >>> classification_scores(np.array([0, 0, 7]), np.array([4, 4, 9]))["mean_per_class"]
        50.0
    """
    _, labels = np.unique(labels, return_inverse=True)
    num_classes = int(labels.max(initial=-1)) + 1
    return classification_metrics(
        classification_sums(np.asarray(ranks), labels.reshape(-1), num_classes).sum(axis=0)
    )


def classification_sums(ranks: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns what `classification_metrics` needs the sums of.

    Returns:
        (N, 1 + 2 K): top 5 right, and per class the images right and the images.
    """
    table = np.zeros((len(ranks), 1 + 2 * num_classes))
    table[:, 0] = ranks < 5
    rows = np.arange(len(ranks))
    table[rows, 1 + labels] = ranks == 0
    table[rows, 1 + num_classes + labels] = 1
    return table


def classification_metrics(sums: np.ndarray) -> Dict[str, float]:
    """Returns `classification_scores` from the sums (1 + 2 K,) of `classification_sums`."""
    right, images = sums[1:].reshape(2, -1)
    total = images.sum()
    if not total:
        return dict.fromkeys(("top1", "top5", "mean_per_class"), float("nan"))
    occurs = images > 0
    return {
        "top1": 100 * float(right.sum() / total),
        "top5": 100 * float(sums[0] / total),
        "mean_per_class": 100 * float((right[occurs] / images[occurs]).mean()),
    }


def label_average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Returns the average precision of each label of a multi-label set.

    Args:
        scores: (N, K).
        targets: (N, K), nonzero = the image has the label.

    Returns:
        (K,) float64, fractions: mean over a label's images of the precision among all images that
        score at least as high. NaN where no image has the label. So equal scores count alike
        whatever the order of the images, as in scikit-learn's `average_precision_score`.
    """
    ordered, order = scores.sort(dim=0, descending=True)
    hits = (targets != 0).gather(0, order).double()
    places = torch.arange(len(scores), device=scores.device)[:, None].expand_as(order)
    # The last place of the same score.
    ends = places.clone()
    ends[:-1][ordered[:-1] == ordered[1:]] = len(scores)
    ends = ends.flip(0).cummin(dim=0).values.flip(0)
    precision = hits.cumsum(dim=0).gather(0, ends) / (ends + 1)
    return (precision * hits).sum(dim=0) / hits.sum(dim=0)


def unit_length(embeddings: Tensor) -> Tensor:
    """Returns embeddings (N, D) of any finite length, not 0, as float32 of length 1."""
    embeddings = embeddings.double()
    # By the largest entry first: the square of 1e200 is beyond what a float holds.
    embeddings = embeddings / embeddings.abs().amax(dim=-1, keepdim=True)
    return (embeddings / embeddings.norm(dim=-1, keepdim=True)).float()


def retrieval_ranks(
    image_embeddings: Tensor, text_embeddings: Tensor, image_of_text: Tensor
) -> Tuple[Tensor, Tensor]:
    """Ranks images for each caption, and captions for each image, by cosine.

    Args:
        image_embeddings: (N, D), any length.
        text_embeddings: (M, D), any length.
        image_of_text: (M,) int64, the image that each caption describes.

    Returns:
        (M,) rank of its image for each caption, (N,) rank of the best of its own captions for each
        image; 0 = first, M for an image without a caption. Similarities are held in chunks.
    """
    images, texts = unit_length(image_embeddings), unit_length(text_embeddings)
    image_of_text = image_of_text.to(texts.device)
    to_image = _chunked(texts, images, lambda rows, scores: rank_of(scores, image_of_text[rows]))
    to_text = _chunked(images, texts, lambda rows, scores: _best_own(scores, rows, image_of_text))
    return to_image, to_text


def _chunked(
    queries: Tensor, others: Tensor, ranks_of: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Ranks by `ranks_of(rows, scores of these queries)`, a bounded number of scores at a time."""
    size = max(1, _CHUNK // max(len(others), 1))
    ranks = [torch.zeros(0, dtype=torch.int64, device=queries.device)]
    for start in range(0, len(queries), size):
        rows = torch.arange(start, min(start + size, len(queries)), device=queries.device)
        ranks.append(ranks_of(rows, queries[rows] @ others.T))
    return torch.cat(ranks)


def _best_own(scores: Tensor, rows: Tensor, image_of_text: Tensor) -> Tensor:
    """Returns the rank of the highest caption (column) that belongs to each image (row)."""
    own = image_of_text == rows[:, None]
    best = torch.where(own, scores, scores.new_full((), -torch.inf)).max(dim=1)
    ranks = rank_of(scores, best.indices)
    return torch.where(own.any(dim=1), ranks, scores.shape[1])


def retrieval_scores(text_to_image: Tensor, image_to_text: Tensor) -> Dict[str, float]:
    """Returns percent: "T2I_R@k" and "I2T_R@k" for k = 1, 5, 10; NaN without a query.

    Args:
        text_to_image: (M,) ranks, see `retrieval_ranks`.
        image_to_text: (N,) ranks.
    """
    scores = {}
    for name, ranks in (("I2T", image_to_text), ("T2I", text_to_image)):
        for at in RECALL_AT:
            scores[f"{name}_R@{at}"] = 100 * float((ranks < at).double().mean())
    return scores


def retrieval_metrics(sums: np.ndarray) -> Dict[str, float]:
    """Returns `retrieval_scores` from sums (2, 4): queries and hits at 1, 5, 10 of I2T and T2I."""
    scores = {}
    for name, (queries, *hits) in zip(("I2T", "T2I"), sums.reshape(2, -1)):
        for at, hit in zip(RECALL_AT, hits):
            scores[f"{name}_R@{at}"] = 100 * float(hit / queries) if queries else float("nan")
    return scores
