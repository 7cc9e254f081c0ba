"""Measures the evaluators against the ones people use: `python tools/benchmark.py evaluation`."""

from typing import Any

from . import regions, semantic


def run(bench: Any) -> None:
    """Semantic segmentation, then all that is about regions."""
    semantic.run(bench)
    regions.run(bench)
