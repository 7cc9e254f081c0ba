"""The papers. In a checkout they stand in ./projects; in a wheel setup.py has put them here."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Dict

__all__ = ["load_projects"]

# Extending the path, unlike a table written at install time, also finds a folder added later.
_CHECKOUT = Path(__file__).resolve().parents[2]
if (_CHECKOUT / "setup.py").is_file() and (_CHECKOUT / "projects").is_dir():
    __path__.append(str(_CHECKOUT / "projects"))


def load_projects() -> Dict[str, ModuleType]:
    """Imports every paper, which registers its meta-architectures.

    Returns:
        Paper name (the folder's) to its package, in alphabetical order.

    Raises:
        ImportError: a paper does not import; nothing is left out in silence.
    """
    names = sorted({module.name for module in pkgutil.iter_modules(__path__) if module.ispkg})
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
