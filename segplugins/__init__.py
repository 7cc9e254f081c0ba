"""Open-vocabulary and universal segmentation: papers as Detectron2 plugins over one library."""

import importlib
import importlib.util
import os
from typing import Any

__version__ = "0.1.0"

# GNU OpenMP's threads spin where they wait for each other. With another program on the same cores
# that made a training step on a CPU nine times slower; asleep they cost nothing measurable. It is
# read once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Said here once: the first of many imports would fail with "No module named 'detectron2'" alone.
# A folder that an uninstall left behind is found too, but without an origin.
if getattr(importlib.util.find_spec("detectron2"), "origin", None) is None:
    raise ImportError(
        "segplugins needs detectron2, which no package index holds. In a checkout run "
        "`python tools/setup_env.py`; elsewhere see docs/installation.md of the repository."
    )

# Loaded when they are first used: `import segplugins` stays light.
_LAZY = {"load": "prediction", "Result": "prediction", "Segmenter": "prediction"}
__all__ = ["Result", "Segmenter", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'segplugins' has no attribute '{name}'")
    return getattr(importlib.import_module(f"segplugins.{_LAZY[name]}"), name)
