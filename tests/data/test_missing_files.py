"""Missing files are found before the first step, by one look at each folder."""

import os

import pytest

from segplugins.data.missing_files import check_files, missing_files


@pytest.fixture
def records(tmp_path):
    """Three records with an image and a label map each, all there."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            (tmp_path / folder / f"{name}.png").touch()
    return [
        {
            "file_name": str(tmp_path / "images" / f"{name}.png"),
            "sem_seg_file_name": str(tmp_path / "labels" / f"{name}.png"),
            "dataset": "set",
        }
        for name in "abc"
    ]


def test_nothing_is_said_of_files_that_are_there(records):
    assert missing_files(records) == []
    check_files(records)
    check_files([])


@pytest.mark.parametrize("key", ["file_name", "sem_seg_file_name"])
def test_a_missing_file_is_named_with_the_number_of_records(records, key):
    for record in records[1:]:
        os.remove(record[key])
    assert missing_files(records) == [(record, record[key]) for record in records[1:]]
    message = f"data set 'set': {records[1][key]} does not exist; files of 2 of 3 training records"
    with pytest.raises(FileNotFoundError, match=message):
        check_files(records)


def test_a_missing_folder_is_a_missing_file(records, tmp_path):
    (tmp_path / "labels").rename(tmp_path / "elsewhere")
    assert len(missing_files(records)) == 3


def test_each_folder_is_looked_at_once(records, monkeypatch):
    seen = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: seen.append(folder) or listdir(folder))
    missing_files(records)
    assert len(seen) == 2
