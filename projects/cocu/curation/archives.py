"""Stages 3 and 4: concepts of an image's neighbours, ranked, and clustered; one file per shard.

A line of a finished file is {"at", "key", "concepts", "scores", "references", "clusters"}, for the
language-driven expansion also "captions", the retrieved ones.
"""

import json
import zlib
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np

from segplugins.files.write import replacing, write_text

from .clusters import cluster_archives
from .concepts import ConceptExtractor, caption_words
from .options import CODE_CLUSTERS
from .ranking import ConceptLists, IndexConcepts, RankedArchives, concept_cosines

_DIGITS = 5  # of a score in a file


class ConceptTable(NamedTuple):
    """The vocabulary of a curation.

    Args:
        names: V, in alphabetical order.
        embeddings: (V, D) float32 unit rows.
        centre: (D,) that image embeddings are taken relative to; None = 0.
    """

    names: List[str]
    embeddings: np.ndarray
    centre: Optional[np.ndarray]


def concepts_of(captions: Iterable[Sequence[str]], names: Sequence[str]) -> ConceptLists:
    """Returns the numbers of the concepts of each group of captions, each once.

    Args:
        captions: groups, such as the captions of an image.
        names: of the vocabulary.
    """
    extract, number = ConceptExtractor(names), {name: place for place, name in enumerate(names)}
    lists = []
    for group in captions:
        concepts: Dict[str, None] = {}
        for caption in group:
            concepts.update(dict.fromkeys(extract(caption_words(caption))))
        lists.append([number[name] for name in concepts])
    return ConceptLists.of(lists)


def with_substrings(lists: ConceptLists, names: Sequence[str]) -> ConceptLists:
    """Returns per caption the concepts that stand anywhere in the string of its concepts.

    So the released code counts images: "cat" for a caption with "cattle".
    """
    held = []
    for start, stop in zip(lists.starts, lists.starts[1:]):
        text = ",".join(names[concept] for concept in lists.ids[start:stop])
        held.append([place for place, name in enumerate(names) if text and name in text])
    return ConceptLists.of(held)


def write_index_concepts(
    path: Path, lists: ConceptLists, images: np.ndarray, table: ConceptTable, substring: bool
) -> None:
    """Writes what ranking needs of a shard of the index.

    Args:
        path: .npz file.
        lists: concepts of each row.
        images: (n, D) embeddings of the rows.
        table: the vocabulary.
        substring: also with `with_substrings`.
    """
    arrays = _columns(lists, images, table, "")
    if substring:
        arrays |= _columns(with_substrings(lists, table.names), images, table, "substring_")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _columns(
    lists: ConceptLists, images: np.ndarray, table: ConceptTable, prefix: str
) -> Dict[str, np.ndarray]:
    counts = np.diff(lists.starts)
    rows = np.repeat(np.arange(len(counts)), counts)
    cosines = concept_cosines(images, table.embeddings, rows, lists.ids)
    return {
        f"{prefix}ids": lists.ids.astype(np.int32),
        f"{prefix}counts": counts.astype(np.int32),
        f"{prefix}cosines": cosines,
    }


def read_index_concepts(paths: Sequence[Path], prefix: str = "") -> IndexConcepts:
    """Returns what ranking needs of all shards of the index, in their order."""
    parts = [dict(np.load(path)) for path in paths]
    columns = {
        name: np.concatenate([part[prefix + name] for part in parts])
        for name in ("ids", "counts", "cosines")
    }
    starts = np.concatenate([[0], columns["counts"].cumsum(dtype=np.int64)])
    return IndexConcepts(ConceptLists(columns["ids"], starts), columns["cosines"])


def archive_lines(
    samples: Sequence[Dict[str, Any]], ranks: RankedArchives, names: Sequence[str], top: int
) -> List[Dict[str, Any]]:
    """Returns a line per sample with its best concepts; an empty archive is an empty line."""
    stops = np.searchsorted(ranks.image, np.arange(len(samples) + 1))
    lines = []
    for sample, start, stop in zip(samples, stops, stops[1:]):
        part = slice(start, min(stop, start + top))
        lines.append(
            {
                "at": sample["at"],
                "key": sample["key"],
                "concepts": [names[concept] for concept in ranks.concept[part]],
                "scores": [round(score, _DIGITS) for score in ranks.score[part].tolist()],
                "references": ranks.references[part].tolist(),
            }
        )
    return lines


def clustered(
    lines: Sequence[Dict[str, Any]], table: ConceptTable, clusters: int, seed: int, shard: str
) -> List[Dict[str, Any]]:
    """Returns the lines with "clusters", the cluster of each concept.

    Args:
        lines: of a shard.
        table: the vocabulary.
        clusters: K; `CODE_CLUSTERS` = half of the concepts, rounded up, where they are three or
            more.
        seed: of the starts.
        shard: its name, so that shards have draws of their own.
    """
    number = {name: place for place, name in enumerate(table.names)}
    width = max((len(line["concepts"]) for line in lines), default=0)
    members = np.full((len(lines), max(width, 1)), -1)
    for row, line in zip(members, lines):
        row[: len(line["concepts"])] = [number[name] for name in line["concepts"]]
    counts = (members >= 0).sum(axis=1)
    wanted = np.full(len(lines), clusters)
    if clusters == CODE_CLUSTERS:
        wanted = np.where(counts > 2, -(-counts // 2), np.maximum(counts, 1))
    labels = np.full(members.shape, -1)
    generator = np.random.default_rng([seed, zlib.crc32(shard.encode())])
    for count in np.unique(wanted):
        rows = np.flatnonzero(wanted == count)
        for start in range(0, len(rows), 512):
            part = rows[start : start + 512]
            labels[part] = cluster_archives(table.embeddings, members[part], int(count), generator)
    return [
        {**line, "clusters": row[:count].tolist()}
        for line, row, count in zip(lines, labels, counts)
    ]


def write_lines(path: Path, lines: Iterable[Dict[str, Any]]) -> None:
    """Writes JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_lines(path: Path) -> List[Dict[str, Any]]:
    """Returns JSON lines that `write_lines` wrote."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
