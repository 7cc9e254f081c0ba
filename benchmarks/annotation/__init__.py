"""Measures annotation: `python tools/benchmark.py annotation`."""

from typing import Any

from benchmarks.annotation.filters import measure_filters
from benchmarks.annotation.rate import measure_rate


def run(bench: Any) -> None:
    """Measures, with `bench` from benchmarks.harness."""
    measure_rate(bench)
    measure_filters(bench)
