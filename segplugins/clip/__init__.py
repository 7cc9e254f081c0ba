"""CLIP's two towers behind one door: no other folder imports open_clip."""

from .load import has_image_tower, load_clip, load_tokenizer, load_weights
from .towers import ClipTowers, TextTower, fingerprint

__all__ = [
    "ClipTowers",
    "TextTower",
    "fingerprint",
    "has_image_tower",
    "load_clip",
    "load_tokenizer",
    "load_weights",
]
