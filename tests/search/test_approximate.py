"""faiss behind the interface of the exact index; the message where it is not installed."""

import importlib.util
import sys

import pytest
import torch
from torch.nn import functional as F

from segplugins.search import KINDS, ExactIndex, FaissIndex, recall

needs_faiss = pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None, reason="faiss is not installed"
)


@pytest.fixture(scope="module")
def rows():
    return F.normalize(torch.randn(3000, 16, generator=torch.Generator().manual_seed(0)), dim=1)


def built(kind, rows):
    index = FaissIndex(16, kind, len(rows))
    index.train(rows)
    index.add(rows[:1000])
    index.add(rows[1000:])
    return index


@needs_faiss
@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_most_of_the_exact_neighbours_and_survives_its_file(kind, rows, tmp_path):
    exact = ExactIndex(16)
    exact.add(rows)
    index = built(kind, rows)
    assert len(index) == 3000
    share = recall(index, exact, rows[:200], 8)
    assert share == 1.0 if kind == "flat" else share > (0.9 if kind == "sq8" else 0.5)
    index.save(tmp_path / "index.faiss")
    opened = FaissIndex.open(tmp_path / "index.faiss")
    assert torch.equal(opened.query(rows[:9], 4).rows, index.query(rows[:9], 4).rows)
    few = built("flat", rows[:1001]).query(rows[:2], 1005)
    assert (few.rows[:, -4:] == -1).all() and few.scores[:, -1].tolist() == [-torch.inf] * 2


def test_recall_counts_rows_that_both_find():
    exact, other = ExactIndex(1), ExactIndex(1)
    exact.add(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    other.add(torch.tensor([[9.0], [2.0], [3.0], [4.0]]))  # it finds 0 and 3 instead of 3 and 2
    assert recall(other, exact, torch.ones(1, 1), 2) == 0.5
    assert recall(exact, exact, torch.ones(2, 1), 9) == 1.0


def test_without_faiss_and_with_another_kind_one_line_says_so(monkeypatch):
    with pytest.raises(ValueError, match="kind 'hnsw'; expected one of"):
        FaissIndex(4, "hnsw", 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="needs faiss .pip install faiss-cpu"):
        FaissIndex(4, "flat", 10)
