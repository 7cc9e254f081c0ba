"""Open-vocabulary and universal segmentation: papers as Detectron2 plugins over one library."""

import importlib.util

__version__ = "0.1.0"

# Said here once: the first of many imports would fail with "No module named 'detectron2'" alone.
# A folder that an uninstall left behind is found too, but without an origin.
if getattr(importlib.util.find_spec("detectron2"), "origin", None) is None:
    raise ImportError(
        "segplugins needs detectron2, which no package index holds. In a checkout run "
        "`python tools/setup_env.py`; elsewhere see docs/installation.md of the repository."
    )
