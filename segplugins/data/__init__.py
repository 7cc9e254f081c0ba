"""Data: from files on disk to the records that a model reads."""

from . import datasets
from .catalog import dataset_metadata, dataset_root, load_dataset
from .mapper import SegMapper
from .read_regions import read_regions
from .register import (
    register_class_list,
    register_crops,
    register_instances,
    register_panoptic,
    register_referring,
    register_regions,
    register_retrieval,
    register_salient,
    register_semantic,
    register_videos,
)

__all__ = [
    "SegMapper",
    "dataset_metadata",
    "dataset_root",
    "datasets",
    "load_dataset",
    "read_regions",
    "register_class_list",
    "register_crops",
    "register_instances",
    "register_panoptic",
    "register_referring",
    "register_regions",
    "register_retrieval",
    "register_salient",
    "register_semantic",
    "register_videos",
]
