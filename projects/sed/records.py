"""Reads the vocabulary and the labels from the records."""

from functools import lru_cache
from typing import Sequence, Tuple

import torch
from detectron2.structures import ImageList
from torch import Tensor

from segplugins.structures import Vocabulary
from segplugins.structures.vocabulary import record_vocabulary

NO_LABEL = -1  # of the pixels that padding adds


@lru_cache(maxsize=16)
def alphabetical(vocabulary: Vocabulary) -> Tuple[Vocabulary, Tuple[int, ...]]:
    """Returns the vocabulary with its classes sorted by name, and the former index of each."""
    order = sorted(range(len(vocabulary)), key=vocabulary.classes.__getitem__)
    return vocabulary.select(order), tuple(order)


def one_vocabulary(records: Sequence[dict]) -> Vocabulary:
    """Returns the vocabulary of all records.

    Raises:
        ValueError: they have different ones.
    """
    vocabularies = {record_vocabulary(record) for record in records}
    if len(vocabularies) > 1:
        raise ValueError(
            f"a training batch mixes the vocabularies {sorted(v.name for v in vocabularies)}, but "
            "classes are decoded together: set DATALOADER.ONE_SET_PER_BATCH True"
        )
    return vocabularies.pop()


def drawn_classes(labels: Tensor, classes: int, most: int) -> Tensor:
    """Draws the classes of a training step: all that the labels show, and others up to a number.

    Args:
        labels: (B, H, W) int64; values outside 0..classes-1 are no class.
        classes: T.
        most: of them; 0 = all.

    Returns:
        (N,) int64, in ascending order; N is above `most` only where more are shown.
    """
    if not 0 < most < classes:
        return torch.arange(classes, device=labels.device)
    # Shown classes first, then random ones; counts per class avoid waiting for `unique`.
    class_labels = labels[(labels >= 0) & (labels < classes)]
    shown = torch.bincount(class_labels, minlength=classes) > 0
    rank = shown + torch.rand(classes, device=labels.device)
    number = max(most, int(shown.sum()))
    return rank.topk(number).indices.sort().values


def relabelled(labels: Tensor, chosen: Tensor, classes: int) -> Tensor:
    """Returns (B, H, W) int64, places in `chosen` instead of classes; NO_LABEL for all else."""
    table = torch.full((classes + 1,), NO_LABEL, device=labels.device)
    table[chosen] = torch.arange(len(chosen), device=labels.device)
    return table[torch.where((labels >= 0) & (labels < classes), labels, classes)]


def batched_labels(records: Sequence[dict], images: ImageList, order: Tensor) -> Tensor:
    """Pads the records' labels like their images and counts classes in the decoder's order.

    Args:
        records: "sem_seg" (H, W) int64; values outside 0..K-1 are ignored pixels.
        images: the batch, for its sizes.
        order: (K,) int64, class i of the decoder is class order[i] of the vocabulary.

    Returns:
        (B, height, width) int64, NO_LABEL where there is none.

    Raises:
        ValueError: a label map is missing or has another size than its image.
    """
    height, width = images.tensor.shape[-2:]
    labels = torch.full((len(records), height, width), NO_LABEL, device=order.device)
    for row, record, size in zip(labels, records, images.image_sizes):
        if "sem_seg" not in record or tuple(record["sem_seg"].shape) != tuple(size):
            shape = tuple(record["sem_seg"].shape) if "sem_seg" in record else "none"
            raise ValueError(
                f"{record.get('file_name', 'a record')}: image of {tuple(size)} pixels with a "
                f"label map of {shape}; SED learns from label maps (INPUT.TARGETS ['sem_seg'])"
            )
        row[: size[0], : size[1]] = record["sem_seg"].to(labels.device, non_blocking=True)
    classes = len(order)
    is_class = (labels >= 0) & (labels < classes)
    return torch.where(is_class, order.argsort()[labels * is_class], NO_LABEL)
