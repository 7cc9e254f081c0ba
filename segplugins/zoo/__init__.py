"""Weights that others have published: where they are, how they are checked and brought here."""

from .entries import Entry, entries, entry_of
from .fetch import fetch

__all__ = ["Entry", "entries", "entry_of", "fetch"]
