"""Which concepts of its archive an image gets at a step (CoCu, Sec. 3.3 and Table 3).

An archive is a line of `curation`: {"concepts", "scores", "clusters"}, concepts by falling score.
"""

from typing import Any, Callable, Dict, List, Mapping

import numpy as np

from .curation.clusters import draw_concepts

Archive = Mapping[str, Any]
Sampler = Callable[[Archive, int, np.random.Generator], List[str]]


def draw_cluster(archive: Archive, count: int, generator: np.random.Generator) -> List[str]:
    """Returns one concept of each cluster, by the softmax of scores within it: the paper's."""
    labels = np.array(archive["clusters"], np.int64)
    drawn = draw_concepts(archive["concepts"], np.array(archive["scores"]), labels, generator)
    if len(drawn) > count:
        drawn = [drawn[place] for place in sorted(generator.permutation(len(drawn))[:count])]
    return drawn


def draw_top(archive: Archive, count: int, generator: np.random.Generator) -> List[str]:
    """Returns the concepts with the highest scores, the same at every step."""
    return list(archive["concepts"][:count])


def draw_cluster_code(archive: Archive, count: int, generator: np.random.Generator) -> List[str]:
    """Returns concepts of clusters drawn with replacement by the softmax of their mean scores.

    It is the released code's other sampler, made for half as many clusters as concepts.
    """
    names, scores = archive["concepts"], np.array(archive["scores"], np.float64)
    labels = np.array(archive["clusters"], np.int64)
    if not len(names):
        return []
    kinds = np.unique(labels)
    means = np.array([scores[labels == kind].mean() for kind in kinds])
    drawn = []
    for kind in generator.choice(kinds, count, p=_softmax(means)):
        members = np.flatnonzero(labels == kind)
        drawn.append(names[generator.choice(members, p=_softmax(scores[members]))])
    return drawn


def draw_softmax(archive: Archive, count: int, generator: np.random.Generator) -> List[str]:
    """Returns different concepts by the softmax of their scores, clusters aside."""
    names = archive["concepts"]
    count = min(count, len(names))
    if not count:
        return []
    chances = _softmax(np.array(archive["scores"], np.float64))
    return [names[place] for place in generator.choice(len(names), count, False, chances)]


def draw_uniform(archive: Archive, count: int, generator: np.random.Generator) -> List[str]:
    """Returns different concepts, each as likely: GroupViT's draw of the nouns of a caption."""
    names = archive["concepts"]
    return [names[place] for place in generator.permutation(len(names))[:count]]


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


SAMPLERS: Dict[str, Sampler] = {
    "cluster": draw_cluster,
    "topk": draw_top,
    "cluster_code": draw_cluster_code,
    "softmax": draw_softmax,
    "uniform": draw_uniform,
}
CAPTIONS = "captions"  # retrieved captions themselves stand for concepts (Sec. 3.2)


def draw_captions(archive: Archive, count: int, generator: np.random.Generator) -> List[str]:
    """Returns different retrieved captions, which the language-driven expansion keeps.

    Raises:
        ValueError: the archive was made by another expansion.
    """
    if "captions" not in archive:
        raise ValueError(
            "MODEL.COCU.SAMPLER captions needs an archive with retrieved captions; make it by "
            "tools/curate_concepts.py --expansion lang --ranking naive"
        )
    captions = archive["captions"]
    return [captions[place] for place in generator.permutation(len(captions))[:count]]
