"""What FaissIndex asks of faiss: kind, cells, visited cells, training rows; faiss is a double."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segplugins.search import FaissIndex


class Index:
    """Keeps what it is given; `nprobe` is there for inverted files alone."""

    def __init__(self, width, text, metric=None):
        self.d, self.text, self.metric = width, text, metric
        self.is_trained = "Flat" in text and "IVF" not in text
        self.trained_on, self.added = [], []
        if text.startswith("IVF"):
            self.nlist = int(text[3:].partition(",")[0])
            self.nprobe = 1

    ntotal = property(lambda self: sum(len(rows) for rows in self.added))

    def train(self, rows):
        self.trained_on.append(rows)
        self.is_trained = True

    def add(self, rows):
        assert rows.dtype == np.float32 and rows.flags["C_CONTIGUOUS"]
        self.added.append(rows)

    def search(self, queries, k):
        scores = np.full((len(queries), k), -3.4e38, np.float32)
        rows = np.full((len(queries), k), -1)
        scores[:, 0], rows[:, 0] = 0.5, 7
        return scores, rows


@pytest.fixture(autouse=True)
def faiss(monkeypatch):
    """A double of the module."""
    module = SimpleNamespace(
        METRIC_INNER_PRODUCT="inner product", IO_FLAG_MMAP="mapped", index_factory=Index
    )
    monkeypatch.setitem(sys.modules, "faiss", module)
    return module


@pytest.mark.parametrize(
    "kind, rows, text",
    [
        ("flat", 10**6, "Flat"),
        ("sq8", 10**6, "SQ8"),
        ("ivf", 10**6, "IVF4000,Flat"),  # four times the square root
        ("ivf_sq8", 10**6, "IVF4000,SQ8"),
        ("ivf", 1_500, "IVF155,Flat"),  # 4 * 38.73
        ("ivf", 800, "IVF100,Flat"),  # not 113: a cell has 8 rows at least
        ("ivf", 7, "IVF1,Flat"),
        ("ivf", 0, "IVF1,Flat"),
    ],
)
def test_the_number_of_cells_follows_from_the_rows(kind, rows, text):
    index = FaissIndex(5, kind, rows)._index
    assert (index.d, index.text, index.metric) == (5, text, "inner product")


@pytest.mark.parametrize("rows, probed", [(10**6, 250), (1_500, 9), (8 * 31, 1), (8 * 32, 2)])
def test_a_query_visits_one_cell_in_sixteen_and_one_at_least(rows, probed):
    assert FaissIndex(5, "ivf", rows)._index.nprobe == probed  # cells 4000, 155, 31, 32
    assert not hasattr(FaissIndex(5, "flat", rows)._index, "nprobe")


@pytest.mark.parametrize(
    "rows, step",
    [
        (8_191, 1),  # 100 cells want 6400, so 8191 rows are all used
        (12_799, 1),
        (12_800, 2),
        (19_200, 3),
    ],
)
def test_cells_are_trained_on_64_rows_each_evenly_taken(rows, step):
    index = FaissIndex(1, "ivf", 800)  # 100 cells
    index.train(torch.arange(float(rows))[:, None])
    (trained,) = index._index.trained_on
    np.testing.assert_array_equal(trained[:, 0], np.arange(0, rows, step))
    index.train(torch.ones(9, 1))  # it is trained once
    assert len(index._index.trained_on) == 1


@pytest.mark.parametrize("rows, step", [(8_191, 1), (8_192, 2), (12_288, 3)])
def test_few_cells_are_trained_on_4096_rows(rows, step):
    index = FaissIndex(1, "sq8", 8)  # one cell: 64 rows would fit no quantiser
    index.train(torch.arange(float(rows))[:, None])
    np.testing.assert_array_equal(index._index.trained_on[0][:, 0], np.arange(0, rows, step))


def test_a_flat_index_is_not_trained_and_rows_are_float32_on_the_host():
    index = FaissIndex(2, "flat", 3)
    index.train(torch.ones(3, 2))
    index.add(torch.ones(3, 4, dtype=torch.float16, requires_grad=True)[:, ::2])
    index.add(torch.zeros(2, 2, dtype=torch.float64))
    assert index._index.trained_on == [] and len(index) == 5


def test_places_without_a_row_have_no_score():
    found = FaissIndex(2, "flat", 3).query(torch.ones(2, 2), 3)
    assert found.rows.tolist() == [[7, -1, -1]] * 2 and found.rows.dtype == torch.int64
    assert found.scores.tolist() == [[0.5, -torch.inf, -torch.inf]] * 2
    assert found.scores.dtype == torch.float32


def test_an_opened_index_is_mapped_and_visits_as_many_cells(faiss, tmp_path):
    def read_index(path, flags):
        assert (path, flags) == (str(tmp_path / "a.faiss"), "mapped")
        return Index(6, "IVF48,SQ8")

    faiss.read_index = read_index
    faiss.write_index = lambda index, path: Path(path).write_text(index.text)
    index = FaissIndex.open(tmp_path / "a.faiss")
    assert (index.width, index._cells, index._index.nprobe) == (6, 48, 3)
    index.save(tmp_path / "a.faiss")
    assert (tmp_path / "a.faiss").read_text() == "IVF48,SQ8"
    assert [path.name for path in tmp_path.iterdir()] == ["a.faiss"]  # no temporary file is left
