"""CoCu: GroupViT learned from captions whose missing concepts are curated back (NeurIPS 2023)."""

from segplugins.engine.optim import LR_SCHEDULERS

from .cocu import CoCu
from .config import add_config
from .schedule import NAME, build_schedule

LR_SCHEDULERS[NAME] = build_schedule

__all__ = ["CoCu", "add_config"]
