"""Precision and recall of an archive at every stage, where the data say what an image shows."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Set

import numpy as np

from segplugins.data.pairs import read_pair
from segplugins.data.shards import Entry

from .archives import read_lines
from .clusters import draw_probabilities
from .concepts import ConceptExtractor, caption_words
from .embed import ShardSet, read_samples
from .job import Curation


class Quality(NamedTuple):
    """Of the concepts of a stage, over all images.

    Args:
        precision: share of the concepts that the images show.
        recall: share of what the images show that the concepts name.
        missing_recall: share of what the images show and their captions omit that they name.
        per_image: concepts of an image.
    """

    precision: float
    recall: float
    missing_recall: float
    per_image: float


def stage_quality(
    chosen: Sequence[Mapping[str, float]], shown: Sequence[Set[str]], told: Sequence[Set[str]]
) -> Quality:
    """Returns the quality of weighted concepts.

    Args:
        chosen: per image concepts and their weights: 1, or the chance to be drawn. Names that no
            image shows, such as "morning", are not judged.
        shown: per image the names of what it shows.
        told: per image the concepts of its captions.

    Example:
        >>> stage_quality([{"dog": 1, "sea": 1}], [{"dog", "sky"}], [{"dog"}])[:3]
        (1.0, 0.5, 0.0)
    """
    judged = set().union(*shown)
    right = total = missing = 0.0
    everything = sum(len(names) for names in shown)
    omitted = sum(len(names - own) for names, own in zip(shown, told))
    for weights, names, own in zip(chosen, shown, told):
        for concept, weight in weights.items():
            if concept in judged:
                total += weight
                right += weight * (concept in names)
                missing += weight * (concept in names - own)
    return Quality(
        right / max(total, 1e-9),
        right / max(everything, 1),
        missing / max(omitted, 1),
        total / max(len(chosen), 1),
    )


def archive_quality(curation: Curation, draws: int = 3) -> Dict[str, Quality]:
    """Returns the quality of captions, archive, best concepts and drawn concepts.

    Args:
        curation: finished; its data have "tags", which say what an image shows.
        draws: L, concepts of a step.

    Raises:
        ValueError: the data have no tags.
    """
    shown, told, lines = [], [], []
    extract = ConceptExtractor(curation.table.names)
    for name in curation.names:
        lines += read_lines(curation.archive.path(f"concepts/{name}.jsonl"))
        samples = read_samples(curation.work.embeddings, name)
        shown += list(tags_of(curation.work.shards, name, samples))
        told += [_concepts(sample["captions"], extract) for sample in samples]
    if not any(shown):
        raise ValueError("no sample has 'tags', which say what an image shows")
    stages: Dict[str, List[Mapping[str, float]]] = {
        "captions": [dict.fromkeys(names, 1.0) for names in told],
        "archive": [dict.fromkeys(line["concepts"], 1.0) for line in lines],
        f"best {draws}": [dict.fromkeys(line["concepts"][:draws], 1.0) for line in lines],
        "one of each cluster": [drawn_chances(line) for line in lines],
    }
    return {name: stage_quality(chosen, shown, told) for name, chosen in stages.items()}


def tags_of(
    shards: ShardSet, name: str, samples: Iterable[Mapping[str, Any]]
) -> Iterable[Set[str]]:
    """Yields what the data say that each image shows."""
    shard = next(shard for shard in shards.shards if Path(shard).stem == name)
    for sample in samples:
        entry = Entry(shard, sample["at"], sample["size"])
        yield set(read_pair(entry, shards.image_root).tags)


def drawn_chances(line: Mapping[str, Any]) -> Dict[str, float]:
    """Returns the chance of each concept to be the one of its cluster."""
    if not line["concepts"]:
        return {}
    chances = draw_probabilities(np.array(line["scores"]), np.array(line["clusters"]))
    return dict(zip(line["concepts"], chances.tolist()))


def _concepts(captions: Iterable[str], extract: ConceptExtractor) -> Set[str]:
    return {concept for caption in captions for concept in extract(caption_words(caption))}
