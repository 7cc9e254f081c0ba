"""Measures SED against the plain order of its work: `python tools/benchmark.py sed`."""

from .measure import run

__all__ = ["run"]
