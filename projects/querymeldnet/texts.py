"""The texts of a batch, each distinct string encoded once.

B images, K texts of the image with most (others are padded), R distinct strings, D_t text width.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import PLACEHOLDER

# Tasks whose texts are sentences or phrases, which no template surrounds.
_PHRASES = (Task.REFERRING, Task.SALIENT)


class TextBatch(NamedTuple):
    """Texts of a batch.

    Args:
        embedding: (B, K, D_t).
        mask: (B, K) bool, True for real texts.
        counts: per image the number of texts of each class; ones where no class has synonyms.
        first: per image the place of the first equal text of each; None = all texts differ.
    """

    embedding: Tensor
    mask: Tensor
    counts: Tuple[Tuple[int, ...], ...]
    first: Tuple[Optional[Tuple[int, ...]], ...] = ()


def is_named(record: dict) -> bool:
    """Returns whether the texts of a record are class names, and not phrases."""
    return record.get("task") not in _PHRASES


def names_of(record: dict) -> List[str]:
    """Returns the texts of a training record: its own, or one word for each class.

    Raises:
        ValueError: it has neither a vocabulary nor a text.
    """
    if record.get("vocabulary") is None:
        texts = list(record.get("texts") or ())
        if not texts:
            raise ValueError(
                f"image {record.get('file_name', '?')} has neither a vocabulary nor texts: there "
                "is nothing to ask of it"
            )
        return texts
    synonyms = get_vocabulary(record["vocabulary"]).synonyms
    return [words[int(torch.randint(len(words), ()))] for words in synonyms]


def training_texts(records: Sequence[dict], classifier: VocabularyClassifier) -> TextBatch:
    """Returns the texts of a training batch; each class name in one random template.

    A text that an image has twice would be right and wrong for the same query: only its first place
    counts, the others are masked, see `TextBatch.first`.

    Args:
        records: B of them.
        classifier: its text encoder and templates.
    """
    prompts: List[List[str]] = []
    first: List[Optional[Tuple[int, ...]]] = []
    for record in records:
        names = names_of(record)
        first.append(first_places(names))
        if is_named(record):
            templates = classifier.templates
            draws = torch.randint(len(templates), (len(names),)).tolist()
            names = [templates[i].replace(PLACEHOLDER, name) for i, name in zip(draws, names)]
        else:
            names = [name.lower() for name in names]
        prompts.append(names)
    place: Dict[str, int] = {}
    rows = [[place.setdefault(text, len(place)) for text in texts] for texts in prompts]
    embedding = classifier.text_encoder.pooled(list(place))
    batch = _padded([embedding] * len(rows), rows)
    for mask, places in zip(batch.mask, first):
        if places is not None:
            repeated = [place for place, other in enumerate(places) if place != other]
            mask[repeated] = False
    return batch._replace(first=tuple(first))


def first_places(names: Sequence[str]) -> Optional[Tuple[int, ...]]:
    """Returns the place of the first text equal to each, in any case; None if all differ.

    >>> first_places(["a dog", "a cat", "A dog"])
    (0, 1, 0)
    """
    place: Dict[str, int] = {}
    places = tuple(place.setdefault(name.lower(), i) for i, name in enumerate(names))
    return None if len(place) == len(names) else places


def test_texts(records: Sequence[dict], classifier: VocabularyClassifier) -> TextBatch:
    """Returns the texts of a test batch, averaged over the templates; synonyms one by one.

    Args:
        records: B of them, with a "vocabulary" or "texts".
        classifier: embeds and remembers.
    """
    embeddings, counts = [], []
    for record in records:
        if record.get("vocabulary") is None:
            names = names_of(record)
            texts = names if is_named(record) else [name.lower() for name in names]
            embeddings.append(classifier.embed(texts))
            counts.append((1,) * len(texts))
        else:
            vocabulary = get_vocabulary(record["vocabulary"])
            embeddings.append(classifier.embed(vocabulary))
            counts.append(tuple(map(len, vocabulary.synonyms)))
    batch = _padded(embeddings, [list(range(len(e))) for e in embeddings])
    return batch._replace(counts=tuple(counts))


test_texts.__test__ = False  # no test, although pytest would take it for one


def _padded(embeddings: Sequence[Tensor], rows: Sequence[Sequence[int]]) -> TextBatch:
    """Returns the rows of each image's embeddings, padded to the longest list with its first."""
    longest = max(map(len, rows))
    index = torch.tensor([[*row, *[row[0]] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
    device = embeddings[0].device
    index, mask = index.to(device, non_blocking=True), mask.to(device, non_blocking=True)
    stacked = torch.stack(
        [embedding[rows_of_image] for embedding, rows_of_image in zip(embeddings, index)]
    )
    return TextBatch(stacked, mask, tuple((1,) * len(row) for row in rows))
