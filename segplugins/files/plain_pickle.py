"""Pickles from strangers, read without running code from them."""

import pickle
from pathlib import Path
from typing import Any

from segplugins.files.plain_files import check_plain_file

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("builtins", "dict"),
    ("builtins", "list"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
}


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes the bytes of an array in the old protocols; no other codec is needed."""
    if encoding != "latin1":
        raise ValueError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers, text and numpy arrays; anything else could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode
        # Python 2 knew the built-ins under another name.
        module = "builtins" if module == "__builtin__" else module
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it asks for {module}.{name}, which could run code")
        return super().find_class(module, name)


def read_pickle(path: Path) -> Any:
    """Reads a pickle of plain data: containers, numbers, text and numpy arrays.

    Python 2 wrote most of those that data sets come with; its text is read as latin-1.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds anything else.
    """
    check_plain_file(path)
    with open(path, "rb") as file:
        try:
            return _PlainUnpickler(file, encoding="latin1").load()
        except Exception as error:  # damaged pickles raise whatever they please
            raise ValueError(f"pickle {path} is not read: {error}") from error
