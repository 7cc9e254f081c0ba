"""CoCu: GroupViT learned from captions whose missing concepts are curated back (NeurIPS 2023)."""

from .cocu import CoCu
from .config import add_config

__all__ = ["CoCu", "add_config"]
