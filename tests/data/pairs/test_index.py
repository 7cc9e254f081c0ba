"""The index: where samples lie, read once, in few bytes, with the faults of shards."""

import os

import pytest

import segplugins.data.pairs.index as module
from segplugins.data.pairs.index import build_index
from segplugins.data.shards import read_sample
from segplugins.files.faults import STRICT, FaultError, Skip


def keys(index):
    return [read_sample(index[number]).key for number in range(len(index))]


def test_samples_stand_in_the_order_of_the_shards(web, tmp_path):
    index = build_index(web.shards(tmp_path, [3, 1, 4]), tmp_path / "index", STRICT)
    assert len(index) == 8 and index.counts.tolist() == [3, 1, 4]
    assert keys(index) == [f"{n:06d}" for n in range(8)]
    for number in (-1, 8):
        with pytest.raises(IndexError):
            index[number]


def test_a_sample_takes_sixteen_bytes_and_nothing_in_memory(web, tmp_path):
    index = build_index(web.shards(tmp_path, [500]), tmp_path / "index", STRICT)
    header = 128 + 16  # of the file, and the row of the version
    assert os.path.getsize(index.files[0]) == 500 * 16 + header
    assert index.counts.nbytes == 8  # per shard


def test_headers_are_read_once(web, tmp_path, monkeypatch):
    paths = web.shards(tmp_path, [3, 2])
    first = keys(build_index(paths, tmp_path / "index", STRICT))
    indexed = []
    read = module.index_shard
    monkeypatch.setattr(module, "index_shard", lambda shard: indexed.append(shard) or read(shard))
    assert keys(build_index(paths, tmp_path / "index", STRICT)) == first
    assert indexed == []
    # A shard that has changed is read again, the others are not.
    web.write_tar(tmp_path / "1.tar", [("new.png", web.picture()), ("new.txt", b"a")])
    module._places.cache_clear()
    assert keys(build_index(paths, tmp_path / "index", STRICT)) == [*first[:3], "new"]
    assert indexed == [paths[1]]


def test_a_broken_index_is_made_again(web, tmp_path):
    paths = web.shards(tmp_path, [3])
    index = build_index(paths, tmp_path / "index", STRICT)
    with open(index.files[0], "r+b") as file:
        file.truncate(20)
    module._places.cache_clear()
    assert keys(build_index(paths, tmp_path / "index", STRICT)) == keys(index)


def test_a_damaged_shard_stops_or_gives_what_stands_before_the_damage(web, tmp_path):
    paths = web.shards(tmp_path, [2, 4])
    with open(paths[1], "r+b") as file:
        file.truncate(3000)  # a header and its content take two blocks of 512 bytes
    for _ in range(2):  # told in every run, not only in the one that reads the headers
        with pytest.raises(FaultError, match=r"1\.tar.* is not a plain tar, or is cut off"):
            build_index(paths, tmp_path / "index", STRICT)
        policy = Skip()
        index = build_index(paths, tmp_path / "index", policy)
        assert policy.counts == {"shard": 1}
        assert keys(index)[:3] == ["000000", "000001", "000002"]


def test_an_empty_shard_is_a_fault_and_an_empty_set_an_error(web, tmp_path):
    empty = web.write_tar(tmp_path / "empty.tar", [])
    with pytest.raises(FaultError, match=r"empty\.tar holds no sample"):
        build_index([empty], tmp_path / "index", STRICT)
    with pytest.raises(ValueError, match="none of 1 shards holds a sample"):
        build_index([empty], tmp_path / "index", Skip())
    missing = str(tmp_path / "missing.tar")
    with pytest.raises(FaultError, match=r"missing\.tar cannot be read: No such file"):
        build_index([missing], tmp_path / "index", STRICT)
