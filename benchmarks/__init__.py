"""What tools/benchmark.py measures: a part per module, with `run(bench)`; not part of the wheel."""
