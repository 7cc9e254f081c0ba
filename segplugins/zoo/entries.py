"""The entries of the zoo: zoo.yaml as typed records."""

from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Dict, Mapping, Optional

import yaml

_FILE = Path(__file__).with_name("zoo.yaml")


@dataclass(frozen=True)
class Entry:
    """Published weights.

    Args:
        name: of the entry.
        config: file, relative to the checkout.
        page: where the authors publish it.
        file: its name there.
        licence: of the weights.
        address: of the file; None = only the page is known.
        size: bytes; None = not known.
        sha256: 64 hex digits; None = not known.
        converter: paper whose weights.py renames the tensors; "" = none is needed.
        expected: metric to value, as published.
    """

    name: str
    config: str
    page: str
    file: str
    licence: str
    address: Optional[str] = None
    size: Optional[int] = None
    sha256: Optional[str] = None
    converter: str = ""
    expected: Mapping[str, float] = field(default_factory=dict)


def read_entries(path: Path) -> Dict[str, Entry]:
    """Reads a file of entries.

    Raises:
        ValueError: an unknown or missing key.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    known = {each.name for each in fields(Entry)} - {"name"}
    required = {"config", "page", "file", "licence"}
    for name, keys in content.items():
        if not required <= keys.keys() <= known:
            raise ValueError(
                f"{path}, '{name}': keys {sorted(keys)}; required are {sorted(required)}, known "
                f"{sorted(known)}"
            )
    return {name: Entry(name=name, **keys) for name, keys in content.items()}


@cache
def entries() -> Dict[str, Entry]:
    """Returns all entries by name."""
    return read_entries(_FILE)


def entry_of(name: str) -> Entry:
    """Returns the entry of a name.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    if name not in entries():
        nearest = get_close_matches(name, entries(), n=1, cutoff=0.0)
        raise ValueError(f"the zoo has no '{name}'; the nearest is '{nearest[0]}'")
    return entries()[name]
