"""Side-cars: joined by place and key, never by position alone."""

import json
from pathlib import Path

import pytest

from segplugins.data.pairs import PairMapper, SideCars
from segplugins.data.pairs.sidecar import open_sidecars
from segplugins.data.shards import FaultySample, index_shard


def write(path, lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def shard(tmp_path, web):
    (shard,) = web.shards(tmp_path, [3])
    return shard, index_shard(shard)[0]


def lines_of(entries):
    return [{"at": e.offset, "key": e.key, "concepts": [f"c{n}"]} for n, e in enumerate(entries)]


def test_a_line_is_found_whatever_the_order_of_the_file(tmp_path, shard):
    path, entries = shard
    write(tmp_path / "side" / "0.jsonl", lines_of(entries)[::-1])
    side = SideCars(tmp_path / "side", [path])
    for number, entry in enumerate(entries):
        assert side.line(entry, entry.key)["concepts"] == [f"c{number}"]


def test_the_mapper_gives_what_the_side_car_says(tmp_path, shard):
    path, entries = shard
    write(tmp_path / "side" / "0.jsonl", lines_of(entries))
    mapper = PairMapper([], sidecars={"web": SideCars(tmp_path / "side", [path])})
    record = mapper({"entry": entries[1], "dataset": "web"})
    assert record["sidecar"] == {"at": entries[1].offset, "key": "000001", "concepts": ["c1"]}
    assert "sidecar" not in mapper({"entry": entries[1], "dataset": "other"})


def test_missing_lines_and_other_samples_are_faults(tmp_path, shard):
    path, entries = shard
    lines = lines_of(entries)
    lines[1]["key"] = "else"
    write(tmp_path / "side" / "0.jsonl", lines[:2])
    side = SideCars(tmp_path / "side", [path])
    with pytest.raises(FaultySample, match="0.jsonl has no line of it"):
        side.line(entries[2], entries[2].key)
    with pytest.raises(FaultySample, match="has the sample 'else' at this place"):
        side.line(entries[1], entries[1].key)
    mapper = PairMapper([], sidecars={"web": side})
    with pytest.raises(FaultySample, match="has no line of it; mend it or leave it out"):
        mapper({"entry": entries[2], "dataset": "web"})
    write(tmp_path / "bad" / "0.jsonl", [{"key": "000000"}])
    with pytest.raises(FaultySample, match='line 1: expected {"at": ..., "key": ...}'):
        SideCars(tmp_path / "bad", [path]).line(entries[0], entries[0].key)


def test_shards_without_a_file_are_named_before_training(tmp_path, shard):
    path, _ = shard
    with pytest.raises(FileNotFoundError, match=r"has no 0.jsonl for .*0.tar \(1 of 1 shards"):
        SideCars(tmp_path / "side", [path])
    with pytest.raises(ValueError, match="names 2 folders for the 1 sets"):
        open_sidecars(["a", "b"], {"web": [path]})
    assert open_sidecars([], {"web": [path]}) == {}
    assert open_sidecars([""], {"web": [path]}) == {}


def test_the_config_gives_each_training_set_its_folder(tmp_path, pairs_cfg, web):
    (tmp_path / "x").mkdir()
    (path,) = web.shards(tmp_path / "x", [2])
    entries = index_shard(path)[0]
    write(tmp_path / "side" / f"{Path(path).stem}.jsonl", lines_of(entries))
    cfg = pairs_cfg({"sidecar-web": "x/*.tar"}, "DATASETS.SIDECARS", [str(tmp_path / "side")])
    mapper = PairMapper.from_config(cfg, ["sidecar-web"])
    assert mapper({"entry": entries[0], "dataset": "sidecar-web"})["sidecar"]["concepts"] == ["c0"]
