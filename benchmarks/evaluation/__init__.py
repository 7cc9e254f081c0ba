"""Measures the evaluators against the ones people use: `python tools/benchmark.py evaluation`."""

from typing import Any

from . import instances, regions, semantic


def run(bench: Any) -> None:
    """Semantic segmentation, then instances, then all else that is about regions."""
    semantic.run(bench)
    instances.run(bench)
    regions.run(bench)
