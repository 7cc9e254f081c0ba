"""PairTune, an invented paper that only trains weights for others."""

from .config import add_config
from .pairtune import PairTune

__all__ = ["PairTune", "add_config"]
