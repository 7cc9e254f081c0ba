"""Shards of strangers: damaged headers, names that stand twice, captions with byte order marks."""

import io
import tarfile

import pytest

from segplugins.data.shards import FaultySample, index_shard, read_sample


def shard(tmp_path, *members):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize("kind", ["png", "txt"])
def test_two_members_of_one_name_and_kind_are_a_faulty_sample(tmp_path, kind):
    path = shard(tmp_path, ("0.png", b"a"), ("0.txt", b"b"), (f"0.{kind}", b"c"))
    ([entry], fault) = index_shard(path)
    assert fault is None
    with pytest.raises(FaultySample, match=f"has two .{kind}: are two samples called alike"):
        read_sample(entry)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_caption_is_read_without_its_byte_order_mark(tmp_path, encoding):
    path = shard(tmp_path, ("0.png", b"a"), ("0.txt", "a caf\xe9".encode(encoding)))
    assert read_sample(index_shard(path)[0][0]).text == "a caf\xe9"


def test_an_impossible_size_in_a_header_is_a_fault(tmp_path):
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    record = b"30 size=99999999999999999999\n"
    info.size = len(record)
    content = info.tobuf() + record.ljust(512, b"\0") + tarfile.TarInfo("0.png").tobuf()
    path = tmp_path / "a.tar"
    path.write_bytes(content + bytes(1024))
    entries, fault = index_shard(str(path))
    assert entries == [] or fault is not None
    assert "is not a plain tar, or is cut off" in fault
