"""RetrievalMemory: votes against sums by hand, files, and what is refused."""

import json
from math import exp

import numpy as np
import pytest
import torch

from segplugins.search import RetrievalMemory

ROWS = torch.tensor([[3.0, 0.0], [0.6, 0.8], [0.0, 0.5], [-1.0, 0.0]])
LABELS = torch.tensor([0, 1, 1, 2])


@pytest.fixture
def memory():
    memory = RetrievalMemory(2, ["sky", "sea", "sand"], model="m", source="pets")
    memory.add(ROWS[:3], LABELS[:3])
    memory.add(ROWS[3:], LABELS[3:])
    return memory


def test_a_vote_weighs_the_nearest_rows_by_their_cosines(memory):
    # Cosines of (2, 0): 1, 0.6, 0 and -1 whatever the lengths; the three nearest vote.
    weights = [exp(cosine / 0.5) for cosine in (1.0, 0.6, 0.0)]
    expected = [weights[0] / sum(weights), sum(weights[1:]) / sum(weights), 0.0]
    votes = memory.votes(torch.tensor([[[2.0, 0.0]]]), neighbours=3, temperature=0.5)
    assert votes.shape == (1, 1, 3)
    assert votes[0, 0].tolist() == pytest.approx(expected, abs=1e-3)  # rows are float16
    # More neighbours than rows are all rows.
    votes = memory.votes(torch.tensor([2.0, 0.0]), neighbours=9, temperature=0.5)
    total = sum(weights) + exp(-2.0)
    assert votes.tolist() == pytest.approx(
        [weights[0] / total, sum(weights[1:]) / total, exp(-2.0) / total], abs=1e-3
    )


def test_a_memory_without_rows_has_no_vote():
    memory = RetrievalMemory(2, ["sky", "sea"], model="m")
    assert memory.votes(torch.ones(5, 2), neighbours=1, temperature=1.0).tolist() == [[0, 0]] * 5


def test_a_saved_memory_votes_alike_and_is_never_overwritten(memory, tmp_path):
    memory.save(tmp_path / "a")
    opened = RetrievalMemory.open(tmp_path / "a")
    assert (opened.classes, opened.model, opened.source) == (("sky", "sea", "sand"), "m", "pets")
    assert opened.labels.tolist() == LABELS.tolist() and len(opened) == 4
    query = torch.tensor([[0.3, 0.1], [-1.0, 4.0]])
    options = {"neighbours": 2, "temperature": 0.1}
    assert torch.equal(opened.votes(query, **options), memory.votes(query, **options))
    assert torch.equal(opened.to("cpu").votes(query, **options), memory.votes(query, **options))
    with pytest.raises(FileExistsError, match="holds a memory; choose another folder"):
        memory.save(tmp_path / "a")


def test_names_are_put_in_the_callers_order_and_others_refused(memory):
    assert memory.order_of(["sand", "sky", "sea"]) == [2, 0, 1]
    with pytest.raises(ValueError, match="of pets has 3 classes, 3 are asked .*: 'sand', 'snow'"):
        memory.order_of(["snow", "sky", "sea"])
    with pytest.raises(ValueError, match="'sand', 'sea', 'tree' and 1 more.*WEIGHT 0"):
        memory.order_of(["sky", "tree", "wall"])


@pytest.mark.parametrize(
    "vectors, labels, message",
    [
        (torch.ones(2, 2), torch.zeros(1, dtype=torch.int64), "expected one int64 label"),
        (torch.ones(1, 2), torch.zeros(1), "torch.float32 for vectors"),
        (torch.ones(2, 2), torch.tensor([0, 3]), r"labels 0\.\.3; the memory has 3 classes"),
        (torch.ones(1, 2), torch.tensor([-1]), r"labels -1\.\.-1"),
        (torch.zeros(1, 2), torch.tensor([0]), "vector 0 is zero"),
        (torch.ones(1, 3), torch.tensor([0]), r"takes \(n, 2\)"),
    ],
)
def test_what_cannot_be_remembered_is_refused(memory, vectors, labels, message):
    with pytest.raises(ValueError, match=message):
        memory.add(vectors, labels)


def test_an_embedding_of_another_width_and_double_names_are_refused(memory):
    with pytest.raises(ValueError, match="3 channels, the memory 2: it was built by another"):
        memory.votes(torch.ones(1, 3), neighbours=1, temperature=1.0)
    with pytest.raises(ValueError, match="needs different classes"):
        RetrievalMemory(2, ["sky", "sky"], model="m")


def test_a_damaged_folder_is_told(memory, tmp_path):
    with pytest.raises(FileNotFoundError, match="is no memory: it has no memory.json"):
        RetrievalMemory.open(tmp_path)
    memory.save(tmp_path / "a")
    np.save(tmp_path / "a" / "labels.npy", np.array([0, 1, 1, 3]))
    with pytest.raises(ValueError, match="is no whole memory"):
        RetrievalMemory.open(tmp_path / "a")
    np.save(tmp_path / "a" / "labels.npy", np.array([0, 1, 1]))
    with pytest.raises(ValueError, match=r"4 vectors and int64 labels of shape \(3,\)"):
        RetrievalMemory.open(tmp_path / "a")
    (tmp_path / "a" / "labels.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="labels.npy: not a whole .npy file"):
        RetrievalMemory.open(tmp_path / "a")
    path = tmp_path / "a" / "memory.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "classes": [1, 2, 3]}))
    with pytest.raises(ValueError, match="memory.json is damaged: expected the keys"):
        RetrievalMemory.open(tmp_path / "a")
