import json
import multiprocessing
import os
import signal
import time

import pytest

from segplugins.files import write
from segplugins.files.jobs import MANIFEST, JobFolder, OtherJob, differences
from segplugins.files.write import replacing, write_text

IDENTITY = {"recipe": {"seed": 0, "stages": [{"name": "area"}, {"name": "clip"}]}, "shard": 10}


def hold(folder, started):
    with (
        JobFolder(folder, IDENTITY).claim("parts/0.txt") as is_ours,
        replacing(folder / "parts" / "0.txt") as temporary,
    ):
        temporary.write_text("half")
        started.put(is_ours)
        time.sleep(60)


def work(folder, count, made):
    job = JobFolder(folder, IDENTITY)
    for number in range(count):
        with job.claim(f"{number}.txt") as is_ours:
            if is_ours:
                made.put(number)
                time.sleep(0.002)
                write_text(job.path(f"{number}.txt"), str(number))


def test_a_claim_is_for_one_until_its_block_ends(tmp_path):
    one, two = JobFolder(tmp_path / "out", IDENTITY), JobFolder(tmp_path / "out", IDENTITY)
    with one.claim("0.txt") as is_ours, two.claim("0.txt") as is_theirs:
        assert is_ours and not is_theirs
        with two.claim("1.txt") as is_another:
            assert is_another
    with two.claim("0.txt") as is_theirs:  # nobody has written it
        assert is_theirs
        write_text(two.path("0.txt"), "whole")
    with one.claim("0.txt") as is_ours:
        assert not is_ours
    assert one.unfinished(["0.txt", "1.txt"]) == ["1.txt"]
    assert not (tmp_path / "out" / ".claims" / "0.txt").exists()


def test_a_block_that_raises_frees_its_claim(tmp_path):
    job = JobFolder(tmp_path, IDENTITY)
    with pytest.raises(RuntimeError, match="broken"), job.claim("a/0.txt"):
        raise RuntimeError("broken")
    with job.claim("a/0.txt") as is_ours:
        assert is_ours


def test_a_killed_process_leaves_no_claim_and_its_half_file_goes_away(tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Queue()
    process = context.Process(target=hold, args=(tmp_path, started))
    process.start()
    assert started.get(timeout=60)
    job = JobFolder(tmp_path, IDENTITY)
    with job.claim("parts/0.txt") as is_ours:
        assert not is_ours
    (neighbour := tmp_path / "parts" / ".0.txt.1-2.part.txt").write_text("another's")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(list((tmp_path / "parts").iterdir())) == 2
    with job.claim("parts/0.txt") as is_ours:
        assert is_ours
        assert list((tmp_path / "parts").iterdir()) == [neighbour]


def test_two_processes_make_every_file_once(tmp_path):
    context = multiprocessing.get_context("fork")
    made = context.Queue()
    processes = [context.Process(target=work, args=(tmp_path, 20, made)) for _ in range(2)]
    for process in processes:
        process.start()
    numbers = sorted(made.get(timeout=60) for _ in range(20))
    for process in processes:
        process.join()
    assert numbers == list(range(20)) and made.empty()


def test_a_changed_job_is_refused_and_names_what_changed(tmp_path):
    JobFolder(tmp_path, IDENTITY)
    JobFolder(tmp_path, json.loads(json.dumps(IDENTITY)))  # the same again does no harm
    changed = {**IDENTITY, "recipe": {"seed": 1, "stages": [{"name": "area"}, {"name": "nms"}]}}
    with pytest.raises(
        OtherJob, match='seed is 1, was 0; recipe.stages.1.name is "nms", was "clip". Go on'
    ):
        JobFolder(tmp_path, changed)
    assert json.loads((tmp_path / MANIFEST).read_text()) == IDENTITY


def test_differences_name_keys_that_came_and_went():
    assert differences({"a": 1, "b": [1, 2]}, {"b": [1, 3], "c": "x" * 50}) == [
        "a is gone, was 1",
        "b is [1, 3], was [1, 2]",
        f'c is "{"x" * 36}..., was not there',
    ]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(OtherJob, match="holds photo.jpg and no manifest.json"):
        JobFolder(tmp_path, IDENTITY)


def test_a_folder_that_cannot_be_made_or_has_no_room_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="the output folder cannot be written"):
        JobFolder(tmp_path / "file" / "out", IDENTITY)
    usage = type("Usage", (), {"free": 999_000})
    monkeypatch.setattr(write.shutil, "disk_usage", lambda folder: usage)
    JobFolder(tmp_path / "fits", IDENTITY, room=999_000)
    with pytest.raises(OSError, match=r"has 1.0 MB free and the output takes about 5.0 MB"):
        JobFolder(tmp_path / "full", IDENTITY, room=5_000_000)


def test_a_damaged_manifest_is_named(tmp_path):
    JobFolder(tmp_path, IDENTITY)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        JobFolder(tmp_path, IDENTITY)
