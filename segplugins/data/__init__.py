"""Data: from files on disk to the records that a model reads."""

from . import datasets
from .register import dataset_root, register_semantic

__all__ = ["dataset_root", "datasets", "register_semantic"]
