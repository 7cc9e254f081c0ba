"""A benchmark at its smallest, for every part's."""

import time

import pytest
import torch


class QuickBench:
    """Takes the place of benchmarks.harness.Bench: no new processes, one call of everything."""

    quick = True
    device = torch.device("cpu")

    def __init__(self):
        self.rows, self.notes = [], []

    def note(self, text):
        self.notes.append(text)

    def time(self, fn, **_):
        start = time.perf_counter()
        fn()
        return time.perf_counter() - start

    def compare(self, name, baseline, ours, *, check, **_):
        check()
        baseline(), ours()
        self.rows.append(name)
        return 1.0

    def memory(self, name, fn, *args, prepare):
        fn(prepare(*args))
        self.rows.append(name)
        return 1.0

    def rate(self, name, seconds, count, unit):
        self.rows.append(name)

    def figure(self, name, value, unit, *, limit=None):
        self.rows.append(name)
        return value


@pytest.fixture
def quick_bench():
    """A bench that collects the names of its rows and its notes."""
    return QuickBench()
