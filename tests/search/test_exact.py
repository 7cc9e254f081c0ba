"""Exact search against a plain loop over rows, files, and inputs that are refused."""

import numpy as np
import pytest
import torch

from segplugins.search import ExactIndex, exact


def plain(rows, queries, k):
    """Returns the row numbers of each query by a sort of all inner products, equal ones by row."""
    answers = []
    for query in queries.tolist():
        scores = [sum(a * b for a, b in zip(row, query)) for row in rows.tolist()]
        best = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:k]
        answers.append(best + [-1] * (k - len(best)))
    return answers


def drawn(*shape, seed=0, highest=4):
    """Returns small whole numbers, whose inner products are exact and often equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-highest, highest + 1, shape, generator=generator).float()


@pytest.mark.parametrize("block", [1, 3, 7, 64])
@pytest.mark.parametrize("k", [1, 4, 23, 30])
def test_blocks_of_any_size_find_what_a_plain_loop_finds(monkeypatch, block, k):
    monkeypatch.setattr(exact, "_ROWS", block)
    monkeypatch.setattr(exact, "_QUERIES", 4)
    rows, queries = drawn(23, 3), drawn(9, 3, seed=1)
    index = ExactIndex(3)
    for part in rows.split(10):
        index.add(part)
    found = index.query(queries, k)
    assert len(index) == 23 and found.rows.tolist() == plain(rows, queries, k)
    held = found.rows >= 0
    expected = (queries @ rows.T).gather(1, found.rows.clamp(min=0))
    assert torch.equal(found.scores[held], expected[held])
    assert found.scores[~held].eq(-torch.inf).all() and (~held).sum() == 9 * max(k - 23, 0)


def test_equal_rows_come_in_their_order_on_both_sides_of_the_last_place():
    index = ExactIndex(2)
    index.add(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    assert index.query(torch.tensor([[1.0, 0.0]]), 3).rows.tolist() == [[4, 1, 2]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_saved_index_is_mapped_and_answers_alike(tmp_path, dtype):
    rows, queries = drawn(50, 8), drawn(5, 8, seed=1)
    index = ExactIndex(8, dtype)
    index.add(rows[:20]), index.add(rows[20:])
    index.save(tmp_path / "index.npy")
    stored = np.load(tmp_path / "index.npy")
    assert stored.shape == (50, 8) and np.array_equal(stored, rows.numpy())
    opened = ExactIndex.open(tmp_path / "index.npy", width=8)
    assert (opened.width, opened.dtype, len(opened)) == (8, dtype, 50)
    assert torch.equal(opened.query(queries, 6).rows, index.query(queries, 6).rows)
    opened.add(queries)  # more rows follow those of the file, which stays as it is
    assert opened.query(queries[:1] * 9, 55).rows.max() == 54
    assert np.array_equal(np.load(tmp_path / "index.npy"), stored)
    assert [path.name for path in tmp_path.iterdir()] == ["index.npy"]


def test_the_rows_are_copied_and_need_no_gradient():
    rows = torch.eye(2, requires_grad=True)
    index = ExactIndex(2)
    index.add(rows)
    with torch.no_grad():
        rows.zero_()
    found = index.query(torch.tensor([[1.0, 0.0]]), 1)
    assert found.scores.tolist() == [[1.0]] and not found.scores.requires_grad


def test_no_rows_and_no_queries():
    index = ExactIndex(2)
    assert index.query(torch.ones(1, 2), 2).rows.tolist() == [[-1, -1]]
    assert index.query(torch.ones(0, 2), 2).rows.shape == (0, 2)
    index.add(torch.ones(0, 2))
    assert len(index) == 0


def test_what_does_not_fit_is_refused(tmp_path):
    index = ExactIndex(2)
    with pytest.raises(ValueError, match=r"shape \(3, 4\); the index takes \(n, 2\)"):
        index.add(torch.ones(3, 4))
    with pytest.raises(ValueError, match="row 1 of the added vectors is not finite"):
        index.add(torch.tensor([[1.0, 0.0], [torch.nan, 0.0]]))
    with pytest.raises(ValueError, match="row 0 .* is not finite in torch.float16"):
        ExactIndex(1, torch.float16).add(torch.tensor([[1e6]]))
    for queries, k in ((torch.ones(1, 3), 1), (torch.ones(2), 1), (torch.ones(1, 2), 0)):
        with pytest.raises(ValueError, match=r"the index takes \(Q, 2\) and a k of 1 or more"):
            index.query(queries, k)
    with pytest.raises(ValueError, match="a query is not finite"):
        index.query(torch.tensor([[torch.inf, 0.0]]), 1)
    with pytest.raises(ValueError, match="expected a width of 1 or more"):
        ExactIndex(2, torch.float64)
    with pytest.raises(ValueError, match="an index without rows is not saved"):
        index.save(tmp_path / "empty.npy")
    assert not list(tmp_path.iterdir())


def test_files_of_another_kind_are_refused(tmp_path):
    index = ExactIndex(2)
    index.add(torch.ones(100, 2))
    index.save(tmp_path / "whole.npy")
    whole = (tmp_path / "whole.npy").read_bytes()
    path = tmp_path / "other.npy"
    for content in (b"", b"text", whole[:60], whole[:-8]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="other.npy: not a whole .npy file of vectors"):
            ExactIndex.open(path)
    for array in (np.ones((2, 2)), np.ones(4, np.float32), np.ones((2, 3), np.float32)):
        np.save(path, array)
        with pytest.raises(ValueError, match=r"expected \(N, 2\) of float16 or float32"):
            ExactIndex.open(path, width=2)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="not a whole .npy file"):
        ExactIndex.open(path)
    with pytest.raises(FileNotFoundError):
        ExactIndex.open(tmp_path / "absent.npy")


def test_several_files_are_one_index_and_a_file_may_be_empty(tmp_path):
    rows = np.eye(5, 3, dtype=np.float16) + np.arange(5, dtype=np.float16)[:, None]
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, part in zip(paths, (rows[:2], rows[:0], rows[2:])):
        np.save(path, part)
    index = ExactIndex.open(paths)
    assert len(index) == 5 and index.dtype == torch.float16
    assert index.query(torch.ones(1, 3), 5).rows.tolist() == [[4, 3, 2, 1, 0]]
    np.save(paths[1], np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="1.npy: holds torch.float32, the files before it"):
        ExactIndex.open(paths)
    np.save(paths[2], np.ones((1, 4), np.float16))
    with pytest.raises(ValueError, match=r"2.npy: .* expected \(N, 3\)"):
        ExactIndex.open([paths[0], paths[2]])
    with pytest.raises(ValueError, match="at least one file"):
        ExactIndex.open([])


@pytest.mark.parametrize("levels", [1, 2, 40, 10**6])
@pytest.mark.parametrize("rows", [2303, 2304, 2400])
def test_groups_of_scores_lose_no_row_and_keep_the_order_of_equal_ones(levels, rows):
    """Nine best of enough rows for groups of 64, with a rest; few levels mean many equal scores."""
    draw = torch.Generator().manual_seed(levels)
    values = torch.randint(levels, (rows, 1), generator=draw).float()
    index = ExactIndex(1)
    index.add(values)
    nearest = index.query(torch.tensor([[1.0], [-1.0]]), 8)
    for sign, ours in zip((1, -1), nearest.rows):
        plain = (sign * values[:, 0]).sort(descending=True, stable=True).indices[:8]
        assert torch.equal(ours, plain)
