"""Measures CoCu's retrieval, ranking and clustering: `python tools/benchmark.py cocu`."""

import importlib.util
from typing import Any, List

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segplugins.projects.cocu.curation.clusters import cluster_archives, cluster_concepts
from segplugins.projects.cocu.curation.ranking import (
    ConceptLists,
    IndexConcepts,
    concept_cosines,
    rank_archives,
)
from segplugins.search import ExactIndex, FaissIndex, recall

_WIDTH, _NEIGHBOURS = 512, 8


def run(bench: Any) -> None:
    """Measures, with `bench` from benchmarks.harness."""
    retrieval(bench)
    ranking(bench)
    clustering(bench)


def retrieval(bench: Any) -> None:
    """Measures exact search against one query after another."""
    rows, count = (2_000, 16) if bench.quick else (200_000, 256)
    draw = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(rows, _WIDTH, generator=draw), dim=1).to(bench.device)
    queries = F.normalize(torch.randn(count, _WIDTH, generator=draw), dim=1).to(bench.device)
    index = ExactIndex(_WIDTH)
    index.add(vectors)
    some = max(count // 16, 1)

    def one_by_one(number: int) -> Tensor:
        return torch.stack(
            [(vectors @ query).topk(_NEIGHBOURS).indices for query in queries[:number]]
        )

    def check() -> None:
        assert torch.equal(index.query(queries, _NEIGHBOURS).rows[:some], one_by_one(some))

    if bench.device == "cpu" and importlib.util.find_spec("faiss"):
        byte = FaissIndex(_WIDTH, "sq8", rows)
        byte.train(vectors)
        byte.add(vectors)
        share = recall(byte, index, queries, _NEIGHBOURS)
        bench.compare(
            f"the same by faiss SQ8, which finds {100 * share:.1f} % of them, against blocks",
            lambda: index.query(queries, _NEIGHBOURS),
            lambda: byte.query(queries, _NEIGHBOURS),
            check=lambda: None,  # it is no exact search: the name of the row says how near it is
        )
    bench.compare(
        f"{_NEIGHBOURS} neighbours of {count} queries in {rows} x {_WIDTH}, alone and in blocks",
        lambda: one_by_one(some),
        lambda: index.query(queries, _NEIGHBOURS),
        check=check,
        at_least=None if bench.quick else 10.0,
        baseline_share=some / count,
    )


def _units(draw: np.random.Generator, count: int) -> np.ndarray:
    rows = draw.standard_normal((count, _WIDTH)).astype(np.float32) + 0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ranking(bench: Any) -> None:
    """Measures the ranks of many archives against one image after another."""
    images, names = (64, 200) if bench.quick else (2_048, 3_800)
    draw = np.random.default_rng(0)
    table, concepts = _units(draw, images), _units(draw, names)
    lists = [sorted({*draw.integers(names, size=3).tolist()}) for _ in range(images)]
    neighbours = draw.integers(images, size=(images, _NEIGHBOURS))
    captions = ConceptLists.of(lists)
    rows = np.repeat(np.arange(images), np.diff(captions.starts))
    index = IndexConcepts(captions, concept_cosines(table, concepts, rows, captions.ids))
    some = max(images // 16, 1)

    def one_by_one() -> List[List[float]]:
        return [
            plain_scores(table, concepts, lists, *pair) for pair in zip(range(some), neighbours)
        ]

    def check() -> None:
        ranks = rank_archives(table, neighbours, index, concepts)
        for image, expected in enumerate(one_by_one()):
            ours = ranks.score[ranks.image == image][::-1]
            np.testing.assert_allclose(ours, expected, atol=1e-5)

    bench.compare(
        f"ranks of the concepts of {images} images, alone and together",
        one_by_one,
        lambda: rank_archives(table, neighbours, index, concepts),
        check=check,
        at_least=None if bench.quick else 4.0,
        baseline_share=some / images,
    )


def plain_scores(
    images: np.ndarray,
    concepts: np.ndarray,
    captions: List[List[int]],
    image: int,
    neighbours: np.ndarray,
) -> List[float]:
    """Returns the scores of the concepts of one image, the lowest first, formula by formula."""
    cosines, scores = {}, []
    for concept in {concept for row in neighbours for concept in captions[row]}:
        near = [row for row in neighbours if concept in captions[row]]
        cosines[concept] = [float(images[row] @ concepts[concept]) for row in [image, *near]]
    highest = max((max(values) for values in cosines.values()), default=1.0)
    for values in cosines.values():
        scores.append(values[0] / highest + values[0] / (sum(values) / len(values)))
    return sorted(scores)


def clustering(bench: Any) -> None:
    """Measures k-means of many archives against scipy's, archive after archive."""
    archives, names, clusters = (16, 100, 3) if bench.quick else (512, 3_800, 3)
    draw = np.random.default_rng(0)
    concepts = _units(draw, names)
    counts = draw.integers(4, 24, size=archives)
    members = np.full((archives, 24), -1)
    for row, count in zip(members, counts):
        row[:count] = draw.choice(names, count, replace=False)
    some = max(archives // 16, 1)

    def inertia(rows: np.ndarray, labels: np.ndarray) -> float:
        kinds = np.unique(labels)
        parts = [rows[labels == kind] - rows[labels == kind].mean(axis=0) for kind in kinds]
        return sum(float((part**2).sum()) for part in parts)

    def one_by_one() -> List[np.ndarray]:
        parts = (row[:count] for row, count in zip(members[:some], counts))
        return [cluster_concepts(concepts[part], clusters, 0) for part in parts]

    def together() -> np.ndarray:
        return cluster_archives(concepts, members, clusters, np.random.default_rng(0))

    def check() -> None:
        ours, theirs = 0.0, 0.0
        for row, count, labels, plain in zip(members, counts, together(), one_by_one()):
            ours += inertia(concepts[row[:count]], labels[:count])
            theirs += inertia(concepts[row[:count]], plain)
        assert abs(ours / theirs - 1) < 0.01, f"inertia {ours} against {theirs}"

    bench.compare(
        f"clusters of the concepts of {archives} images, alone and together",
        one_by_one,
        together,
        check=check,
        at_least=None if bench.quick else 10.0,
        baseline_share=some / archives,
    )
