"""The index: where samples lie, read once, in few bytes, with the faults of shards."""

import os
from itertools import islice

import pytest

import segplugins.data.pairs.index as module
from segplugins.data.pairs.index import PairIndex, build_index
from segplugins.data.pairs.samples import PairSamples
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


def index_of(counts):
    """An index whose places need no file."""
    files = [f"{shard}.npy" for shard in range(len(counts))]
    return PairIndex([f"{shard}.tar" for shard in range(len(counts))], files, counts)


def test_numbers_run_over_the_borders_of_shards_and_over_empty_ones(monkeypatch):
    # The first row of a file is its version; sample i of shard s lies at byte 100 s + i.
    def places(file):
        shard = int(file.split(".")[0])
        rows = [[-9, -9], *([100 * shard + i, 10 + i] for i in range(9))]
        return module.np.array(rows)

    monkeypatch.setattr(module, "_places", places)
    index = index_of([2, 0, 3])
    assert len(index) == 5
    found = [(entry.shard, entry.offset, entry.size) for entry in map(index.__getitem__, range(5))]
    assert found == [
        ("0.tar", 0, 10),
        ("0.tar", 1, 11),
        ("2.tar", 200, 10),
        ("2.tar", 201, 11),
        ("2.tar", 202, 12),
    ]
    for number in (-1, 5):
        with pytest.raises(IndexError, match=f"sample {number} of 5"):
            index[number]


def test_samples_of_several_sets_follow_one_another(monkeypatch):
    def places(file):
        return module.np.array([[-9, -9], *([i, 1] for i in range(9))])

    monkeypatch.setattr(module, "_places", places)
    samples = PairSamples({"a": index_of([2, 1]), "b": index_of([1]), "c": index_of([2])})
    assert samples.sizes == [3, 1, 2] and len(samples) == 6
    found = [(samples[n]["dataset"], samples[n]["file_name"]) for n in range(6)]
    assert found == [
        ("a", "0.tar"),
        ("a", "0.tar"),
        ("a", "1.tar"),
        ("b", "0.tar"),
        ("c", "0.tar"),
        ("c", "0.tar"),
    ]
    assert [samples[n]["image_id"] for n in range(6)] == [f"byte {n}" for n in (0, 1, 0, 0, 0, 1)]
    for number in (-1, 6):
        with pytest.raises(IndexError, match=f"sample {number} of 6"):
            samples[number]


def test_each_set_is_read_in_an_order_of_its_own_samples(monkeypatch):
    samples = PairSamples({"a": index_of([2, 1]), "b": index_of([4])})
    for size, order in zip((3, 4), samples.orders):
        drawn = list(islice(order(module.np.random.default_rng(0)), 2 * size))
        assert sorted(drawn[:size]) == sorted(drawn[size:]) == list(range(size))


def test_shards_of_one_name_in_two_folders_have_files_of_their_own(web, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first = web.shards(tmp_path / "a", [2])
    second = web.shards(tmp_path / "b", [3])
    index = build_index(first + second, tmp_path / "index", STRICT)
    assert index.counts.tolist() == [2, 3] and len(set(index.files)) == 2
    assert sorted(os.listdir(tmp_path / "index")) == sorted(map(os.path.basename, index.files))


def test_two_processes_read_every_header_once_and_agree(web, tmp_path, monkeypatch):
    paths = web.shards(tmp_path, [1, 2, 3])
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no tar")
    paths.append(str(broken))
    read, original = [], module.index_shard
    monkeypatch.setattr(module, "index_shard", lambda shard: read.append(shard) or original(shard))
    monkeypatch.setattr(module.comm, "get_world_size", lambda: 2)
    # The second process has read its half, with one fault, when the first gathers.
    half = [module._file_name(path) for path in paths[1::2]]
    files = [str(tmp_path / "index" / name) for name in half]
    (tmp_path / "index").mkdir()
    others = module._index(paths[1::2], files)
    assert list(others) == [str(broken)] and read == paths[1::2]
    monkeypatch.setattr(module.comm, "all_gather", lambda faults: [faults, others])
    policy = Skip()
    index = build_index(paths, tmp_path / "index", policy)
    assert read == paths[1::2] + paths[::2]
    assert index.counts.tolist() == [1, 2, 3, 0] and policy.counts == {"shard": 1}
