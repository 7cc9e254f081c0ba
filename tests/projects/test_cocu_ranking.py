"""Ranks and clusters of many archives at once, against those of one."""

import numpy as np
import pytest

from segplugins.projects.cocu.curation.clusters import cluster_archives, cluster_concepts
from segplugins.projects.cocu.curation.ranking import (
    ConceptLists,
    IndexConcepts,
    concept_cosines,
    rank_archives,
)
from segplugins.projects.cocu.curation.scores import build_archive, score_concepts


def units(draw, *shape):
    rows = draw.standard_normal(shape).astype(np.float32) + 0.5
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def index_of(lists, images, concepts):
    captions = ConceptLists.of(lists)
    rows = np.repeat(np.arange(len(lists)), [len(part) for part in lists])
    return IndexConcepts(captions, concept_cosines(images, concepts, rows, captions.ids))


@pytest.fixture
def scene():
    """40 images of an index with up to 3 concepts of 12 each, 10 queries with 4 neighbours."""
    draw = np.random.default_rng(0)
    images, concepts, queries = units(draw, 40, 16), units(draw, 12, 16), units(draw, 10, 16)
    lists = [sorted({*draw.integers(12, size=draw.integers(4)).tolist()}) for _ in range(40)]
    neighbours = np.stack([draw.permutation(40)[:4] for _ in range(10)])
    return images, concepts, queries, lists, neighbours


@pytest.mark.parametrize("options", [{}, {"norm": "none"}, {"ranking": "naive"}])
def test_many_archives_are_ranked_as_each_alone(scene, options):
    images, concepts, queries, lists, neighbours = scene
    index = index_of(lists, images, concepts)
    ranks = rank_archives(queries, neighbours, index, concepts, **options)
    for number, (query, near) in enumerate(zip(queries, neighbours)):
        archive = build_archive([lists[row] for row in near])
        plain = score_concepts(
            query, images[near], concepts[archive.names], archive.references, **options
        )
        mine = ranks.image == number
        order = np.argsort(-plain.combined, kind="stable")
        assert ranks.concept[mine].tolist() == [archive.names[place] for place in order]
        np.testing.assert_allclose(ranks.score[mine], plain.combined[order], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ranks.similarity[mine], plain.similarity[order], atol=1e-6)
        counts = [len(archive.references[place]) for place in order]
        assert ranks.references[mine].tolist() == counts


def test_equal_scores_keep_the_order_of_the_concepts():
    concepts = np.array([[1, 0], [1, 0], [0.6, 0.8]], np.float32)
    index = index_of([[1, 0], [2]], np.array([[1, 0], [0, 1]], np.float32), concepts)
    queries = np.array([[1, 0]], np.float32)
    ranks = rank_archives(queries, np.array([[0, 1]]), index, concepts, ranking="naive")
    assert ranks.concept.tolist() == [0, 1, 2] and ranks.score.tolist() == pytest.approx(
        [1, 1, 0.6]
    )


def test_missing_neighbours_and_captions_without_concepts_give_empty_archives(scene):
    images, concepts, queries, lists, _ = scene
    lists = [[], *lists[1:]]
    neighbours = np.array([[-1, -1], [0, -1], [1, 2]])
    ranks = rank_archives(queries[:3], neighbours, index_of(lists, images, concepts), concepts)
    assert set(ranks.image.tolist()) == {2}
    nothing = rank_archives(
        queries[:1], neighbours[:1], index_of(lists, images, concepts), concepts
    )
    assert all(len(column) == 0 for column in nothing)


def test_own_concepts_join_the_archive_without_a_reference():
    concepts = np.eye(2, dtype=np.float32)
    images = np.array([[0.6, 0.8]], np.float32)
    index = index_of([[0]], np.array([[0.8, 0.6]], np.float32), concepts)
    own = ConceptLists.of([[0, 1]])
    ranks = rank_archives(images, np.array([[0]]), index, concepts, norm="none", own=own)
    # "1": 0.8 + 0.8 / 0.8. "0": 0.6 + 2 * 0.6 / (0.6 + 0.8).
    assert ranks.concept.tolist() == [1, 0] and ranks.references.tolist() == [0, 1]
    assert ranks.score.tolist() == pytest.approx([1.8, 0.6 + 6 / 7])


def test_other_references_change_the_scores_but_not_the_archive():
    """The released code also counts "cat" in "cattle"; what no caption holds stays outside."""
    concepts = np.eye(3, dtype=np.float32)
    near = np.array([[0.6, 0.8, 0.0], [0.8, 0.0, 0.6]], np.float32)
    index = index_of([[0], [2]], near, concepts)
    counted = index_of([[0, 1], [0, 2]], near, concepts)
    query = np.array([[0.8, 0.36, 0.48]], np.float32)
    ranks = rank_archives(
        query, np.array([[0, 1]]), index, concepts, norm="none", references=counted
    )
    assert ranks.concept.tolist() == [0, 2] and ranks.references.tolist() == [2, 1]
    expected = [0.8 + 3 * 0.8 / (0.8 + 0.6 + 0.8), 0.48 + 2 * 0.48 / (0.48 + 0.6)]
    assert ranks.score.tolist() == pytest.approx(expected)


def test_a_mean_of_zero_is_no_division_by_zero():
    concepts = np.array([[1, 0]], np.float32)
    index = index_of([[0]], np.array([[-0.6, 0.8]], np.float32), concepts)
    ranks = rank_archives(
        np.array([[0.6, 0.8]], np.float32), np.array([[0]]), index, concepts, norm="none"
    )
    assert np.isfinite(ranks.score).all()


def inertia(rows, labels):
    parts = (rows[labels == label] for label in np.unique(labels))
    return sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)


def test_many_archives_are_clustered_as_well_as_each_alone():
    draw = np.random.default_rng(1)
    concepts = units(draw, 60, 8)
    members = np.full((30, 12), -1)
    for row, count in zip(members, draw.integers(0, 13, size=30)):
        row[:count] = draw.choice(60, count, replace=False)
    labels = cluster_archives(concepts, members, 3, np.random.default_rng(0))
    assert np.array_equal(labels < 0, members < 0)
    total, plain_total = 0.0, 0.0
    for row, ours in zip(members, labels):
        count = int((row >= 0).sum())
        rows = concepts[row[:count]].astype(float)
        if count <= 3:
            assert ours[:count].tolist() == list(range(count))
            continue
        assert set(ours[:count]) == {0, 1, 2}
        firsts = [ours[:count].tolist().index(cluster) for cluster in range(3)]
        assert firsts == sorted(firsts) and firsts[0] == 0
        total += inertia(rows, ours[:count])
        plain_total += inertia(rows, cluster_concepts(rows, 3, seed=0))
    assert total <= 1.005 * plain_total


def test_clusters_follow_the_generator_and_equal_concepts_share_one():
    concepts = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    members = np.array([[0, 2, 1, 3]])
    labels = cluster_archives(concepts, members, 3, np.random.default_rng(5))
    assert labels.tolist() == [[0, 1, 0, 2]]
    again = cluster_archives(concepts, members, 3, np.random.default_rng(5))
    assert np.array_equal(labels, again)
    same = cluster_archives(concepts[:1], np.zeros((1, 5), int), 2, np.random.default_rng(0))
    assert same.tolist() == [[0] * 5]
