"""The papers. In a checkout they stand in ./projects; in a wheel setup.py has put them here."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Dict

_CHECKOUT = Path(__file__).resolve().parents[2]
if (_CHECKOUT / "setup.py").is_file() and (_CHECKOUT / "projects").is_dir():
    __path__.append(str(_CHECKOUT / "projects"))


def load_projects() -> Dict[str, ModuleType]:
    """Imports every paper, which registers its meta-architectures.

    Returns:
        Paper name (the folder's) to its package, in alphabetical order.
    """
    names = sorted({module.name for module in pkgutil.iter_modules(__path__) if module.ispkg})
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
