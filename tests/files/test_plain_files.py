import os
import socket

import pytest

from segplugins.data.shards import index_shard
from segplugins.files.faults import Collect
from segplugins.files.json_file import read_json
from segplugins.files.label_maps import read_label_map
from segplugins.files.panoptic_ids import read_segment_ids
from segplugins.files.pictures import read_picture
from segplugins.files.plain_files import check_plain_file, read_plain_file
from segplugins.files.plain_pickle import read_pickle
from segplugins.files.refs import load_refs
from segplugins.files.text import read_text


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path / "pipe.png"


def test_a_file_is_read_and_what_is_none_is_named(tmp_path, pipe):
    (tmp_path / "a").write_bytes(b"ab")
    assert read_plain_file(tmp_path / "a") == b"ab"
    with pytest.raises(FileNotFoundError):
        read_plain_file(tmp_path / "b")
    with pytest.raises(IsADirectoryError):
        read_plain_file(tmp_path)
    with pytest.raises(OSError, match="pipe.png is a named pipe, expected a plain file"):
        read_plain_file(pipe)
    os.symlink("/dev/zero", tmp_path / "zero")  # reading it to the end would take all memory
    with pytest.raises(OSError, match="zero is a device"):
        read_plain_file(tmp_path / "zero")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="s is a socket"):
            check_plain_file(tmp_path / "s")


@pytest.mark.parametrize("read", [read_picture, read_label_map, read_segment_ids, read_text])
def test_no_reader_waits_at_a_pipe(pipe, read):
    policy = Collect()
    assert read(pipe, policy) is None
    assert "is a named pipe" in policy.faults[0].message


@pytest.mark.parametrize("read", [read_json, read_pickle, load_refs])
def test_no_reader_of_annotations_waits_at_a_pipe(pipe, read):
    with pytest.raises(OSError, match="is a named pipe"):
        read(pipe)


def test_a_shard_that_is_a_pipe_is_a_fault(pipe):
    assert "is a named pipe" in index_shard(str(pipe))[1]
