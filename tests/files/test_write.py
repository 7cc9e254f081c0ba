import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from segplugins.files import write
from segplugins.files.write import (
    absent_folders,
    end_whole_lines,
    free_bytes,
    is_temporary,
    probe_folder,
    remove_empty,
    remove_stale,
    replacing,
    write_bytes,
    write_json,
    write_text,
)


def test_a_file_is_written_under_another_name_that_ends_alike(tmp_path):
    path = tmp_path / "new" / "scores.tar.gz"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".gz"
        assert is_temporary(temporary) and not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole" and os.listdir(path.parent) == ["scores.tar.gz"]


def test_an_error_leaves_the_file_of_before(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]


def test_contents_are_written_as_they_are(tmp_path):
    write_bytes(tmp_path / "b", b"\r\n\x00")
    assert (tmp_path / "b").read_bytes() == b"\r\n\x00"
    write_text(tmp_path / "t", "Straße\n")
    assert (tmp_path / "t").read_bytes() == "Straße\n".encode()
    write_json(tmp_path / "j", {"a": [1, None]})
    assert json.loads((tmp_path / "j").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "j", float("nan"))
    assert json.loads((tmp_path / "j").read_text()) == {"a": [1, None]}


def test_stale_files_go_and_nothing_else(tmp_path):
    kept = ["model.pth", ".hidden", "my.part1.rar", "x.partial", ".vimrc.party"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    stale = [tmp_path / ".model.123-0.part.pth", tmp_path / "inner" / ".config.9-1.part"]
    for path in stale:
        path.touch()
    assert sorted(remove_stale(tmp_path)) == sorted(stale)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "inner"])
    assert os.listdir(tmp_path / "inner") == []


@pytest.mark.parametrize(
    "text, kept",
    [
        ("", ""),
        ("one\ntwo\n", "one\ntwo\n"),
        ("one\ntw", "one\n"),
        ("half", ""),
        ("one\n" + "x" * 10_000, "one\n"),
    ],
)
def test_a_half_line_at_the_end_goes(tmp_path, text, kept):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    assert end_whole_lines(path) == len(text) - len(kept)
    assert path.read_text() == kept


def test_no_file_has_no_half_line(tmp_path):
    assert end_whole_lines(tmp_path / "none") == 0


WRITER = """
import itertools, sys
from segplugins.files.write import replacing
for n in itertools.count():
    with replacing(sys.argv[1]) as temporary, open(temporary, "w") as file:
        for line in range(200):
            file.write(f"{n}\\n")
            file.flush()
    print(n, flush=True)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(tmp_path):
    rng = random.Random(0)
    for _ in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path / "file.txt"], stdout=subprocess.PIPE
        )
        writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.02))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        lines = (tmp_path / "file.txt").read_text().splitlines()
        assert len(lines) == 200 and len(set(lines)) == 1
    remove_stale(tmp_path)
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_folder_is_probed_and_not_made(tmp_path):
    (tmp_path / "there").mkdir()
    probe_folder(tmp_path / "there")
    probe_folder(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="it is a file, not a folder"):
        probe_folder(tmp_path / "file")
    for path in (tmp_path / "file", tmp_path / "file" / "a", tmp_path / "new" / ("x" * 300)):
        with pytest.raises(OSError):
            probe_folder(path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "there"]


def test_absent_folders_come_innermost_first_and_empty_ones_go_up_to_the_first_that_is_used(
    tmp_path,
):
    a, b, c = tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"
    assert absent_folders(c) == [c, b, a]
    c.mkdir(parents=True)
    assert absent_folders(c) == []
    (a / "kept").touch()
    remove_empty([c, b, a])
    assert a.is_dir() and not b.exists()


def test_free_space_is_that_of_the_disk_a_folder_would_lie_on(tmp_path, monkeypatch):
    asked = []
    usage = lambda folder: asked.append(Path(folder)) or SimpleNamespace(free=7)  # noqa: E731
    monkeypatch.setattr(write.shutil, "disk_usage", usage)
    assert free_bytes(tmp_path / "a" / "b") == free_bytes(tmp_path) == 7
    assert asked == [tmp_path, tmp_path]
