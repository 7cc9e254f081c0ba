"""CLIP's two towers behind one door: no other folder imports open_clip."""

from .load import load_clip, load_tokenizer
from .towers import ClipTowers, TextTower, fingerprint

__all__ = ["ClipTowers", "TextTower", "fingerprint", "load_clip", "load_tokenizer"]
