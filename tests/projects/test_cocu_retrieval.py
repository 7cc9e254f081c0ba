"""Neighbours and their rows by hand, the tables of a vocabulary, and files that processes share."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segplugins.files.jobs import MANIFEST
from segplugins.projects.cocu.curation import tables, work
from segplugins.projects.cocu.curation.index import (
    IndexFiles,
    measured_recall,
    retrieve,
    rows_of,
)
from segplugins.projects.cocu.curation.options import ArchiveOptions
from segplugins.projects.cocu.curation.tables import (
    concept_prototypes,
    find_concepts,
    index_captions,
    mean_row,
)
from segplugins.projects.cocu.curation.work import complete, digest, read_manifest


class Index:
    """Answers every query with the first rows of a list, and keeps what it was asked."""

    def __init__(self, rows):
        self.rows, self.asked = torch.tensor(rows), []

    def query(self, queries, count):
        self.asked.append((queries, count))
        return SimpleNamespace(rows=self.rows[: len(queries), :count])


NO_OWN = np.zeros((2, 0), np.int64)


def test_neighbours_come_in_order_and_the_image_itself_is_left_out():
    index = Index([[5, 0, 7, 2], [1, 3, 0, -1]])
    queries = np.array([[0.5, 1.0], [2.0, 3.0]], np.float16)
    assert retrieve(index, queries, 3, NO_OWN).tolist() == [[5, 0, 7], [1, 3, 0]]
    asked, count = index.asked[0]
    assert asked.dtype == torch.float32 and asked.tolist() == queries.tolist() and count == 3
    # One row more is asked for where one may be the image itself; -1 stands for none.
    own = np.array([[0], [-1]])
    assert retrieve(index, queries, 3, own).tolist() == [[5, 7, 2], [1, 3, 0]]
    assert index.asked[1][1] == 4


def test_places_without_a_neighbour_stand_last():
    index = Index([[5, -1, -1], [-1, -1, -1]])
    queries = np.ones((2, 2), np.float16)
    assert retrieve(index, queries, 3, NO_OWN).tolist() == [[5, -1, -1], [-1, -1, -1]]
    own = np.array([[5, 4], [4, 4]])  # two captions of one image
    assert retrieve(Index([[5, 4, 9], [4, 2, 8]]), queries, 1, own).tolist() == [[9], [2]]
    nothing = retrieve(index, np.zeros((0, 2), np.float16), 4, NO_OWN[:0])
    assert nothing.shape == (0, 4) and nothing.dtype == np.int64


ROWS = {"a": [[1, 0], [0, 1], [1, 1]], "b": [], "c": [[3, 0], [0, 5]]}
CAPTIONS = {
    "a": [["a dog"], ["a cat", "two cats"], []],
    "b": [],
    "c": [["the sky"], ["a dog", "grass"]],
}


@pytest.fixture
def index(tmp_path):
    """Three shards of 3, 0 and 2 images, whose captions have rows of their own."""
    for name, rows in ROWS.items():
        samples = [{"key": f"{name}{i}", "captions": c} for i, c in enumerate(CAPTIONS[name])]
        lines = [{"left_out": 0}, *samples]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
        np.save(tmp_path / f"{name}.npy", np.array(rows, np.float16).reshape(-1, 2))
        count = sum(map(len, CAPTIONS[name]))
        np.save(tmp_path / f"{name}.captions.npy", np.zeros((count, 2), np.float16))
    return IndexFiles([tmp_path], [list(ROWS)])


def test_rows_are_counted_through_all_shards(index, tmp_path):
    assert len(index) == 5 and index.starts.tolist() == [0, 3, 3, 5]
    assert [index.first_row(tmp_path, name) for name in "abc"] == [0, 3, 3]
    assert index.first_row(tmp_path / ".." / tmp_path.name, "c") == 3
    assert index.first_row(tmp_path, "d") == index.first_row(tmp_path.parent, "a") == -1


def test_what_stands_in_a_row_is_of_its_shard(index, tmp_path):
    entries = rows_of(index, [4, -1, 0, 2, 3, 0], captions=False)
    assert {row: (e.shard, e.sample["key"], e.text) for row, e in entries.items()} == {
        0: (0, "a0", "a dog"),
        2: (0, "a2", ""),
        3: (2, "c0", "the sky"),
        4: (2, "c1", "a dog / grass"),
    }
    captions = IndexFiles([tmp_path], [list(ROWS)], ".captions.npy")
    entries = rows_of(captions, list(range(6)), captions=True)
    assert [(entries[row].sample["key"], entries[row].text) for row in range(6)] == [
        ("a0", "a dog"), ("a1", "a cat"), ("a1", "two cats"),
        ("c0", "the sky"), ("c1", "a dog"), ("c1", "grass"),
    ]  # fmt: skip
    assert rows_of(index, [-1, -1], captions=False) == {}


def test_recall_is_the_share_of_exact_neighbours(index):
    exact = index.exact()
    assert measured_recall(exact, index, 2) == 1.0

    class Half:
        """Finds the nearest row and then none."""

        def query(self, queries, count):
            found = exact.query(queries, count)
            rows = found.rows.clone()
            rows[:, 1:] = -1
            return found._replace(rows=rows)

    assert measured_recall(Half(), index, 2) == pytest.approx(0.5)


def test_the_mean_row_is_over_images_and_not_over_shards(index):
    np.testing.assert_allclose(mean_row(index), [(1 + 0 + 1 + 3 + 0) / 5, (0 + 1 + 1 + 0 + 5) / 5])
    assert mean_row(index).dtype == np.float32


def test_without_a_text_tower_a_concept_is_the_mean_of_its_images(index):
    centre = np.zeros(2, np.float32)
    table = concept_prototypes(index, ["cat", "dog", "horse"], centre)
    half = 0.5**0.5
    # "dog" stands in captions of a0 and c1, of directions (1, 0) and (0, 1); "cat" in that of a1.
    expected = [[0, half, half], [0.5, 0.5, half], [0, 0, half]]
    np.testing.assert_allclose(table, expected, atol=1e-6)
    moved = concept_prototypes(index, ["cat"], np.array([0.0, 2.0], np.float32))
    np.testing.assert_allclose(moved, [[0, -half, half]], atol=1e-6)


def test_a_vocabulary_is_taken_as_it_stands_or_built_from_captions(index, monkeypatch):
    assert list(index_captions(index)) == [
        "a dog", "a cat", "two cats", "the sky", "a dog", "grass",
    ]  # fmt: skip
    options = ArchiveOptions(vocabulary="Hot  Dog, dog, Sky")
    assert find_concepts(options, index) == ["hot dog", "dog", "sky"]
    calls = []

    def build(captions, rules, *tagger):
        calls.append((len(list(captions)), rules.size, rules.min_count, tagger))
        return ["dog"]

    monkeypatch.setattr(tables, "build_concept_vocabulary", build)
    monkeypatch.setattr(tables, "build_tagged_vocabulary", build)
    monkeypatch.setattr(tables, "load_tagger", lambda kind: f"tagger {kind}")
    options = {"vocabulary_size": 7, "min_count": 2}
    for nouns in ("rule", "nltk"):
        assert find_concepts(ArchiveOptions(nouns=nouns, **options), index) == ["dog"]
    assert calls == [(6, 7, 2, ()), (6, 7, 2, ("tagger nltk",))]


def test_the_defaults_are_the_papers_and_the_bounds_are_included():
    options = ArchiveOptions().identity()
    assert options == {
        "vocabulary": "", "vocabulary_size": 2000, "min_count": 5, "nouns": "rule",
        "expansion": "vision", "neighbours": 8, "index": "exact", "exclude_self": False,
        "add_own": False, "ranking": "vision", "norm": "per_image_max", "substring": False,
        "clusters": 3, "top": 32, "seed": 0,
    }  # fmt: skip
    ArchiveOptions(neighbours=1, top=1, clusters=0)
    ArchiveOptions(expansion="none", ranking="naive")
    for wrong in ({"top": 0}, {"clusters": -1}):
        with pytest.raises(ValueError, match="the first two start at 1, clusters at 1 or 0"):
            ArchiveOptions(**wrong)
    with pytest.raises(ValueError, match="expansion 'none' retrieves none; choose ranking 'naive'"):
        ArchiveOptions(expansion="none")


# --- files that processes share


class Folder:
    """A job whose files of another process appear at the next look."""

    def __init__(self, taken):
        self.taken, self.files, self.looks = set(taken), set(), 0

    def unfinished(self, names):
        self.looks += 1
        if self.looks > 2:
            self.files |= self.taken
        return [name for name in names if name not in self.files]

    @contextmanager
    def claim(self, name):
        yield name not in self.taken


def test_what_another_process_makes_is_waited_for_and_not_made_again(monkeypatch):
    pauses = []
    monkeypatch.setattr(work.time, "sleep", pauses.append)
    folder, made = Folder(["b"]), []

    def make(name):
        made.append(name)
        folder.files.add(name)

    complete(folder, ["a", "b", "c"], make)
    assert made == ["a", "c"] and folder.files == {"a", "b", "c"}
    # After a pass that made something there is no pause; then one at a time.
    assert pauses == []
    folder = Folder(["a"])
    folder.looks = 0
    complete(folder, ["a"], made.append)
    assert made == ["a", "c"] and len(pauses) == 1 and 0 < pauses[0] < 1


def test_a_digest_is_of_the_values_and_not_of_their_order(tmp_path):
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) and digest([1, 2]) != digest([2, 1])
    assert len(digest([])) == 16 and int(digest([]), 16) >= 0
    with pytest.raises(FileNotFoundError, match="is no folder of embeddings.* by the stage embed"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text('{"embedder": "x"}')
    assert read_manifest(tmp_path) == {"embedder": "x"}
