"""QueryMeldNet: learnable and conditional queries melded, many data sets and tasks in one model."""

from .config import add_config
from .querymeldnet import QueryMeldNet

__all__ = ["QueryMeldNet", "add_config"]
