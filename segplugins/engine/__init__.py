"""Runs: config, training, evaluation."""

from .read_config import ConfigError
from .run import argument_parser, default_setup, evaluate, launch, setup_cfg, train
from .trainer import Trainer

__all__ = [
    "ConfigError",
    "Trainer",
    "argument_parser",
    "default_setup",
    "evaluate",
    "launch",
    "setup_cfg",
    "train",
]
