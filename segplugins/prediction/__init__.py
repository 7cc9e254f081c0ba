"""One call from pictures and words to results: `segplugins.load`, and what it returns."""

from .loading import load, segmenter_of
from .result import NOTHING, Result
from .segmenter import Segmenter

__all__ = ["NOTHING", "Result", "Segmenter", "load", "segmenter_of"]
