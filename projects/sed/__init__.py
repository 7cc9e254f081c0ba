"""SED: a simple encoder-decoder for open-vocabulary semantic segmentation (CVPR 2024)."""

from .config import add_config
from .sed import SED

__all__ = ["SED", "add_config"]
