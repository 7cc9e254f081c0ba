"""Registers image-text sets, and tells them from others."""

from typing import Any, Sequence, Union

from detectron2.data import MetadataCatalog

from segplugins.data.sources import PairSource, register_source
from segplugins.data.sources.pairs import KIND


def register_pairs(name: str, shards: Union[str, Sequence[str]], **keywords: Any) -> None:
    """Registers image-text shards as a training set; see `PairSource`.

    Args:
        name: of the data set.
        shards: paths or glob patterns relative to $DETECTRON2_DATASETS.
        keywords: the other fields of `PairSource`, and further metadata.

    Raises:
        ValueError: a value of another type; another data set has that name.
    """
    register_source(PairSource.of_keywords(name, {"shards": shards, **keywords}))


def is_pairs(names: Sequence[str]) -> bool:
    """Returns whether training sets hold image-text pairs.

    Raises:
        ValueError: some do and some do not; one loop cannot read both.
    """
    kinds = [MetadataCatalog.get(name).get("kind") == KIND for name in names]
    if any(kinds) and not all(kinds):
        raise ValueError(
            f"DATASETS.TRAIN mixes image-text pairs {[n for n, k in zip(names, kinds) if k]} with "
            f"others {[n for n, k in zip(names, kinds) if not k]}; train on one kind at a time"
        )
    return any(kinds)
