"""run.lock: who owns a folder, and what another run is told."""

import fcntl
import os
import re

import pytest

from segplugins.engine import folder_lock
from segplugins.engine.folder_lock import NAME, FolderInUse, lock_folder


@pytest.fixture(autouse=True)
def let_go(monkeypatch):
    """Locks of a test end with it."""
    held = {}
    monkeypatch.setattr(folder_lock, "_HELD", held)
    yield held
    for file in held.values():
        file.close()


def test_the_owner_stands_in_the_file_in_place_of_the_one_before(tmp_path):
    (tmp_path / NAME).write_text(
        "process 1 on a machine with a very long name since long ago\n" * 3
    )
    lock_folder(tmp_path)
    line = rf"process {os.getpid()} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d .*\n"
    assert re.fullmatch(line, (tmp_path / NAME).read_text())


def test_a_second_claim_of_the_same_process_is_no_second_run(tmp_path, let_go):
    lock_folder(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for same in (tmp_path, tmp_path / "link", tmp_path / "link" / ".." / tmp_path.name):
        lock_folder(same)
    assert list(let_go) == [(tmp_path / NAME).resolve()]
    (tmp_path / "other").mkdir()
    lock_folder(tmp_path / "other")
    assert len(let_go) == 2


@pytest.mark.parametrize(
    "content, owner",
    [("process 7 on a since b\n", "process 7 on a since b"), ("", "an unknown process")],
)
def test_a_folder_of_another_process_is_refused_and_its_owner_stays(
    tmp_path, monkeypatch, let_go, content, owner
):
    asked = []

    def taken(file, operation):
        asked.append(operation)
        raise BlockingIOError("held")

    (tmp_path / NAME).write_text(content)
    monkeypatch.setattr(folder_lock.fcntl, "lockf", taken)
    message = f"'{tmp_path}' is in use by another run ({owner}); wait for it, or choose another"
    with pytest.raises(FolderInUse, match=re.escape(message)):
        lock_folder(tmp_path)
    assert asked == [fcntl.LOCK_EX | fcntl.LOCK_NB]  # it does not wait
    assert (tmp_path / NAME).read_text() == content and not let_go
