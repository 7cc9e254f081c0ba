"""Open-vocabulary and universal segmentation: papers as Detectron2 plugins over one library."""

import importlib.util

__version__ = "0.1.0"

# Said here once, or the first of many imports would fail with "No module named 'detectron2'" alone.
if importlib.util.find_spec("detectron2") is None:
    raise ImportError(
        "segplugins needs detectron2, which no package index holds. In a checkout run "
        "`python tools/setup_env.py`; elsewhere see docs/installation.md of the repository."
    )
