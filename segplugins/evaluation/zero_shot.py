"""The evaluators of zero-shot classification and retrieval, by CLIP_benchmark's protocol.

K classes, N images, M captions, D embedding width.
"""

from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch
from detectron2.data import MetadataCatalog

from segplugins.evaluation.image_statistics import ImageStatistics, dense_rows
from segplugins.evaluation.output_checks import check_finite, check_size, tensor_of
from segplugins.evaluation.sample_evaluator import SampleEvaluator
from segplugins.evaluation.sample_identity import describe
from segplugins.evaluation.zero_shot_scores import (
    RECALL_AT,
    classification_metrics,
    classification_sums,
    rank_of,
    retrieval_ranks,
    retrieval_scores,
    unit_length,
)
from segplugins.structures import get_vocabulary


class ClassificationEvaluator(SampleEvaluator):
    """Top-1, top-5 and mean per class accuracy.

    Reads of an output: "class_scores" (K,), one per class of the metadata's "vocabulary". Reads of
    a catalog record: "class_index".

    Args:
        dataset_name: registered in DatasetCatalog.
        distributed: gather over all processes.

    Raises:
        ValueError: later, scores that are missing, not finite or not one per class.

    Example:
        >>> register_vocabulary(Vocabulary("pets", ("cat", "dog")))
        >>> records = [{"file_name": "a.jpg", "class_index": 0}]
        >>> DatasetCatalog.register("pets", lambda: records)
        >>> metadata = MetadataCatalog.get("pets").set(vocabulary="pets")
        >>> evaluator = ClassificationEvaluator("pets")
        >>> evaluator.process(records, [{"class_scores": torch.tensor([0.2, 0.8])}])
        >>> evaluator.evaluate()["classification"]
        {'top1': 0.0, 'top5': 100.0, 'mean_per_class': 0.0, 'top1-cat': 0.0}
    """

    task = "classification"
    reads = frozenset({"class_scores"})
    required = ("class_index",)

    def __init__(self, dataset_name: str, *, distributed: bool = True):
        super().__init__(dataset_name, distributed=distributed)
        self._classes = get_vocabulary(MetadataCatalog.get(dataset_name).vocabulary).classes
        for record in self._samples.records:
            label = record["class_index"]
            whole = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
            if not whole or not 0 <= label < len(self._classes):
                raise ValueError(
                    f"{describe(record)}: class_index {label!r}, expected "
                    f"0..{len(self._classes) - 1}"
                )

    def _measure(self, model_input: Mapping, record: dict, output: Mapping) -> Tuple[int, int]:
        scores = tensor_of(record, output, "class_scores")
        if scores.dtype == torch.bool:
            raise ValueError(f"{describe(record)}: class_scores are bool, expected numbers")
        check_size(record, "class_scores", scores.shape, (len(self._classes),))
        check_finite(record, "class_scores", scores)
        label = int(record["class_index"])
        return int(rank_of(scores[None], torch.tensor([label], device=scores.device))), label

    def _scores(self, rows: List[Tuple[int, int]]) -> Dict[str, float]:
        """Returns `classification_scores` and "top1-<name>" of each class that occurs.

        `sample_scores` then holds 100 for an image that was right, else 0.
        """
        ranks, labels = np.array(rows, np.int64).reshape(-1, 2).T
        self.sample_scores = (100.0 * (ranks == 0)).tolist()
        table = classification_sums(ranks, labels, len(self._classes))
        scores = classification_metrics(table.sum(axis=0))
        for label in np.unique(labels):
            right = ranks[labels == label] == 0
            scores[f"top1-{self._classes[label]}"] = 100 * float(right.mean())
        self.image_statistics = ImageStatistics(
            self.task,
            "classification",
            self._samples.names,
            dense_rows(table, table.shape[1]),
            {"classes": list(self._classes)},
        )
        return scores


