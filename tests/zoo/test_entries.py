"""Entries of the zoo: required and optional keys, the nearest name; where files are kept."""

from pathlib import Path

import pytest

from segplugins.zoo import entry_of
from segplugins.zoo.entries import Entry, read_entries
from segplugins.zoo.fetch import cache_folder, check_file

REQUIRED = {"config": "c", "page": "p", "file": "f", "licence": "l"}


def write(tmp_path, text):
    path = tmp_path / "zoo.yaml"
    path.write_text(text)
    return path


def test_an_entry_has_its_name_and_the_defaults_of_what_is_not_known(tmp_path):
    path = write(tmp_path, "a: {config: c, page: p, file: f, licence: l, size: 3}")
    (entry,) = read_entries(path).values()
    assert entry == Entry(name="a", **REQUIRED, size=3)
    assert (entry.address, entry.sha256, entry.converter, entry.expected) == (None, None, "", {})


def test_a_file_without_entries_has_none(tmp_path):
    assert read_entries(write(tmp_path, "")) == {}


@pytest.mark.parametrize("key", sorted(REQUIRED))
def test_every_required_key_is_asked_for(tmp_path, key):
    rest = ", ".join(f"{each}: x" for each in REQUIRED if each != key)
    with pytest.raises(ValueError, match="zoo.yaml, 'a': keys .* required are .*'config', 'file'"):
        read_entries(write(tmp_path, f"a: {{{rest}}}"))


@pytest.mark.parametrize("key", ["name", "Address"])
def test_a_key_that_is_not_one_of_yaml_is_refused(tmp_path, key):
    keys = ", ".join(f"{each}: x" for each in [*REQUIRED, key])
    with pytest.raises(ValueError, match=f"'a': keys .*'{key}'.*; required are"):
        read_entries(write(tmp_path, f"a: {{{keys}}}"))


def test_a_name_that_is_like_no_other_still_gets_one():
    with pytest.raises(ValueError, match="the zoo has no '###'; the nearest is '"):
        entry_of("###")


@pytest.mark.parametrize(
    ("given", "base", "folder"),
    [
        ("/a", "/b", "/a"),
        (None, "/b", "/b/segplugins"),
        ("", "", str(Path.home() / ".cache/segplugins")),
        (None, None, str(Path.home() / ".cache/segplugins")),
    ],
)
def test_the_cache_is_the_folder_named_or_that_of_the_user(monkeypatch, given, base, folder):
    for name, value in (("SEGPLUGINS_CACHE", given), ("XDG_CACHE_HOME", base)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


@pytest.mark.parametrize("begin", ["<!DOCTYPE html>", "  \n<HTML>", "<html lang=en>"])
def test_a_web_page_is_refused_however_it_is_written(tmp_path, begin):
    path = tmp_path / "w.pth"
    path.write_text(begin)
    with pytest.raises(ValueError, match="gave another file .*: a web page. Nothing of it is kept"):
        check_file(path, Entry(name="a", **REQUIRED))
    assert not path.exists()


def test_a_file_of_the_right_size_is_kept_and_one_byte_more_is_not(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"abc")
    check_file(path, Entry(name="a", **REQUIRED, size=3))
    assert path.read_bytes() == b"abc"
    with pytest.raises(ValueError, match="3 bytes, expected 2"):
        check_file(path, Entry(name="a", **REQUIRED, size=2))
