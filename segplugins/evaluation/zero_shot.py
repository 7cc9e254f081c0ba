"""Zero-shot classification and retrieval, by CLIP_benchmark's protocol.

K classes, N images, M captions, D embedding width.
"""

from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from segplugins.evaluation.samples import Samples, check_finite, check_size, describe, output_of
from segplugins.structures import get_vocabulary

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
    """
    if not len(ranks):
        return dict.fromkeys(("top1", "top5", "mean_per_class"), float("nan"))
    right = np.asarray(ranks) == 0
    _, of = np.unique(labels, return_inverse=True)
    per_class = np.bincount(of.reshape(-1), weights=right) / np.bincount(of.reshape(-1))
    return {
        "top1": 100 * float(right.mean()),
        "top5": 100 * float((np.asarray(ranks) < 5).mean()),
        "mean_per_class": 100 * float(per_class.mean()),
    }


def label_average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Returns the average precision of each label of a multi-label set.

    Args:
        scores: (N, K).
        targets: (N, K), nonzero = the image has the label.

    Returns:
        (K,) float64, fractions: mean over a label's images of the precision at each one's rank. NaN
        where no image has the label.
    """
    order = scores.argsort(dim=0, descending=True, stable=True)
    hits = (targets != 0).gather(0, order).double()
    ranks = torch.arange(1, len(scores) + 1, device=scores.device, dtype=torch.float64)
    precision = hits.cumsum(dim=0) / ranks[:, None]
    return (precision * hits).sum(dim=0) / hits.sum(dim=0)


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
    images = F.normalize(image_embeddings.float(), dim=-1)
    texts = F.normalize(text_embeddings.float(), dim=-1)
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


class ClassificationEvaluator(DatasetEvaluator):
    """Top-1, top-5 and mean per class accuracy.

    Reads of an output: "class_scores" (K,), one per class of the metadata's "vocabulary". Reads of
    a catalog record: "class_index".

    Args:
        dataset_name: registered in DatasetCatalog.
        distributed: gather over all processes.
    """

    reads = frozenset({"class_scores"})

    def __init__(self, dataset_name: str, *, distributed: bool = True):
        self._samples = Samples(dataset_name, distributed=distributed)
        self._classes = get_vocabulary(MetadataCatalog.get(dataset_name).vocabulary).classes
        self.sample_scores: List[float] = []

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Ranks the true class of each image; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            scores = torch.as_tensor(output_of(known, output, "class_scores"))
            check_size(known, "class_scores", scores.shape, (len(self._classes),))
            check_finite(known, "class_scores", scores)
            label = int(known["class_index"])
            if not 0 <= label < len(self._classes):
                raise ValueError(
                    f"{describe(known)}: class_index {label}, expected 0..{len(self._classes) - 1}"
                )
            rank = rank_of(scores[None], torch.tensor([label], device=scores.device))
            self._samples.add(record, (int(rank), label))

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"classification": scores in percent}; {} on all processes but the first.

        Beside `classification_scores` "top1-<name>" of each class that occurs. `sample_scores` then
        holds 100 for an image that was right, else 0.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        ranks, labels = np.array(rows, np.int64).reshape(-1, 2).T
        self.sample_scores = (100.0 * (ranks == 0)).tolist()
        scores = classification_scores(ranks, labels)
        for label in np.unique(labels):
            right = ranks[labels == label] == 0
            scores[f"top1-{self._classes[label]}"] = 100 * float(right.mean())
        return {"classification": scores}


class RetrievalEvaluator(DatasetEvaluator):
    """R@1, R@5 and R@10 from images to captions and back.

    Reads of an output: "image_embedding" (D,) and "text_embeddings" (C, D), one per caption of the
    record, C >= 1; of any length, they are normalised here. Reads of a catalog record: "captions",
    C texts.

    Args:
        dataset_name: registered in DatasetCatalog.
        distributed: gather over all processes. (The similarities are then computed on the first.)
    """

    reads = frozenset({"image_embedding", "text_embeddings"})

    def __init__(self, dataset_name: str, *, distributed: bool = True):
        self._samples = Samples(dataset_name, distributed=distributed)
        self.sample_scores: List[float] = []

    def reset(self) -> None:
        """Forgets all predictions."""
        self._samples.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Keeps the embeddings of each record; see the class for what is read."""
        for record, known, output in self._samples.pairs(inputs, outputs):
            image = torch.as_tensor(output_of(known, output, "image_embedding"))
            texts = torch.as_tensor(output_of(known, output, "text_embeddings"))
            check_size(known, "image_embedding", image.shape, texts.shape[-1:])
            expected = (len(known["captions"]), image.shape[0])
            check_size(known, "text_embeddings", texts.shape, expected)
            check_finite(known, "image_embedding", image)
            check_finite(known, "text_embeddings", texts)
            self._samples.add(record, (image.float().cpu().numpy(), texts.float().cpu().numpy()))

    def evaluate(self) -> Dict[str, Dict[str, float]]:
        """Returns: {"retrieval": see `retrieval_scores`}; {} on all processes but the first.

        `sample_scores` then holds 100 for an image whose caption came first, else 0.
        """
        rows = self._samples.gather()
        if rows is None:
            return {}
        width = len(rows[0][0]) if rows else 1
        images = np.concatenate([np.zeros((0, width), np.float32), *(row[0][None] for row in rows)])
        texts = np.concatenate([np.zeros((0, width), np.float32), *(row[1] for row in rows)])
        image_of_text = np.repeat(np.arange(len(rows)), [len(row[1]) for row in rows])
        to_image, to_text = retrieval_ranks(
            torch.from_numpy(images), torch.from_numpy(texts), torch.from_numpy(image_of_text)
        )
        self.sample_scores = (100.0 * (to_text == 0)).tolist()
        return {"retrieval": retrieval_scores(to_image, to_text)}