class RetrievalEvaluator(SampleEvaluator):
    """R@1, R@5 and R@10 from images to captions and back.

    Reads of an output: "image_embedding" (D,) and "text_embeddings" (C, D), one per caption of the
    record; of any length but 0, they are normalised here. Reads of a catalog record: "captions",
    C texts; an image without one is never found by I2T.

    Args:
        dataset_name: registered in DatasetCatalog.
        distributed: gather over all processes. (The similarities are then computed on the first.)

    Raises:
        ValueError: later, embeddings that are missing, not finite, zero, of another width than
            those before, or not one per caption; names the image.

    Example:
        >>> records = [{"file_name": f"{i}.jpg", "captions": ["a text"]} for i in range(2)]
        >>> DatasetCatalog.register("captions", lambda: records)
        >>> evaluator = RetrievalEvaluator("captions")
        >>> images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> texts = torch.tensor([[[0.9, 0.1]], [[0.8, 0.2]]])  # both nearer to the first image
        >>> for record, image, text in zip(records, images, texts):
        ...     evaluator.process([record], [{"image_embedding": image, "text_embeddings": text}])
        >>> scores = evaluator.evaluate()["retrieval"]
        >>> {name: scores[name] for name in ("T2I_R@1", "I2T_R@1")}
        {'T2I_R@1': 50.0, 'I2T_R@1': 100.0}
    """

    task = "retrieval"
    reads = frozenset({"image_embedding", "text_embeddings"})
    required = ("captions",)

    def __init__(self, dataset_name: str, *, distributed: bool = True):
        super().__init__(dataset_name, distributed=distributed)
        self._width: Optional[int] = None
        for record in self._samples.records:
            if isinstance(record["captions"], str):
                raise ValueError(
                    f"{describe(record)}: captions must be a list of texts, got "
                    f"{record['captions']!r:.60}"
                )

    def reset(self) -> None:
        """Forgets all predictions."""
        super().reset()
        self._width = None

    def _measure(
        self, model_input: Mapping, record: dict, output: Mapping
    ) -> Tuple[np.ndarray, np.ndarray]:
        image = tensor_of(record, output, "image_embedding")
        texts = tensor_of(record, output, "text_embeddings")
        check_size(record, "image_embedding", image.shape, texts.shape[-1:])
        check_size(
            record, "text_embeddings", texts.shape, (len(record["captions"]), image.shape[0])
        )
        check_width(describe(record), len(image), self._width or len(image))
        for name, rows in (("image_embedding", image[None]), ("text_embeddings", texts)):
            check_finite(record, name, rows)
            if not bool((rows != 0).any(dim=1).all()):
                raise ValueError(f"{describe(record)}: {name} is zero, which has no direction")
        self._width = len(image)
        return unit_length(image[None])[0].cpu().numpy(), unit_length(texts).cpu().numpy()

    def _scores(self, rows: List[Tuple[np.ndarray, np.ndarray]]) -> Dict[str, float]:
        """Returns `retrieval_scores`.

        `sample_scores` then holds 100 for an image whose caption came first, else 0.
        """
        width = len(rows[0][0]) if rows else 1
        for name, row in zip(self._samples.names, rows):  # of other processes too
            check_width(name, len(row[0]), width)
        images = np.concatenate([np.zeros((0, width), np.float32), *(row[0][None] for row in rows)])
        texts = np.concatenate([np.zeros((0, width), np.float32), *(row[1] for row in rows)])
        image_of_text = np.repeat(np.arange(len(rows)), [len(row[1]) for row in rows])
        to_image, to_text = retrieval_ranks(
            torch.from_numpy(images), torch.from_numpy(texts), torch.from_numpy(image_of_text)
        )
        self.sample_scores = (100.0 * (to_text == 0)).tolist()
        table = np.zeros((len(rows), 2, 1 + len(RECALL_AT)))
        table[:, 0, 0] = 1
        np.add.at(table[:, 1, 0], image_of_text, 1)
        for column, at in enumerate(RECALL_AT, start=1):
            table[:, 0, column] = to_text.numpy() < at
            np.add.at(table[:, 1, column], image_of_text, to_image.numpy() < at)
        self.image_statistics = ImageStatistics(
            self.task,
            "retrieval",
            self._samples.names,
            dense_rows(table, 2 * (1 + len(RECALL_AT))),
            {},
        )
        return retrieval_scores(to_image, to_text)


def check_width(image: str, width: int, expected: int) -> None:
    """Raises ValueError where the embedding of an image has another width than the others."""
    if width != expected:
        raise ValueError(
            f"{image}: image_embedding has {width} numbers, that of other images {expected}"
        )
