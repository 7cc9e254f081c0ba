"""The vocabulary of a curation, and a vector of each of its concepts.

V concepts, D width.
"""

import logging
from typing import Iterator, List, Sequence

import numpy as np

from segplugins.files.vocabularies import parse_vocabulary
from segplugins.structures.vocabulary import registered_vocabularies

from .archives import concepts_of
from .embed import read_samples
from .embedders import centred, with_constant
from .index import IndexFiles
from .nouns import build_tagged_vocabulary, load_tagger
from .options import ArchiveOptions
from .vocabulary import VocabularyRules, build_concept_vocabulary, warn_of_shared_names

logger = logging.getLogger(__name__)

PROMPT = "a photo of a {}"
# Vocabularies of the usual evaluations, whose names a vocabulary of concepts may hold.
EVALUATED = ("voc_20", "pascal_context_59", "coco_stuff_171", "ade20k_150", "drawn")


def index_captions(index: IndexFiles) -> Iterator[str]:
    """Yields the captions of the index."""
    for folder, name in index.shards:
        for sample in read_samples(folder, name):
            yield from sample["captions"]


def find_concepts(options: ArchiveOptions, index: IndexFiles) -> List[str]:
    """Returns the names of the concepts, and warns of names that evaluations ask for.

    Args:
        options: which vocabulary, or how it is built.
        index: its captions, from which it is built.

    Raises:
        ValueError: captions without any name.
    """
    if options.vocabulary:
        classes = parse_vocabulary(options.vocabulary).classes
        names = list(dict.fromkeys(" ".join(word.lower().split()) for word in classes))
    else:
        rules = VocabularyRules(options.vocabulary_size, options.min_count)
        captions = index_captions(index)
        if options.nouns == "rule":
            names = build_concept_vocabulary(captions, rules)
        else:
            names = build_tagged_vocabulary(captions, rules, load_tagger(options.nouns))
    logger.info("vocabulary of %d concepts: %s ...", len(names), ", ".join(names[:10]))
    warn_of_shared_names(names, [v for v in EVALUATED if v in registered_vocabularies()])
    return names


def mean_row(index: IndexFiles) -> np.ndarray:
    """Returns (D,) float32, the mean embedding of the index."""
    total = sum(np.load(path).sum(axis=0, dtype=np.float64) for path in index.paths)
    return (total / len(index)).astype(np.float32)


def concept_prototypes(index: IndexFiles, names: Sequence[str], centre: np.ndarray) -> np.ndarray:
    """Returns (V, D + 1) float32: where no text tower is, a concept is the mean of its images.

    Args:
        index: images with captions; a concept that none of them holds is like no image.
        names: V.
        centre: (D,) that the images are taken relative to.
    """
    total = np.zeros((len(names), len(centre)), np.float64)
    for path, (folder, name) in zip(index.paths, index.shards):
        images = centred(np.load(path), centre)[:, :-1]
        groups = [sample["captions"] for sample in read_samples(folder, name)]
        lists = concepts_of(groups, names)
        rows = np.repeat(np.arange(len(images)), np.diff(lists.starts))
        np.add.at(total, lists.ids, images[rows])
    return with_constant(total.astype(np.float32))
