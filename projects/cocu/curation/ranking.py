"""Ranks the concepts of many images at once (CoCu, Eq. 6-8); `scores.py` has the formulas.

B images, N neighbours, V concepts of the vocabulary, M entries of all archives, D width.
"""

from typing import NamedTuple, Optional, Sequence

import numpy as np

from .scores import LOWEST, check_ranking

_IN_CACHE = 256  # pairs of vectors gathered at a time


class ConceptLists(NamedTuple):
    """Concepts of many captions, one list after another.

    Args:
        ids: (P,) int64 numbers of concepts.
        starts: (n + 1,) int64; list i is ids[starts[i] : starts[i + 1]].
    """

    ids: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "ConceptLists":
        """Returns lists of numbers in this form."""
        counts = np.array([len(part) for part in lists], np.int64)
        ids = [number for part in lists for number in part]
        return cls(np.array(ids, np.int64), np.concatenate([[0], counts.cumsum()]))

    def take(self, rows: np.ndarray) -> "tuple[np.ndarray, np.ndarray]":
        """Returns the entries of some lists.

        Args:
            rows: (R,) numbers of lists.

        Returns:
            (Q,) place in `rows` of each entry, and (Q,) place in `ids`, list after list.
        """
        counts = self.starts[rows + 1] - self.starts[rows]
        owner = np.repeat(np.arange(len(rows)), counts)
        before = np.repeat(counts.cumsum() - counts, counts)
        return owner, np.repeat(self.starts[rows], counts) + np.arange(len(owner)) - before


class IndexConcepts(NamedTuple):
    """What ranking needs of the images of the index.

    Args:
        lists: concepts of the captions of each image.
        cosines: (P,) of the image of each entry and its concept.
    """

    lists: ConceptLists
    cosines: np.ndarray


class RankedArchives(NamedTuple):
    """Concepts of many images: image after image, by falling score, equal scores by concept.

    Args:
        image: (M,) int64 number of the image.
        concept: (M,) int64.
        similarity: (M,) s_a.
        score: (M,) that ranks.
        references: (M,) int64 neighbours whose captions hold the concept.
    """

    image: np.ndarray
    concept: np.ndarray
    similarity: np.ndarray
    score: np.ndarray
    references: np.ndarray


def concept_cosines(
    images: np.ndarray, concepts: np.ndarray, rows: np.ndarray, ids: np.ndarray
) -> np.ndarray:
    """Returns (Q,) cosines of images[rows] and concepts[ids], all of unit length, in float32."""
    cosines = np.empty(len(ids), np.float32)
    for start in range(0, len(ids), _IN_CACHE):
        part = slice(start, start + _IN_CACHE)
        cosines[part] = np.einsum("qd,qd->q", images[rows[part]], concepts[ids[part]])
    return cosines


def rank_archives(
    images: np.ndarray,
    neighbours: np.ndarray,
    index: IndexConcepts,
    concepts: np.ndarray,
    *,
    norm: str = "per_image_max",
    ranking: str = "vision",
    own: Optional[ConceptLists] = None,
    references: Optional[IndexConcepts] = None,
) -> RankedArchives:
    """Ranks the archives of images as `score_concepts` does those of one.

    Args:
        images: (B, D) unit embeddings.
        neighbours: (B, N) int64 rows of the index, -1 = none.
        index: captions of the index.
        concepts: (V, D) unit embeddings; their order breaks ties.
        norm: see `score_concepts`.
        ranking: see `score_concepts`.
        own: concepts of the images' own captions that join the archives; None = they do not.
        references: which images count as captioned with a concept; None = those of `index`.

    Raises:
        ValueError: an unknown norm or ranking.
    """
    check_ranking(norm, ranking)
    image, column = np.nonzero(neighbours >= 0)
    rows = neighbours[image, column]
    owner, entry = index.lists.take(rows)
    size = len(concepts)
    keys = image[owner] * size + index.lists.ids[entry]
    members = keys
    if own is not None:
        at, own_entry = own.take(np.arange(len(images)))
        members = np.concatenate([keys, at * size + own.ids[own_entry]])
    archive = np.sort(members)  # a tenth of the time of np.unique, which hashes
    archive = archive[np.diff(archive, prepend=-1) > 0]
    counted, cosines = keys, index.cosines[entry]
    if references is not None:
        owner, entry = references.lists.take(rows)
        counted, cosines = image[owner] * size + references.lists.ids[entry], None
        inside = np.isin(counted, archive)
        counted, cosines = counted[inside], references.cosines[entry[inside]]
    place = np.searchsorted(archive, counted)
    of_image, of_concept = archive // size, archive % size
    similarity = concept_cosines(images, concepts, of_image, of_concept)
    counts = np.bincount(place, minlength=len(archive))
    total = similarity + np.bincount(place, cosines, minlength=len(archive))
    highest = np.full(len(images), LOWEST, np.float32)
    np.maximum.at(highest, of_image, similarity)
    np.maximum.at(highest, counted // size, cosines)
    mean = total / (1 + counts)
    score = similarity.astype(np.float64)
    if ranking == "vision":
        relative = similarity / np.where(np.abs(mean) < LOWEST, LOWEST, mean)
        score = score / (highest[of_image] if norm == "per_image_max" else 1.0) + relative
    order = np.lexsort((of_concept, -score, of_image))
    columns = (of_image, of_concept, similarity, score, counts)
    return RankedArchives(*(column[order] for column in columns))
