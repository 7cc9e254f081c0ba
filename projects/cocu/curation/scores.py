"""Scores of the concepts of an archive: how well the image shows them (CoCu, Eq. 6-8).

I images of the index, N retrieved images, M concepts of the archive, D width of CLIP's space.
"""

from typing import Dict, List, NamedTuple, Sequence

import numpy as np

NORMS = ("per_image_max", "none")
RANKINGS = ("naive", "vision")
LOWEST = 1e-6  # magnitude of a mean cosine that something is divided by


class Archive(NamedTuple):
    """Concepts of an image and of the images like it.

    Args:
        names: M concepts, sorted.
        references: per concept the positions, among the retrieved images, of those whose caption
            holds it.
    """

    names: List[str]
    references: List[List[int]]


def build_archive(captions: Sequence[Sequence[str]]) -> Archive:
    """Returns the archive of N retrieved captions, given as the concepts of each."""
    positions: Dict[str, List[int]] = {}
    for index, concepts in enumerate(captions):
        for name in concepts:
            positions.setdefault(name, []).append(index)
    names = sorted(positions)
    return Archive(names, [positions[name] for name in names])


class ConceptScores(NamedTuple):
    """Scores of M concepts.

    Args:
        similarity: s_a, (M,) cosine of image and concept (Eq. 6).
        relative: s_b, (M,) the cosine divided by its mean over the image and the images whose
            captions hold the concept (Eq. 7).
        combined: (M,), the score that ranks the concepts.
    """

    similarity: np.ndarray
    relative: np.ndarray
    combined: np.ndarray


def score_concepts(
    image: np.ndarray,
    retrieved: np.ndarray,
    concepts: np.ndarray,
    references: Sequence[Sequence[int]],
    *,
    norm: str = "per_image_max",
    ranking: str = "vision",
) -> ConceptScores:
    """Scores the concepts of an archive.

    Args:
        image: (D,) unit embedding of the image.
        retrieved: (N, D) of the retrieved images.
        concepts: (M, D) of the concepts' prompts.
        references: of the archive.
        norm: "none" adds s_a and s_b as the paper prints (Eq. 8); "per_image_max" divides s_a by
            the highest cosine of the image, as the released code does, so that it counts.
        ranking: "vision" as above; "naive" ranks by s_a alone.

    Raises:
        ValueError: an unknown norm or ranking.
    """
    check_ranking(norm, ranking)
    similarity = concepts @ image
    to_retrieved = concepts @ retrieved.T  # (M, N)
    total, counts = similarity.copy(), np.ones(len(concepts))
    highest = similarity.max(initial=LOWEST)
    for index, positions in enumerate(references):
        cosines = to_retrieved[index, positions]
        total[index] += cosines.sum()
        counts[index] += len(positions)
        highest = max(highest, cosines.max(initial=LOWEST))
    mean = total / counts
    relative = similarity / np.where(np.abs(mean) < LOWEST, LOWEST, mean)
    if ranking == "naive":
        combined = similarity
    else:
        combined = similarity / (highest if norm == "per_image_max" else 1.0) + relative
    return ConceptScores(similarity, relative, combined)


def check_ranking(norm: str, ranking: str) -> None:
    """Refuses an unknown norm or ranking.

    Raises:
        ValueError: it is none of `NORMS`, or of `RANKINGS`.
    """
    if norm not in NORMS or ranking not in RANKINGS:
        raise ValueError(
            f"norm is '{norm}', expected one of {NORMS}; ranking is '{ranking}', of {RANKINGS}"
        )


def ranked(names: Sequence[str], scores: np.ndarray) -> List[str]:
    """Returns names by falling score, equal scores by name."""
    return [name for _, name in sorted(zip(-np.asarray(scores), names))]
