"""SeenWords: which classes of a vocabulary a model was trained on, by their synonyms (FC-CLIP)."""

from typing import FrozenSet, Optional, Sequence

import torch
from torch import Tensor

from segplugins.data.catalog import dataset_metadata
from segplugins.structures import Vocabulary, get_vocabulary

from .ensemble import seen_classes


class SeenWords:
    """Says per class whether it shares a synonym with any class of the training.

    Vocabularies are read when the first image is answered, not when the model is built: a
    training needs none, and their files may be elsewhere.

    Args:
        names: of vocabularies or data sets that the model was trained on.
        check: refuse names of nothing at once, for those that a user gave.

    Raises:
        ValueError: with `check`, a name that is neither a vocabulary nor a data set with one.
    """

    def __init__(self, names: Sequence[str], check: bool = False):
        self.names = tuple(names)
        for name in self.names if check else ():
            _check(name)
        self._words: Optional[FrozenSet[str]] = None

    def of_vocabulary(self, vocabulary: Vocabulary, device: torch.device) -> Tensor:
        """Returns (K,) bool on the device.

        Raises:
            ValueError: a name that is neither a vocabulary nor a data set with one.
        """
        if self._words is None:
            groups = [group for name in self.names for group in _vocabulary(name).synonyms]
            self._words = frozenset(word for group in groups for word in group)
        flags = seen_classes(vocabulary.synonyms, [self._words])
        return torch.tensor(flags).to(device, non_blocking=True)


def _check(name: str) -> None:
    try:
        _vocabulary(name)
    except ValueError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def _vocabulary(name: str) -> Vocabulary:
    try:
        return get_vocabulary(name)
    except KeyError:
        pass
    try:
        vocabulary = dataset_metadata(name).vocabulary
    except (KeyError, FileNotFoundError) as error:
        raise ValueError(
            f"which classes were trained is not known: {error.args[-1]}; name their vocabularies "
            "as MODEL.UMG_CLIP.DENSE.SEEN"
        ) from error
    if vocabulary is None:
        raise ValueError(
            f"data set '{name}' has free texts and no list of classes; name the vocabularies "
            "that were trained as MODEL.UMG_CLIP.DENSE.SEEN"
        )
    return get_vocabulary(vocabulary)
