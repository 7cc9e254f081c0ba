from pathlib import Path

import pytest

from benchmarks import data
from benchmarks.data import catalogs, instance_files, mapper
from benchmarks.harness import Bench
from segplugins.files.coco import read_instances


def test_every_kind_of_supervision_is_measured_with_equal_outputs():
    shown = []
    bench = Bench(quick=True, device="cpu", show=shown.append)
    bench.memory = lambda *arguments, **more: None  # a process each: the command's own tests do it
    data.run(bench)
    compared = [line for line in shown if "outputs equal" in line]
    assert len(compared) == len(mapper._ROWS) + 1 == 7
    units = ("CPU s", "boxes/s", "bytes per box", "bytes per sample")
    assert [sum(unit in line for line in shown) for unit in units] == [3, 1, 1, 1]


def test_a_worker_reads_as_many_images_as_it_is_asked_for():
    mapper._work((60, 80), 5, 64)


def test_annotations_that_differ_are_not_timed(tmp_path):
    path = instance_files.write_instances(tmp_path / "set.json", 40)
    theirs, ours = instance_files.read_plain(path), read_instances(path)
    instance_files.compare_annotations(theirs, ours)
    ours.annotations[7].area += 1
    with pytest.raises(AssertionError, match="8, 'area'"):
        instance_files.compare_annotations(theirs, ours)


def test_a_plan_keeps_sixteen_bytes_a_sample_and_little_else(tmp_path):
    # 0.25 bytes more for each run of 64, and some kilobytes for any plan.
    assert 16 < catalogs.bytes_per_sample(Path(tmp_path), 40_000) < 25


def test_a_figure_above_its_limit_is_an_error():
    bench = Bench(quick=True, device="cpu", show=lambda line: None)
    assert bench.figure("a", 3, "bytes", limit=3) == 3
    with pytest.raises(AssertionError, match="a: 3.5 bytes, claimed 3"):
        bench.figure("a", 3.5, "bytes", limit=3)
