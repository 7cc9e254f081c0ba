"""Runs: config, training, evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command import argument_parser, command_parser, run_command
    from .preflight import check_names
    from .ranks import launch
    from .read_config import ConfigError
    from .run import default_setup, evaluate, setup_cfg, train
    from .trainer import Trainer

__all__ = [
    "ConfigError",
    "Trainer",
    "argument_parser",
    "check_names",
    "command_parser",
    "default_setup",
    "evaluate",
    "launch",
    "run_command",
    "setup_cfg",
    "train",
]

# Imported when they are asked for: a tool's --help must not wait for torch.
_HOMES = {
    "ConfigError": "read_config",
    "Trainer": "trainer",
    "argument_parser": "command",
    "check_names": "preflight",
    "command_parser": "command",
    "default_setup": "run",
    "evaluate": "run",
    "launch": "ranks",
    "run_command": "command",
    "setup_cfg": "run",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
