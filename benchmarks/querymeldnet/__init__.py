"""What `python tools/benchmark.py querymeldnet` measures: attention, matching, decoder, memory."""

from typing import Any

from benchmarks.querymeldnet import attention, matching, model


def run(bench: Any) -> None:
    """Prints all rows.

    Args:
        bench: from benchmarks.harness.
    """
    attention.run(bench)
    matching.run(bench)
    model.run(bench)
