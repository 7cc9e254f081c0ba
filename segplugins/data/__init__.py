"""Data: from files on disk to the records that a model reads."""

from . import datasets
from .mapper import SegMapper
from .read_regions import read_regions
from .register import dataset_metadata, dataset_root, load_dataset, register_semantic

__all__ = [
    "SegMapper",
    "dataset_metadata",
    "dataset_root",
    "datasets",
    "load_dataset",
    "read_regions",
    "register_semantic",
]
