"""UniLSeg: one model that segments whatever a phrase names, at any granularity (CVPR 2024)."""

from .baselines import ConstantForeground, ShuffledPhrases
from .config import add_config
from .unilseg import UniLSeg

__all__ = ["ConstantForeground", "ShuffledPhrases", "UniLSeg", "add_config"]
