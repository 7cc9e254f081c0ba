"""Measures reading: annotation files, catalogs, the mapper: `python tools/benchmark.py data`."""

from typing import Any

from . import catalogs, instance_files, mapper


def run(bench: Any) -> None:
    """Instance files, then what catalogs take in memory, then the mapper."""
    instance_files.run(bench)
    catalogs.run(bench)
    mapper.run(bench)
