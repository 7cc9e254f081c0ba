import os
import time

import numpy as np
import pytest

from benchmarks.harness import Bench


@pytest.fixture
def lines():
    return []


@pytest.fixture
def bench(lines):
    return Bench(quick=True, device="cpu", show=lines.append)


def test_a_comparison_checks_the_outputs_before_it_times_anything(bench):
    def differs():
        raise AssertionError("outputs differ")

    with pytest.raises(AssertionError, match="outputs differ"):
        bench.compare("row", lambda: 1 / 0, lambda: 1 / 0, check=differs)
    assert bench.rows == []


def test_the_ratio_is_the_baselines_time_by_ours(bench, lines):
    ratio = bench.compare(
        "sleep", lambda: time.sleep(0.04), lambda: time.sleep(0.01), check=lambda: None, repeats=2
    )
    row = bench.rows[0]
    assert ratio == row["baseline s"] / row["ours s"] > 1
    assert "sleep" in lines[0] and "outputs equal" in lines[0]
    assert "| sleep" in bench.table()


def test_the_cost_is_cpu_time_of_one_of_many_and_leaves_waiting_out(bench, lines):
    def work():
        time.sleep(0.05)
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    value = bench.cost("work", work, 4, repeats=2, goal=9)
    assert 5 <= value < 12  # 20 ms of work and 50 of waiting, for four things
    assert bench.rows == [{"what": "work", "CPU ms": value}]
    assert lines == [f"work: {value:.3g} ms of CPU time, goal 9"]


def allocate(mebibytes):
    return np.ones(mebibytes * 2**20, np.uint8)


def read_mapped(path):
    return int(np.load(path, mmap_mode="r").sum())


def fail():
    raise KeyError("nothing here")


def half(array):
    return array[: len(array) // 2].copy()


def test_memory_is_what_the_call_adds(bench):
    assert bench.memory("200 MiB", allocate, 200) == pytest.approx(200, abs=20)
    # Half of what was prepared is copied; the preparation itself does not count.
    assert bench.memory("half", half, 200, prepare=allocate) == pytest.approx(100, abs=20)


def test_memory_mapped_files_are_left_out(bench, tmp_path):
    np.save(tmp_path / "bank.npy", np.ones(200 * 2**20, np.uint8))
    assert bench.memory("mapped", read_mapped, os.fspath(tmp_path / "bank.npy")) < 20


def test_a_call_that_fails_in_its_process_says_why(bench):
    with pytest.raises(RuntimeError, match="'broken' was not measured: KeyError: 'nothing here'"):
        bench.memory("broken", fail)
