import hashlib

import pytest

from segplugins.files.digests import file_digest, path_digest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set/deep").mkdir(parents=True)
    (tmp_path / "set/a").write_bytes(b"one")
    (tmp_path / "set/deep/b").write_bytes(b"two")
    return tmp_path / "set"


def test_a_file_has_the_sha256_of_its_bytes(folder):
    expected = hashlib.sha256(b"one").hexdigest()
    assert file_digest(folder / "a") == expected
    assert path_digest(folder / "a") == expected[:16]


def test_a_folder_has_the_digest_of_names_and_contents_in_order(folder):
    text = "".join(
        f"{name}\0{hashlib.sha256(content).hexdigest()}\0"
        for name, content in (("a", b"one"), ("deep/b", b"two"))
    )
    assert path_digest(folder) == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("change", ["content", "name", "place", "file"])
def test_every_change_of_a_folder_changes_its_digest(folder, change):
    before = path_digest(folder)
    if change == "content":
        (folder / "deep/b").write_bytes(b"twO")
    elif change == "name":
        (folder / "a").rename(folder / "c")
    elif change == "place":
        (folder / "deep/b").rename(folder / "b")
    else:
        (folder / "empty").touch()
    assert path_digest(folder) != before


@pytest.mark.parametrize("hidden", [".a", ".git/x", "deep/.b"])
def test_hidden_files_and_empty_folders_change_nothing(folder, hidden):
    before = path_digest(folder)
    (folder / hidden).parent.mkdir(exist_ok=True)
    (folder / hidden).write_text("x")
    (folder / "none").mkdir()
    assert path_digest(folder) == before
