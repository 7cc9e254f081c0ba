"""CLIP's two towers behind one door: no other folder imports open_clip."""

from .load import ClipFile, load_clip, load_tokenizer
from .towers import ClipTowers, TextTower, fingerprint

__all__ = [
    "ClipFile",
    "ClipTowers",
    "TextTower",
    "fingerprint",
    "load_clip",
    "load_tokenizer",
]
